"""Settling: every outcome, leases that are lost, attempts, dead letters and atomic requests."""
import unittest

from mqd.v1 import broker_pb2, types_pb2

import case
import mqd_client as mqd

HOUR = 3600


class OutcomeTest(case.BrokerCase):
    def take(self, consumer, count=1):
        consumer.grant(count)
        return consumer.take(count)

    def test_ack_settles_for_good(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 100)
        consumer = self.consumer(name)
        got = self.take(consumer, 100)
        self.assertEqual(len(mqd.entries(got, mqd.ack())), 1, 'neighbours settle as one range')
        self.assertEqual(consumer.settle(got, mqd.ack()).settled, 100)
        self.check_stats(name, ready=0, in_flight=0, backlog_bytes=0, acked_total=100)

    def test_outcomes_of_one_settle_are_independent(self):
        name = self.queue()
        self.publish(name, *[b'%d' % i for i in range(6)])
        consumer = self.consumer(name)
        got = self.take(consumer, 6)
        outcomes = [mqd.ack(), mqd.retry(HOUR, 'why'), mqd.release(), mqd.dead_letter('bad'),
                    mqd.extend(60), mqd.ack()]
        batch = [entry for each, outcome in zip(got, outcomes)
                 for entry in mqd.entries([each], outcome)]
        reply = consumer.settle_entries(batch)
        self.assertEqual((reply.settled, list(reply.exceptions)), (6, []))
        self.check_stats(name, ready=1, in_flight=1, delayed=1, parked=1, acked_total=2)

    def test_retry_waits_its_delay_and_counts_attempts(self):
        name = self.queue()
        sequence, = self.publish(name, b'x')
        consumer = self.consumer(name)
        consumer.grant(10)
        ids = []
        for attempt in range(1, 5):
            delivery, = consumer.take(1)
            self.assertEqual((delivery.sequence, delivery.attempt), (sequence, attempt))
            ids.append(delivery.delivery_id)
            consumer.settle([delivery], mqd.retry(0 if attempt % 2 else 0.05, f'try {attempt}'))
        self.assertEqual(len(set(ids)), 4, 'a delivery id is never used again')
        delivery, = consumer.take(1)
        consumer.settle([delivery], mqd.retry(HOUR, 'enough'))
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])
        peeked, = self.client.peek(name, types_pb2.MESSAGE_STATUS_DELAYED)
        self.assertEqual((peeked.attempts, peeked.last_error), (5, 'enough'))

    def test_retry_without_a_delay_takes_the_backoff_of_the_queue(self):
        backoff = types_pb2.RetryBackoff(initial=mqd.seconds(1000), multiplier=2, jitter=0,
                                         max=mqd.seconds(10_000))
        name = self.queue(retry_backoff=backoff)
        self.publish(name, b'x', b'y')
        one, other = self.receive(name, 2)
        self.client.settle(name, [one], mqd.retry(0))
        again, = self.receive(name)
        self.client.settle(name, [other], mqd.retry())
        self.client.settle(name, [again], mqd.retry())
        now = self.client.peek(name, types_pb2.MESSAGE_STATUS_DELAYED)
        waits = [each.deliver_at.seconds - each.publish_time.seconds for each in now]
        self.assertAlmostEqual(waits[0], 2000, delta=60)
        self.assertAlmostEqual(waits[1], 1000, delta=60)

    def test_release_is_not_charged_and_ready_at_once(self):
        name = self.queue(max_attempts=1)
        self.publish(name, b'x')
        for _ in range(3):
            delivery, = self.receive(name)
            self.assertEqual(delivery.attempt, 1)
            self.client.settle(name, [delivery], mqd.release())
        self.check_stats(name, ready=1, released_total=3)

    def test_put_back_messages_come_in_order_of_sequence(self):
        name = self.queue()
        sequences = self.publish(name, *[b'x'] * 5)
        got = self.receive(name, 3)
        for each in (got[2], got[0], got[1]):
            self.client.settle(name, [each], mqd.release())
        self.assertEqual([each.sequence for each in self.receive(name, 5)], sequences)

    def test_dead_letter_moves_with_origin_and_reason(self):
        dead = self.queue('-dead')
        name = self.queue(dead_letter_queue=dead)
        first, second = self.publish(name, b'poison', b'worn out')
        got = self.receive(name, 2)
        self.client.settle(name, got[:1], mqd.dead_letter('cannot parse'))
        moved, = self.receive(dead)
        origin = moved.dead_letter
        self.assertEqual((moved.payload, moved.attempt), (b'poison', 1))
        self.assertEqual((origin.queue, origin.sequence, origin.reason, origin.attempts),
                         (f'default/{name}', first, 'cannot parse', 1))
        self.assertGreater(origin.time.seconds, 0)
        self.eventually(lambda: self.client.stats(name).parked == 0, 'it has left its queue')
        self.check_stats(name, in_flight=1, dead_lettered_total=1)
        self.assertEqual(self.client.settle(dead, [moved], mqd.ack()).settled, 1)
        self.assertEqual(self.client.settle(name, got[1:], mqd.ack()).settled, 1)
        self.assertNotEqual(first, second)

    def test_last_attempt_goes_to_the_dead_letter_queue(self):
        dead = self.queue('-dead')
        name = self.queue(dead_letter_queue=dead, max_attempts=2)
        self.client.publish(name, mqd.message(b'x', idempotency_key='k', headers={'h': 'v'}))
        self.client.settle(name, self.receive(name), mqd.retry(0, 'first'))
        self.client.settle(name, self.receive(name), mqd.retry(0, 'second'))
        moved, = self.receive(dead)
        self.assertEqual((moved.dead_letter.reason, moved.dead_letter.attempts), ('second', 2))
        self.assertEqual((dict(moved.message.headers), moved.message.idempotency_key),
                         ({'h': 'v'}, 'k'))

    def test_full_dead_letter_queue_keeps_its_bound_and_the_rest_parked(self):
        dead = self.queue('-dead', max_messages=mqd.limit(1))
        name = self.queue(dead_letter_queue=dead)
        self.publish(name, b'1', b'2', b'3')
        self.client.settle(name, self.receive(name, 3), mqd.dead_letter('no'))
        self.eventually(lambda: self.client.stats(dead).ready == 1, 'one has moved', 10)
        self.eventually(lambda: self.client.stats(name).parked == 2, 'and two have not', 10)
        self.check_stats(dead, ready=1)
        self.check_stats(name, dead_lettered_total=1)

    def test_worn_out_message_is_parked_where_there_is_no_dead_letter_queue(self):
        name = self.queue(max_attempts=3)
        self.publish(name, b'worn', b'fine')
        for attempt in range(1, 4):
            delivery, = self.receive(name)
            self.assertEqual((delivery.payload, delivery.attempt), (b'worn', attempt))
            self.client.settle(name, [delivery], mqd.retry(0, f'error {attempt}'))
        parked, = self.client.peek(name, types_pb2.MESSAGE_STATUS_PARKED)
        self.assertEqual((parked.message.payload, parked.attempts, parked.last_error),
                         (b'worn', 3, 'error 3'))
        self.assertEqual(self.receive(name)[0].payload, b'fine')
        self.assertEqual(self.client.receive(name, wait=0.2), ([], False))
        self.check_stats(name, parked=1)

    def test_settle_of_a_lost_delivery_is_stale_and_changes_nothing(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 4)
        consumer = self.consumer(name)
        got = self.take(consumer, 4)
        ids = [each.delivery_id for each in got]
        consumer.settle(got[1:3], mqd.ack())
        for outcome in (mqd.ack(), mqd.retry(0), mqd.release(), mqd.dead_letter(), mqd.extend(9)):
            self.check_stale(consumer.settle(got[1:3], outcome), *ids[1:3])
            self.check_stale(self.client.settle(name, got[1:3], outcome), *ids[1:3])
        reply = consumer.settle(got, mqd.ack())
        self.assertEqual(reply.settled, 2, 'the rest of the range is settled')
        self.check_stale(reply, *ids[1:3])
        self.check_stale(consumer.settle([ids[3] + 1000], mqd.ack()), ids[3] + 1000)
        self.check_stats(name, ready=0, in_flight=0, parked=0, acked_total=4)

    def test_delivery_is_settled_from_any_connection(self):
        name = self.queue()
        self.publish(name, b'a', b'b')
        consumer = self.consumer(name)
        got = self.take(consumer, 2)
        self.assertEqual(self.client.settle(name, got[:1], mqd.ack()).settled, 1)
        self.assertEqual(self.consumer(name).settle(got[1:], mqd.ack()).settled, 1)

    def test_lease_that_ends_is_told_charged_and_stale(self):
        name = self.queue(lease_duration=mqd.seconds(1), retry_backoff=types_pb2.RetryBackoff(
            initial=mqd.seconds(0.001), jitter=0))
        self.publish(name, b'x')
        consumer = self.consumer(name)
        late, = self.take(consumer)
        self.assertEqual(late.lease_s, 1)
        consumer.wait_until(lambda: consumer.lease_lost, 'lease_lost')
        lost = consumer.lease_lost[0]
        self.assertEqual(lost.code, broker_pb2.LEASE_LOST_CODE_EXPIRED)
        self.assertEqual([(each.first_delivery_id, each.last_delivery_id) for each in lost.ranges],
                         [(late.delivery_id, late.delivery_id)])
        self.check_stale(consumer.settle([late], mqd.ack()), late.delivery_id)
        again, = self.take(consumer)
        self.assertEqual((again.payload, again.attempt), (b'x', 2))
        self.assertEqual(self.client.stats(name).lease_expired_total, 1)

    def test_extended_lease_outlives_the_first_one(self):
        name = self.queue(lease_duration=mqd.seconds(1))
        self.publish(name, b'extended', b'left alone')
        consumer = self.consumer(name)
        kept, left = self.take(consumer, 2)
        self.assertEqual(consumer.settle([kept], mqd.extend(60)).settled, 1)
        consumer.wait_until(lambda: consumer.lease_lost, 'lease_lost')
        lost, = consumer.lease_lost[0].ranges
        self.assertEqual((lost.first_delivery_id, lost.last_delivery_id),
                         (left.delivery_id, left.delivery_id))
        self.assertEqual(consumer.settle([kept], mqd.ack()).settled, 1)

    def test_wrong_entry_is_refused_alone(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 8)
        consumer = self.consumer(name)
        got = self.take(consumer, 8)
        backwards = broker_pb2.SettleEntry(ack=broker_pb2.Ack(), range=broker_pb2.DeliveryRange(
            first_delivery_id=got[0].delivery_id + 1, last_delivery_id=got[0].delivery_id))
        wrong = [backwards, broker_pb2.SettleEntry(ack=broker_pb2.Ack())]
        for each, outcome in zip(got, [{}, mqd.retry(-1), mqd.retry(31 * 86_400), mqd.extend(0.5),
                                       mqd.extend(13 * HOUR), mqd.dead_letter('x' * 1025),
                                       mqd.retry(0, 'x' * 1025)]):
            wrong += mqd.entries([each], outcome)
        for reply in (consumer.settle_entries(wrong + mqd.entries(got[7:], mqd.ack())),
                      self.client.call(self.client.broker.Settle, broker_pb2.SettleRequest(
                          queue=name, entries=wrong))):
            self.assertEqual(len(reply.exceptions), len(wrong))
            for each in reply.exceptions:
                self.check_info(each.error, 'BAD_FIELD')
        self.check_stats(name, in_flight=7, acked_total=1)


