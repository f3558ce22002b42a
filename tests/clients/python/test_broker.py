"""What mqd promises, as a generated Python client sees it: one broken promise per name."""
import unittest

import grpc
from mqd.v1 import admin_pb2, broker_pb2, types_pb2

import mqd_client as mqd

ACK = {'ack': broker_pb2.Ack()}


def limit(value):
    return types_pb2.Limit(value=value)


class BrokerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = mqd.Daemon()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.remove()

    def queue(self, **settings):
        name = self.id().rsplit('.', 1)[-1]
        self.daemon.create(name, **settings)
        return name

    def fails_with(self, reason, call, *args, **kwargs):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **kwargs)
        info = mqd.error_info(caught.exception)
        self.assertEqual(types_pb2.Reason.Name(info.reason), 'REASON_' + reason)
        self.assertTrue(info.message)
        return info

    def test_create_with_other_settings_names_the_difference(self):
        name = self.queue(max_messages=limit(7))
        self.assertFalse(self.daemon.create(name, max_messages=limit(7)).created)
        info = self.fails_with('QUEUE_EXISTS_DIFFERENT', self.daemon.create, name,
                               max_messages=limit(8))
        self.assertIn('max_messages: 7, not 8', info.message)

    def test_unknown_queue_and_bad_names_are_refused(self):
        self.fails_with('QUEUE_NOT_FOUND', self.daemon.publish, 'nowhere', b'x')
        for name in ('../etc', 'a/b/c', '', 'x' * 129, '.hidden'):
            self.fails_with('BAD_FIELD', self.daemon.create, name)

    def test_unsupported_setting_is_refused(self):
        self.fails_with('BAD_FIELD', self.daemon.create, 'keyed',
                        ordering=types_pb2.ORDERING_KEYED)

    def test_stream_confirms_and_delivers_in_order(self):
        name = self.queue()
        publisher, opened = mqd.publish_stream(self.daemon, name)
        self.assertGreater(opened.credit.messages, 0)
        payloads = [b'%d' % i for i in range(500)]
        publisher.send(batch=mqd.batch(1, *payloads, headers={'k': 'v'}))
        confirmed = 0
        while confirmed < 500:
            confirms = publisher.expect('confirms')
            self.assertFalse(confirms.exceptions)
            confirmed += sum(part.count for part in confirms.ranges)
        consumer = mqd.consume_stream(self.daemon, name)
        consumer.send(credit=broker_pb2.Credit(messages=120, bytes=1 << 20))
        got = []
        while len(got) < 120:
            got += mqd.flatten(consumer.expect('deliveries').runs)
        self.assertEqual(len(got), 120, 'more than the credit was sent')
        self.assertEqual([message.payload for _, _, _, message in got], payloads[:120])
        self.assertEqual(got[0][3].headers['k'], 'v')
        entry = broker_pb2.SettleEntry(ack=broker_pb2.Ack())
        entry.range.first_delivery_id, entry.range.last_delivery_id = got[0][0], got[-1][0]
        consumer.send(settle=broker_pb2.SettleBatch(settle_id=9, entries=[entry]))
        settled = consumer.expect('settled')
        self.assertEqual((settled.settle_id, settled.settled), (9, 120))
        stats = self.daemon.stats(name)
        self.assertEqual((stats.ready, stats.in_flight, stats.acked_total), (380, 0, 120))

    def test_duplicate_returns_the_original_and_conflict_is_an_error(self):
        name = self.queue()
        first = self.daemon.publish(name, b'a', idempotency_key='k')[0].published.sequence
        again = self.daemon.publish(name, b'a', idempotency_key='k')[0].duplicate
        self.assertEqual((again.sequence, again.status), (first, types_pb2.MESSAGE_STATUS_READY))
        other = self.daemon.publish(name, b'b', idempotency_key='k')[0].error
        self.assertEqual(other.reason, types_pb2.REASON_IDEMPOTENCY_CONFLICT)
        (delivery, _, _, _), = self.daemon.receive(name)
        self.daemon.settle(name, delivery, **ACK)
        settled = self.daemon.publish(name, b'a', idempotency_key='k')[0].duplicate
        self.assertEqual(settled.status, types_pb2.MESSAGE_STATUS_SETTLED)

    def test_retry_is_charged_and_release_is_not(self):
        name = self.queue()
        self.daemon.publish(name, b'a')
        (delivery, sequence, attempt, _), = self.daemon.receive(name)
        self.assertEqual(attempt, 1)
        self.daemon.settle(name, delivery, release=broker_pb2.Release())
        (delivery, _, attempt, _), = self.daemon.receive(name)
        self.assertEqual(attempt, 1)
        retry = broker_pb2.Retry(error='try later')
        retry.delay.FromMilliseconds(1)
        self.daemon.settle(name, delivery, retry=retry)
        (delivery, again, attempt, _), = self.daemon.receive(name)
        self.assertEqual((again, attempt), (sequence, 2))

    def test_settling_twice_is_stale(self):
        name = self.queue()
        self.daemon.publish(name, b'a')
        (delivery, _, _, _), = self.daemon.receive(name)
        self.assertEqual(self.daemon.settle(name, delivery, **ACK).settled, 1)
        late = self.daemon.settle(name, delivery, **ACK)
        self.assertEqual(late.settled, 0)
        self.assertEqual(late.exceptions[0].error.reason, types_pb2.REASON_STALE_DELIVERY)

    def test_exhausted_message_goes_to_the_dead_letter_queue_with_its_origin(self):
        name = self.queue(max_attempts=1, dead_letter_queue='dead')
        self.daemon.create('dead')
        sequence = self.daemon.publish(name, b'poison')[0].published.sequence
        (delivery, _, _, _), = self.daemon.receive(name)
        self.daemon.settle(name, delivery, retry=broker_pb2.Retry(error='boom'))
        request = broker_pb2.ReceiveRequest(queue='dead')
        request.wait.FromSeconds(10)
        run, = self.daemon.broker.Receive(request, timeout=mqd.DEADLINE_S).runs
        self.assertEqual(run.messages[0].payload, b'poison')
        origin = run.dead_letter
        self.assertEqual((origin.queue, origin.sequence, origin.reason, origin.attempts),
                         ('default/' + name, sequence, 'boom', 1))

    def test_exhausted_message_is_parked_without_a_dead_letter_queue(self):
        name = self.queue(max_attempts=1)
        self.daemon.publish(name, b'poison')
        (delivery, _, _, _), = self.daemon.receive(name)
        self.daemon.settle(name, delivery, retry=broker_pb2.Retry(error='boom'))
        request = admin_pb2.PeekMessagesRequest(queue=name,
                                                status=types_pb2.MESSAGE_STATUS_PARKED)
        parked, = self.daemon.admin.PeekMessages(request, timeout=mqd.DEADLINE_S).messages
        self.assertEqual((parked.message.payload, parked.last_error), (b'poison', 'boom'))

    def test_full_queue_rejects_with_limit_and_current(self):
        name = self.queue(max_messages=limit(2))
        results = self.daemon.publish(name, b'1', b'2', b'3')
        self.assertEqual([bool(result.published.sequence) for result in results],
                         [True, True, False])
        error = results[2].error
        self.assertEqual((error.reason, error.limit, error.current),
                         (types_pb2.REASON_QUEUE_FULL, 2, 2))

    def test_blocked_publisher_is_told_and_let_in(self):
        name = self.queue(max_messages=limit(1),
                          overflow_policy=types_pb2.OVERFLOW_POLICY_BLOCK)
        publisher, _ = mqd.publish_stream(self.daemon, name)
        publisher.send(batch=mqd.batch(1, b'1', b'2'))
        seen = {}
        while 'confirms' not in seen or 'blocked' not in seen:
            kind, content = publisher.next()
            seen.setdefault(kind, content)
        self.assertEqual(seen['blocked'].reason.reason, types_pb2.REASON_QUEUE_FULL)
        (delivery, _, _, _), = self.daemon.receive(name)
        self.daemon.settle(name, delivery, **ACK)
        self.assertEqual(publisher.expect('confirms').ranges[0].first_publish_id, 2)

    def test_close_refuses_publishes_and_ends_consumers_after_the_last_settle(self):
        name = self.queue()
        self.daemon.publish(name, b'last')
        consumer = mqd.consume_stream(self.daemon, name)
        consumer.send(credit=broker_pb2.Credit(messages=5, bytes=1 << 20))
        (delivery, _, _, _), = mqd.flatten(consumer.expect('deliveries').runs)
        close = admin_pb2.CloseQueueRequest(name=name)
        self.daemon.admin.CloseQueue(close, timeout=mqd.DEADLINE_S)
        refused = self.daemon.publish(name, b'late')[0].error
        self.assertEqual(refused.reason, types_pb2.REASON_QUEUE_CLOSED)
        self.fails_with('ALREADY_CLOSED', self.daemon.admin.CloseQueue, close)
        self.daemon.settle(name, delivery, **ACK)
        consumer.expect('end_of_queue')

    def test_stream_death_releases_at_once(self):
        name = self.queue()
        self.daemon.publish(name, b'a')
        consumer = mqd.consume_stream(self.daemon, name)
        consumer.send(credit=broker_pb2.Credit(messages=1, bytes=1 << 20))
        consumer.expect('deliveries')
        consumer.call.cancel()
        (_, _, attempt, message), = self.daemon.receive(name, wait_s=20)
        self.assertEqual((attempt, message.payload), (2, b'a'))

    def test_atomic_settle_publishes_or_does_nothing(self):
        name = self.queue()
        self.daemon.create('out')
        self.daemon.publish(name, b'in')
        (delivery, _, _, _), = self.daemon.receive(name)
        made = broker_pb2.TransactionalPublish(
            queue='out', messages=[types_pb2.Message(payload=b'made', idempotency_key='once')])
        done = self.daemon.settle(name, delivery, publishes=[made], **ACK)
        self.assertTrue(done.publish_results[0].published.sequence)
        ghost = broker_pb2.TransactionalPublish(
            queue='out', messages=[types_pb2.Message(payload=b'ghost')])
        late = self.daemon.settle(name, delivery, publishes=[ghost], **ACK)
        self.assertEqual(late.settled, 0)
        self.assertEqual(late.exceptions[0].error.reason, types_pb2.REASON_STALE_DELIVERY)
        self.assertTrue(late.publish_results[0].HasField('error'), 'it looks published')
        self.assertEqual(self.daemon.stats('out').ready, 1)

    def test_select_serves_every_queue_of_one_stream(self):
        names = [self.queue(), 'select-second']
        self.daemon.create(names[1])
        for name in names:
            self.daemon.publish(name, *[b'x'] * 10)
        consumer = mqd.consume_stream(self.daemon, *names)
        consumer.send(credit=broker_pb2.Credit(messages=20, bytes=1 << 20))
        seen = {0: 0, 1: 0}
        while sum(seen.values()) < 20:
            deliveries = consumer.expect('deliveries')
            seen[deliveries.queue_index] += len(mqd.flatten(deliveries.runs))
        self.assertEqual(seen, {0: 10, 1: 10})

    def test_resend_under_the_same_publish_id_adds_no_duplicate(self):
        name = self.queue()
        producer = bytes(range(16))
        publisher, _ = mqd.publish_stream(self.daemon, name, producer)
        publisher.send(batch=mqd.batch(1, b'a', b'b'))
        first = publisher.expect('confirms').ranges[0].first_sequence
        publisher.call.cancel()
        publisher, opened = mqd.publish_stream(self.daemon, name, producer)
        self.assertEqual((opened.resumed, opened.last_publish_id), (True, 2))
        publisher.send(batch=mqd.batch(1, b'a', b'b'))
        again = publisher.expect('confirms').ranges[0]
        self.assertEqual((again.first_sequence, again.count), (first, 2))
        self.assertEqual(self.daemon.stats(name).ready, 2)

    def test_hostile_frames_end_their_own_stream_only(self):
        name = self.queue()
        good, _ = mqd.publish_stream(self.daemon, name)
        raw = self.daemon.channel.stream_stream(
            '/mqd.v1.BrokerService/PublishStream', request_serializer=lambda x: x,
            response_deserializer=lambda x: x)
        for garbage in (b'', b'\xff\xff\xff', b'\x12\xff\xff\xff\xff\x0f', b'\x0a\x7fabc'):
            with self.assertRaises(grpc.RpcError):
                list(raw(iter([garbage]), timeout=mqd.DEADLINE_S))
        consumer = mqd.consume_stream(self.daemon, name)
        consumer.send(credit=broker_pb2.Credit(messages=2**64 - 1, bytes=1))
        with self.assertRaises(grpc.RpcError):
            consumer.expect('deliveries')
        good.send(batch=mqd.batch(1, b'fine'))
        self.assertEqual(good.expect('confirms').ranges[0].count, 1)

    def test_too_large_message_fails_alone(self):
        name = self.queue()
        results = self.daemon.publish(name, b'a', b'x' * (2 << 20), b'b')
        self.assertTrue(results[0].published.sequence and results[2].published.sequence)
        self.assertEqual(results[1].error.reason, types_pb2.REASON_MESSAGE_TOO_LARGE)


class RestartTest(unittest.TestCase):
    def setUp(self):
        self.daemon = mqd.Daemon()
        self.addCleanup(self.daemon.remove)

    def test_confirmed_messages_settles_and_keys_survive_a_kill(self):
        self.daemon.create('kept')
        self.daemon.publish('kept', b'1', b'2', b'3')
        first = self.daemon.publish('kept', b'k', idempotency_key='k')[0].published.sequence
        (delivery, _, _, _), = self.daemon.receive('kept')
        self.daemon.settle('kept', delivery, **ACK)
        self.daemon.kill()
        self.daemon.start()
        again = self.daemon.publish('kept', b'k', idempotency_key='k')[0]
        self.assertEqual(again.duplicate.sequence, first)
        payloads = []
        while len(payloads) < 3:  # a receive gives what is in memory first
            payloads += [message.payload for _, _, _, message in self.daemon.receive('kept', 10)]
        self.assertEqual(payloads, [b'2', b'3', b'k'])

    def test_termination_drains_and_ends_with_zero(self):
        self.daemon.create('drained')
        consumer = mqd.consume_stream(self.daemon, 'drained')
        consumer.half_close()
        self.assertEqual(self.daemon.terminate(), 0)


if __name__ == '__main__':
    unittest.main()
