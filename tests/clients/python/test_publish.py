"""Publishing: what each message is told, who waits, and what a resend does."""
import unittest

import grpc
from google.protobuf import timestamp_pb2
from mqd.v1 import broker_pb2, types_pb2

import case
import mqd_client as mqd

BLOCK = types_pb2.OVERFLOW_POLICY_BLOCK
OVERHEAD = 64


class PublishTest(case.BrokerCase):
    def test_handshake_tells_credit_limits_and_the_broker(self):
        opened = self.publisher(self.queue()).opened
        self.assertTrue(opened.session_id and opened.server.version and opened.server.epoch)
        self.assertGreaterEqual(opened.credit.messages, opened.limits.max_batch_messages)
        self.assertGreaterEqual(opened.credit.bytes, opened.limits.max_batch_bytes)
        self.assertEqual(opened.limits.message_overhead_bytes, OVERHEAD)
        self.assertEqual((opened.resumed, opened.last_publish_id), (False, 0))

    def test_messages_of_a_stream_arrive_in_order_with_headers_and_keys(self):
        name = self.queue()
        publisher = self.publisher(name, client_name='a test')
        sent = [mqd.message(b'%d' % i, idempotency_key=f'key {i}',
                            headers={'trace': f'ä{i}', 'empty': ''}) for i in range(1500)]
        firsts = [publisher.publish(*sent[at:at + 500]) for at in range(0, 1500, 500)]
        self.assertEqual(firsts, [1, 501, 1001])
        sequences = [publisher.result(i + 1).sequence for i in range(1500)]
        self.assertEqual(sequences, sorted(set(sequences)))
        got = self.receive(name, 1500)
        self.assertEqual([each.message for each in got], sent)
        self.assertEqual([each.sequence for each in got], sequences)

    def test_half_close_answers_everything_and_ends_well(self):
        name = self.queue()
        publisher = self.publisher(name)
        publisher.publish(*[mqd.message(b'x')] * 1000)
        publisher.half_close()
        self.assertIsNone(publisher.wait_end())
        self.assertEqual(sorted(publisher.results), list(range(1, 1001)))

    def test_credit_comes_back_for_as_long_as_the_stream_lives(self):
        name = self.queue()
        publisher = self.publisher(name)
        window = publisher.opened.credit.messages
        for _ in range(0, 3 * window, 1000):
            last = publisher.publish(*[mqd.message(b'')] * 1000) + 999
        publisher.result(last)
        self.check_stats(name, ready=len(publisher.results))

    def test_duplicate_is_answered_with_the_original_sequence_and_its_status_now(self):
        name = self.queue(max_attempts=1)
        publisher = self.publisher(name)
        keyed = mqd.message(b'pay', idempotency_key='order 1', headers={'a': '1', 'b': '2'})
        original, = publisher.publish_all(keyed)
        self.assertEqual(original.kind, 'published')

        def status():
            streamed, = publisher.publish_all(keyed)
            unary, = self.client.publish(name, keyed)
            self.assertEqual(streamed, unary)
            self.assertEqual((unary.kind, unary.sequence), ('duplicate', original.sequence))
            return types_pb2.MessageStatus.Name(unary.status).removeprefix('MESSAGE_STATUS_')

        self.assertEqual(status(), 'READY')
        delivery, = self.receive(name)
        self.assertEqual(status(), 'IN_FLIGHT')
        self.client.settle(name, [delivery], mqd.release())
        self.assertEqual(status(), 'READY')
        self.client.settle(name, self.receive(name), mqd.retry(3600))
        self.assertEqual(status(), 'PARKED')
        self.client.purge(name)
        self.assertEqual(status(), 'SETTLED')
        self.check_stats(name, ready=0, published_total=1, duplicates_total=10, dedup_entries=1)

    def test_duplicates_within_one_batch_are_found(self):
        name = self.queue()
        keyed = mqd.message(b'same', idempotency_key='k')
        for results in (self.publisher(name).publish_all(keyed, mqd.message(b'other'), keyed),
                        self.client.publish(name, keyed, keyed)):
            self.assertEqual(results[-1].kind, 'duplicate')
        self.check_stats(name, ready=2)

    def test_same_key_with_another_message_is_a_conflict(self):
        name = self.queue()
        keyed = dict(idempotency_key='k', headers={'h': '1'})
        original, = self.client.publish(name, mqd.message(b'a', **keyed))
        others = [mqd.message(b'b', **keyed), mqd.message(b'a', idempotency_key='k'),
                  mqd.message(b'a', idempotency_key='k', headers={'h': '2'})]
        for result in self.publisher(name).publish_all(*others):
            error = self.check_error(result, 'IDEMPOTENCY_CONFLICT')
            self.assertFalse(error.retryable)
            self.assertEqual(error.current, original.sequence)
        self.check_stats(name, ready=1)

    def test_key_is_forgotten_after_its_window(self):
        name = self.queue(dedup_window=mqd.seconds(1))
        keyed = mqd.message(b'a', idempotency_key='k')
        first, = self.client.publish(name, keyed)
        self.eventually(lambda: self.client.publish(name, keyed)[0].kind == 'published',
                        'the window ends')
        self.assertGreater(self.client.peek(name)[-1].sequence, first.sequence)

    def test_full_dedup_table_rejects_or_evicts_as_the_queue_says(self):
        keyed = [mqd.message(b'x', idempotency_key=f'{i}') for i in range(3)]
        evicts = self.queue('-evicts', dedup_max_entries=mqd.limit(2))
        self.assertEqual({each.kind for each in self.client.publish(evicts, *keyed)}, {'published'})
        self.check_stats(evicts, dedup_entries=2, dedup_evicted_total=1)
        self.assertEqual(self.client.publish(evicts, keyed[0])[0].kind, 'published')
        rejects = self.queue('-rejects', dedup_max_entries=mqd.limit(2),
                             dedup_full_policy=types_pb2.DEDUP_FULL_POLICY_REJECT)
        results = self.client.publish(rejects, *keyed, mqd.message(b'no key'))
        self.assertEqual([each.kind for each in results],
                         ['published', 'published', 'error', 'published'])
        error = self.check_error(results[2], 'DEDUP_FULL')
        self.assertEqual((error.limit, error.current), (2, 2))

    def test_full_queue_rejects_with_limit_and_current(self):
        name = self.queue(max_messages=mqd.limit(3))
        for results in (self.publisher(name).publish_all(*[mqd.message(b'x')] * 5),
                        self.client.publish(name, *[mqd.message(b'x')] * 5)):
            error = self.check_error(results[-1], 'QUEUE_FULL')
            self.assertEqual((error.limit, error.current, error.retryable), (3, 3, True))
            self.assertIn(name, error.resource)
        self.check_stats(name, ready=3, rejected_total=7)
        self.client.settle(name, self.receive(name), mqd.ack())
        self.publish(name, b'there is room again')

    def test_every_state_holds_its_slot(self):
        name = self.queue(max_messages=mqd.limit(4))
        self.publish(name, *[b'x'] * 4)
        got = self.receive(name, 3)
        self.client.settle(name, got[:1], mqd.retry(3600))
        self.client.settle(name, got[1:2], mqd.dead_letter('parked'))
        self.check_stats(name, ready=1, in_flight=1, delayed=1, parked=1)
        self.check_error(self.client.publish(name, mqd.message(b'y'))[0], 'QUEUE_FULL')

    def test_bound_in_bytes_counts_payload_headers_keys_and_overhead(self):
        one = mqd.message(b'12345', idempotency_key='key', headers={'name': 'value'})
        size = 5 + 3 + 9 + OVERHEAD
        name = self.queue(max_bytes=mqd.limit(2 * size))
        self.assertEqual(self.client.publish(name, one)[0].kind, 'published')
        self.check_stats(name, backlog_bytes=size)
        over = mqd.message(b'x' * (size - OVERHEAD + 1))
        error = self.check_error(self.client.publish(name, over)[0], 'QUEUE_FULL')
        self.assertEqual((error.limit, error.current), (2 * size, size))
        self.publish(name, b'x' * (size - OVERHEAD))
        self.check_stats(name, backlog_bytes=2 * size)
        never = mqd.message(b'x' * (2 * size))
        error = self.check_error(self.client.publish(name, never)[0], 'MESSAGE_TOO_LARGE')
        self.assertEqual((error.limit, error.retryable), (2 * size, False))

    def test_blocked_publisher_waits_is_told_and_let_in(self):
        name = self.queue(max_messages=mqd.limit(1), overflow_policy=BLOCK)
        publisher = self.publisher(name)
        first = publisher.publish(*[mqd.message(b'%d' % i) for i in range(3)])
        publisher.wait_until(lambda: publisher.blocked, 'a Blocked frame')
        told = publisher.blocked[0]
        self.check_info(told.reason, 'QUEUE_FULL', name)
        self.assertEqual((told.reason.limit, told.first_publish_id), (1, first + 1))
        publisher.result(first)
        self.check_stats(name, ready=1, blocked_publishers=1)
        for i in range(3):
            delivery, = self.receive(name)
            self.assertEqual(delivery.payload, b'%d' % i)
            self.assertEqual(publisher.result(first + i).sequence, delivery.sequence)
            self.client.settle(name, [delivery], mqd.ack())
        publisher.wait_until(lambda: len(publisher.blocked) == 2, 'the end of the wait')
        self.assertFalse(publisher.blocked[1].HasField('reason'))
        self.check_stats(name, ready=0, blocked_publishers=0, published_total=3)

    def test_blocked_publishers_are_let_in_first_come_first_served(self):
        name = self.queue(max_messages=mqd.limit(1), overflow_policy=BLOCK)
        self.publish(name, b'full')
        publishers = []
        for i in range(4):
            publishers.append(self.publisher(name))
            publishers[i].publish(mqd.message(b'%d' % i))
            publishers[i].wait_until(lambda: publishers[-1].blocked, 'a Blocked frame')
        order = []
        for _ in range(5):
            delivery, = self.receive(name)
            order.append(delivery.payload)
            self.client.settle(name, [delivery], mqd.ack())
        self.assertEqual(order, [b'full', b'0', b'1', b'2', b'3'])

    def test_wait_for_room_ends_at_the_deadline(self):
        name = self.queue(max_messages=mqd.limit(1), overflow_policy=BLOCK)
        self.publish(name, b'full')
        streamed, = self.publisher(name).publish_all(mqd.message(b'x'), timeout=0.2)
        unary, = self.client.publish(name, mqd.message(b'x'), timeout=0.2)
        for result in (streamed, unary):
            self.assertTrue(self.check_error(result, 'BLOCKED_TIMEOUT').retryable)
        self.check_stats(name, ready=1, blocked_publishers=0, rejected_total=2)

    def test_blocked_publisher_of_one_queue_holds_up_no_other(self):
        full = self.queue('-full', max_messages=mqd.limit(1), overflow_policy=BLOCK)
        free = self.queue('-free')
        blocked = self.publisher(full)
        blocked.publish(*[mqd.message(b'x')] * 2)
        blocked.wait_until(lambda: blocked.blocked, 'a Blocked frame')
        self.publish(free, b'goes through')

    def test_close_answers_blocked_publishers(self):
        name = self.queue(max_messages=mqd.limit(1), overflow_policy=BLOCK)
        publisher = self.publisher(name)
        first = publisher.publish(*[mqd.message(b'x')] * 2)
        publisher.wait_until(lambda: publisher.blocked, 'a Blocked frame')
        self.client.close_queue(name)
        self.check_error(publisher.result(first + 1), 'QUEUE_CLOSED')

    def test_one_bad_message_fails_alone(self):
        name = self.queue()
        batch = [mqd.message(b'good'), mqd.message(b'x' * ((1 << 20) + 1)), mqd.message(b'good'),
                 mqd.message(headers={'h': 'x' * 8192}), mqd.message(idempotency_key='k' * 129),
                 mqd.message(headers={f'{i}': '' for i in range(65)}), mqd.message(b'good')]
        wanted = ['published', 'MESSAGE_TOO_LARGE', 'published', 'MESSAGE_TOO_LARGE', 'BAD_FIELD',
                  'BAD_FIELD', 'published']
        publisher = self.publisher(name)
        for results in (self.client.publish(name, *batch), publisher.publish_all(*batch)):
            self.assertEqual([mqd.reason_name(each.error) if each.error else each.kind
                              for each in results], wanted)
            self.assertEqual((results[1].error.limit, results[1].error.current),
                             (1 << 20, (1 << 20) + 1))
            self.assertEqual((results[4].error.limit, results[4].error.current), (128, 129))
        self.check_stats(name, ready=6)

    def test_field_that_is_wrong_is_refused_by_name(self):
        name = self.queue()
        wrong = {
            'ordering_key': 'k',  # neither KEYED nor STICKY
            'priority': 10,
            'delay': mqd.seconds(31 * 86_400),
            'deliver_at': timestamp_pb2.Timestamp(seconds=1 << 33),
            'ttl': mqd.seconds(0),
            'deliver_after': [types_pb2.MessageRef(queue=name, sequence=0)],
        }
        publisher = self.publisher(name)
        for field, value in wrong.items():
            unary, = self.client.publish(name, mqd.message(b'x', **{field: value}))
            streamed, = publisher.publish_all(mqd.message(b'x', **{field: value}))
            for result in (unary, streamed):
                with self.subTest(field):
                    self.check_info(self.check_error(result, 'BAD_FIELD'), 'BAD_FIELD', field)
        both = mqd.message(b'x', delay=mqd.seconds(1))
        both.deliver_at.GetCurrentTime()
        self.check_error(publisher.publish_all(both)[0], 'BAD_FIELD')
        result, = publisher.publish_all(mqd.message(b'x'), confirm_level=99)
        self.assertIn('confirm_level', self.check_error(result, 'BAD_FIELD').resource)
        self.check_stats(name, ready=0, delayed=0)

    def test_atomic_settle_takes_no_deliver_after(self):
        name = self.queue()
        self.publish(name, b'in', b'other')
        delivery, = self.receive(name)
        after = types_pb2.MessageRef(queue=name, sequence=delivery.sequence)
        with self.refused('BAD_FIELD') as caught:
            self.client.settle(name, [delivery], mqd.ack(), [
                mqd.publishes(name, mqd.message(b'out', deliver_after=[after]))])
        self.assertIn('deliver_after', caught.exception.info.message)
        self.check_stats(name, ready=1, in_flight=1, delayed=0)

    def test_resend_after_a_reconnect_adds_no_duplicate(self):
        name, producer = self.queue(), bytes(range(16))
        payloads = [mqd.message(b'%d' % i) for i in range(10)]
        first = self.publisher(name, producer_id=producer)
        self.assertFalse(first.opened.resumed)
        before = first.publish_all(*payloads[:6])
        first.cancel()
        again = self.publisher(name, producer_id=producer)
        self.assertEqual((again.opened.resumed, again.opened.last_publish_id), (True, 6))
        after = again.publish_all(*payloads)
        self.assertEqual(after[:6], before)
        self.assertEqual([each.payload for each in self.receive(name, 10)],
                         [each.payload for each in payloads])
        self.check_stats(name, ready=0, in_flight=10, published_total=10)

    def test_second_stream_of_a_producer_fences_the_first(self):
        name, producer = self.queue(), b'p' * 16
        old = self.publisher(name, producer_id=producer)
        new = self.publisher(name, producer_id=producer)
        self.check_info(old.wait_end().info, 'FENCED')
        self.assertEqual(old.go_away.code, broker_pb2.GO_AWAY_CODE_FENCED)
        self.assertEqual(new.publish_all(mqd.message(b'x'))[0].kind, 'published')

    def test_ping_is_answered_on_both_streams(self):
        name = self.queue()
        self.publisher(name).ping(7)
        self.consumer(name).ping(2**64 - 1)

    def test_every_durability_carries_messages(self):
        for level in ('SYNC', 'ASYNC', 'MEMORY'):
            name = self.queue('-' + level, durability=types_pb2.Durability.Value(
                'DURABILITY_' + level))
            results = self.publisher(name).publish_all(*[mqd.message(b'x')] * 100)
            self.assertEqual({each.kind for each in results}, {'published'})
            got = self.receive(name, 100)
            self.assertEqual(self.client.settle(name, got, mqd.ack()).settled, 100)
            self.check_stats(name, backlog_bytes=0, acked_total=100)

    def test_oversized_unary_batch_is_refused_whole(self):
        name = self.queue()
        with self.refused('MESSAGE_TOO_LARGE') as caught:
            self.client.publish(name, *[mqd.message(b'x' * (1 << 20))] * 5)
        self.assertEqual(caught.exception.info.limit, 4 << 20)
        with self.refused('BAD_FIELD', 'messages'):
            self.client.publish(name, *[mqd.message(b'')] * 1025)
        with self.refused('BAD_FIELD', 'messages'):
            self.client.publish(name)
        self.check_stats(name, ready=0)


if __name__ == '__main__':
    unittest.main()