class AtomicTest(case.BrokerCase):
    def test_settle_and_publish_take_effect_together(self):
        source, one, two = self.queue('-in'), self.queue('-one'), self.queue('-two')
        self.publish(source, b'a', b'b')
        consumer = self.consumer(source)
        consumer.grant(2)
        got = consumer.take(2)
        reply = consumer.settle(got[:1], mqd.ack(), publishes=[
            mqd.publishes(one, mqd.message(b'1', idempotency_key='a'), mqd.message(b'2')),
            mqd.publishes(two, mqd.message(b'3'))])
        self.assertEqual((reply.settled, len(reply.exceptions)), (1, 0))
        self.assertFalse(reply.HasField('error'))
        results = [mqd.Result.of(each) for each in reply.publish_results]
        self.assertEqual([each.kind for each in results], ['published'] * 3)
        unary = self.client.settle(source, got[1:], mqd.ack(), publishes=[
            mqd.publishes(one, mqd.message(b'1', idempotency_key='a'))])
        again = mqd.Result.of(unary.publish_results[0])
        self.assertEqual((again.kind, again.sequence), ('duplicate', results[0].sequence))
        self.check_stats(source, ready=0, in_flight=0, acked_total=2)
        self.assertEqual([each.payload for each in self.receive(one, 2)], [b'1', b'2'])
        self.assertEqual([each.payload for each in self.receive(two)], [b'3'])

    def test_lost_lease_refuses_the_whole_request(self):
        source, target = self.queue('-in'), self.queue('-out')
        self.publish(source, b'a', b'b')
        consumer = self.consumer(source)
        consumer.grant(2)
        got = consumer.take(2)
        consumer.settle(got[:1], mqd.ack())
        ghost = mqd.publishes(target, mqd.message(b'ghost', idempotency_key='g'))
        reply = consumer.settle(got, mqd.ack(), publishes=[ghost])
        self.assertEqual(reply.settled, 0)
        self.assertTrue(reply.exceptions)
        self.check_info(reply.exceptions[0].error, 'STALE_DELIVERY')
        self.assertFalse(any(each.WhichOneof('result') in ('published', 'duplicate')
                             for each in reply.publish_results), 'nothing was published')
        unary = self.client.settle(source, got, mqd.ack(), publishes=[ghost])
        self.assertEqual(unary.settled, 0)
        self.check_info(unary.exceptions[0].error, 'STALE_DELIVERY')
        self.check_stats(target, ready=0, backlog_bytes=0, published_total=0, dedup_entries=0)
        self.check_stats(source, in_flight=1, acked_total=1)
        reply = consumer.settle(got[1:], mqd.ack(), publishes=[ghost])
        self.assertEqual((reply.settled, mqd.Result.of(reply.publish_results[0]).kind),
                         (1, 'published'))

    def check_refused(self, reply, reason, source, *targets):
        """Nothing took effect, and a result or the request says why."""
        self.assertEqual(reply.settled, 0)
        results = [mqd.Result.of(each) for each in reply.publish_results]
        self.assertNotIn('published', [each.kind for each in results])
        reasons = {mqd.reason_name(each.error) for each in results if each.error}
        if reply.HasField('error'):
            reasons.add(mqd.reason_name(reply.error))
        self.assertIn(reason, reasons, reply)
        for target in targets:
            self.check_stats(target, published_total=0)
        self.check_stats(source, in_flight=1)

    def test_message_that_cannot_be_stored_refuses_the_whole_request(self):
        source, good = self.queue('-in'), self.queue('-good')
        full, closed = self.queue('-full', max_messages=mqd.limit(1)), self.queue('-closed')
        self.publish(full, b'x')
        self.client.close_queue(closed)
        self.publish(source, b'a')
        consumer = self.consumer(source)
        consumer.grant(1)
        got = consumer.take(1)
        fine = mqd.publishes(good, mqd.message(b'fine'))
        cases = [
            ('QUEUE_FULL', mqd.publishes(full, mqd.message(b'y'))),
            ('QUEUE_CLOSED', mqd.publishes(closed, mqd.message(b'y'))),
            ('QUEUE_NOT_FOUND', mqd.publishes('nowhere', mqd.message(b'y'))),
            ('BAD_FIELD', mqd.publishes('other/queue-x', mqd.message(b'y'))),
            ('BAD_FIELD', mqd.publishes(full, mqd.message(b'y', priority=1))),
            ('BAD_FIELD', mqd.publishes(full, *[mqd.message(b'y')] * 300)),
            ('BAD_FIELD', mqd.publishes(good, mqd.message(b'comes twice'))),
        ]
        self.client.create_queue('other/queue-x')
        for reason, bad in cases:
            with self.subTest(reason):
                reply = consumer.settle(got, mqd.ack(), publishes=[fine, bad])
                self.check_refused(reply, reason, source, good)
        self.check_stats(full, published_total=1)
        reply = consumer.settle(got, mqd.ack(), publishes=[fine])
        self.assertEqual(reply.settled, 1)


if __name__ == '__main__':
    unittest.main()
