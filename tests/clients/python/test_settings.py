"""What a queue's settings and a message's fields promise beyond storing and delivering."""
import unittest

from mqd.v1 import broker_pb2, types_pb2

import case
import mqd_client as mqd

ACCEPTED = broker_pb2.CONFIRM_LEVEL_ACCEPTED
DELIVERED = broker_pb2.CONFIRM_LEVEL_DELIVERED
SETTLED = broker_pb2.CONFIRM_LEVEL_SETTLED
KEYED = types_pb2.ORDERING_KEYED
BLOCK = types_pb2.OVERFLOW_POLICY_BLOCK
DROP_OLDEST = types_pb2.OVERFLOW_POLICY_DROP_OLDEST
DROP_NEWEST = types_pb2.OVERFLOW_POLICY_DROP_NEWEST
DEAD_LETTER = types_pb2.OVERFLOW_POLICY_DEAD_LETTER
THROTTLE = types_pb2.OVERFLOW_POLICY_THROTTLE


def payloads(deliveries):
    return [each.payload for each in deliveries]


def keyed(key, *contents):
    return [mqd.message(each, ordering_key=key) for each in contents]


class OverflowTest(case.BrokerCase):
    def full(self, **settings):
        """A queue with room for two that holds two."""
        name = self.queue(max_messages=mqd.limit(2), **settings)
        self.publish(name, b'1', b'2')
        return name

    def test_drop_oldest_stores_the_newcomer_in_place_of_the_oldest(self):
        name = self.full(overflow_policy=DROP_OLDEST)
        self.publish(name, b'3')
        self.assertEqual(payloads(self.receive(name, 2)), [b'2', b'3'])
        self.check_stats(name, dropped_total=1, published_total=3)

    def test_drop_oldest_leaves_what_is_in_flight(self):
        name = self.full(overflow_policy=DROP_OLDEST)
        held = self.receive(name, 2)
        self.check_error(self.client.publish(name, mqd.message(b'3'))[0], 'QUEUE_FULL')
        self.assertEqual(self.client.settle(name, held, mqd.ack()).settled, 2)

    def test_drop_newest_tells_that_the_newcomer_is_dropped(self):
        name = self.full(overflow_policy=DROP_NEWEST)
        for result in (self.client.publish(name, mqd.message(b'3'))[0],
                       self.publisher(name).publish_all(mqd.message(b'3'))[0]):
            self.assertEqual((result.kind, result.policy), ('dropped', DROP_NEWEST))
        self.check_stats(name, ready=2, dropped_total=2)

    def test_dead_letter_diverts_the_newcomer_with_its_origin(self):
        dead = self.queue('-dead')
        name = self.full(overflow_policy=DEAD_LETTER, dead_letter_queue=dead)
        result, = self.client.publish(name, mqd.message(b'3'))
        self.assertEqual((result.kind, result.policy), ('dropped', DEAD_LETTER))
        delivery, = self.receive(dead)
        origin = delivery.dead_letter
        self.assertEqual((delivery.payload, origin.queue, origin.sequence, origin.reason),
                         (b'3', f'default/{name}', 0, 'the queue was full'))
        self.check_stats(name, ready=2, diverted_total=1)

    def test_dead_letter_remembers_the_key_of_what_it_diverted(self):
        dead = self.queue('-dead')
        name = self.full(overflow_policy=DEAD_LETTER, dead_letter_queue=dead)
        item = mqd.message(b'3', idempotency_key='k')
        self.assertEqual(self.client.publish(name, item)[0].kind, 'dropped')
        again, = self.client.publish(name, item)
        self.assertEqual((again.kind, again.sequence, again.status),
                         ('duplicate', 0, types_pb2.MESSAGE_STATUS_SETTLED))
        self.check_stats(dead, ready=1)

    def test_dead_letter_queue_that_is_full_is_named(self):
        dead = self.queue('-dead', max_messages=mqd.limit(1))
        self.publish(dead, b'x')
        name = self.full(overflow_policy=DEAD_LETTER, dead_letter_queue=dead)
        error = self.check_error(self.client.publish(name, mqd.message(b'3'))[0], 'QUEUE_FULL')
        self.assertIn(dead, error.message + error.resource)

    def test_throttle_waits_for_its_rate(self):
        name = self.queue(overflow_policy=THROTTLE, max_publish_rate=mqd.limit(2))
        result, late = self.client.publish(name, *[mqd.message(b'x')] * 2, timeout=0.1)
        self.assertEqual(result.kind, 'published')
        self.check_error(late, 'BLOCKED_TIMEOUT')
        self.publish(name, b'waits for its token')
        self.check_stats(name, ready=2)

    def test_rate_of_other_policies_refuses_and_says_when(self):
        name = self.queue(max_publish_rate=mqd.limit(1))
        result, late = self.client.publish(name, *[mqd.message(b'x')] * 2)
        self.assertEqual(result.kind, 'published')
        error = self.check_error(late, 'RATE_LIMITED')
        self.assertTrue(error.retryable)
        self.assertGreater(error.retry_after.ToMilliseconds(), 0)

    def test_delivery_rate_holds_messages_back(self):
        name = self.queue(max_delivery_rate=mqd.limit(2))
        self.publish(name, b'1', b'2')
        consumer = self.consumer(name)
        consumer.grant(2)
        consumer.take(1)
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])
        self.assertEqual(payloads(consumer.take(1)), [b'2'])


class RendezvousTest(case.BrokerCase):
    def test_nobody_waits_is_a_full_queue(self):
        name = self.queue(max_messages=mqd.limit(0))
        self.consumer(name)  # without credit
        self.check_error(self.client.publish(name, mqd.message(b'x'))[0], 'QUEUE_FULL')
        self.check_stats(name, ready=0)

    def test_message_is_taken_when_a_consumer_has_credit(self):
        name = self.queue(max_messages=mqd.limit(0))
        consumer = self.consumer(name)
        consumer.grant(1)
        consumer.ping(1)
        self.publish(name, b'x')
        self.assertEqual(payloads(consumer.take(1)), [b'x'])
        self.check_error(self.client.publish(name, mqd.message(b'y'))[0], 'QUEUE_FULL')

    def test_blocked_publisher_meets_the_consumer(self):
        name = self.queue(max_messages=mqd.limit(0), overflow_policy=BLOCK)
        publisher, consumer = self.publisher(name), self.consumer(name)
        first = publisher.publish(mqd.message(b'x'))
        publisher.wait_until(lambda: publisher.blocked, 'a Blocked frame')
        consumer.grant(1)
        self.assertEqual(payloads(consumer.take(1)), [b'x'])
        self.assertEqual(publisher.result(first).kind, 'published')


class ConfirmTest(case.BrokerCase):
    def test_accepted_is_confirmed_with_a_sequence(self):
        name = self.queue()
        results = self.publisher(name).publish_all(*[mqd.message(b'x')] * 3, confirm_level=ACCEPTED)
        self.assertEqual([each.kind for each in results], ['published'] * 3)
        self.assertEqual([each.sequence for each in self.receive(name, 3)],
                         [each.sequence for each in results])

    def test_delivered_is_confirmed_when_a_consumer_has_it(self):
        name = self.queue()
        publisher = self.publisher(name)
        first = publisher.publish(mqd.message(b'x'), confirm_level=DELIVERED)
        self.eventually(lambda: self.client.stats(name).ready == 1, 'it is stored')
        publisher.ping(1)
        self.assertEqual(publisher.results, {})
        self.check_stats(name, awaited_confirms=1)
        delivery, = self.receive(name)
        self.assertEqual(publisher.result(first), mqd.Result('published', delivery.sequence))
        self.check_stats(name, awaited_confirms=0)

    def test_settled_is_confirmed_after_the_ack(self):
        name = self.queue()
        publisher = self.publisher(name)
        first = publisher.publish(mqd.message(b'x'), confirm_level=SETTLED)
        delivery, = self.receive(name)
        publisher.ping(1)
        self.assertEqual(publisher.results, {})
        self.client.settle(name, [delivery], mqd.ack())
        self.assertEqual(publisher.result(first), mqd.Result('published', delivery.sequence))

    def test_settled_is_confirmed_however_the_message_leaves(self):
        name = self.queue()
        publisher = self.publisher(name)
        first = publisher.publish(mqd.message(b'x'), confirm_level=SETTLED)
        self.eventually(lambda: self.client.stats(name).ready == 1, 'it is stored')
        self.client.purge(name)
        self.assertEqual(publisher.result(first).kind, 'published')

    def test_wait_for_a_confirm_ends_at_the_deadline_and_tells_the_sequence(self):
        name = self.queue()
        streamed, = self.publisher(name).publish_all(
            mqd.message(b'x'), confirm_level=DELIVERED, timeout=0.2)
        unary, = self.client.publish(name, mqd.message(b'x'), confirm_level=SETTLED, timeout=0.2)
        told = [self.check_error(each, 'BLOCKED_TIMEOUT') for each in (streamed, unary)]
        self.assertEqual([each.current for each in told],
                         [each.sequence for each in self.client.peek(name)])
        self.assertIn('stored', told[0].message)


class TimeTest(case.BrokerCase):
    def test_delayed_message_comes_after_its_delay(self):
        name = self.queue()
        self.client.publish(name, mqd.message(b'late', delay=mqd.seconds(0.5)), mqd.message(b'now'))
        self.check_stats(name, ready=1, delayed=1)
        self.assertEqual(payloads(self.receive(name, 2)), [b'now', b'late'])

    def test_deliver_at_is_a_wall_clock_time(self):
        name = self.queue()
        later, past = mqd.message(b'later'), mqd.message(b'past')
        later.deliver_at.GetCurrentTime()
        past.deliver_at.FromSeconds(later.deliver_at.seconds - 60)
        later.deliver_at.seconds += 3600
        self.client.publish(name, later, past)
        self.assertEqual(payloads(self.receive(name)), [b'past'])
        waiting, = self.client.peek(name, types_pb2.MESSAGE_STATUS_DELAYED)
        self.assertEqual(waiting.deliver_at.seconds, later.deliver_at.seconds)

    def test_cancel_takes_back_what_no_consumer_has(self):
        name = self.queue()
        held, ready = self.publish(name, b'held', b'ready')
        self.receive(name)
        delayed, = self.client.publish(name, mqd.message(b'x', delay=mqd.seconds(3600)))
        reply = self.client.ask('CancelMessages', queue=name,
                                sequences=[held, ready, delayed.sequence, 999])
        self.assertEqual(reply.cancelled, 2)
        self.assertEqual([(each.sequence, bool(each.error.message)) for each in reply.exceptions],
                         [(held, True), (999, True)])
        self.check_info(reply.exceptions[1].error, 'MESSAGE_NOT_FOUND')
        self.check_stats(name, ready=0, delayed=0, in_flight=1, cancelled_total=2)

    def test_ttl_ends_a_message(self):
        name = self.queue()
        self.client.publish(name, mqd.message(b'x', ttl=mqd.seconds(0.1)), mqd.message(b'stays'))
        self.eventually(lambda: self.client.stats(name).expired_total == 1, 'the ttl passes')
        self.assertEqual(payloads(self.receive(name)), [b'stays'])

    def test_ttl_moves_a_message_to_the_dead_letters(self):
        dead = self.queue('-dead')
        name = self.queue(dead_letter_queue=dead, expired_to_dead_letter=True,
                          default_ttl=mqd.seconds(0.1))
        sequence, = self.publish(name, b'x')
        delivery, = self.receive(dead)
        self.assertEqual((delivery.payload, delivery.dead_letter.sequence), (b'x', sequence))
        self.assertIn('ttl passed', str(delivery.dead_letter))

    def test_message_waits_for_messages_of_two_queues(self):
        name, other = self.queue(), self.queue('-other')
        refs = [types_pb2.MessageRef(queue=each, sequence=self.publish(each, b'first')[0])
                for each in (name, other)]
        self.client.publish(name, mqd.message(b'after', deliver_after=refs))
        self.check_stats(name, ready=1, delayed=1)
        self.client.settle(name, self.receive(name), mqd.ack())
        self.assertEqual(self.client.receive(name), ([], False))
        self.check_stats(name, delayed=1)
        self.client.settle(other, self.receive(other), mqd.ack())
        self.assertEqual(payloads(self.receive(name)), [b'after'])

    def test_deliver_after_of_what_never_was_is_refused(self):
        name = self.queue()
        for queue_name, sequence, reason in ((name, 1, 'BAD_FIELD'),
                                             ('other/queue', 1, 'BAD_FIELD'),
                                             ('nowhere', 1, 'QUEUE_NOT_FOUND')):
            ref = types_pb2.MessageRef(queue=queue_name, sequence=sequence)
            result, = self.client.publish(name, mqd.message(b'x', deliver_after=[ref]))
            self.check_error(result, reason)
        self.check_stats(name, ready=0, delayed=0)


class OrderTest(case.BrokerCase):
    def test_higher_priority_goes_first(self):
        name = self.queue()
        self.client.publish(name, *[mqd.message(b'%d' % i, priority=i) for i in (0, 9, 5, 9)])
        self.assertEqual(payloads(self.receive(name, 4)), [b'9', b'9', b'5', b'0'])

    def test_ageing_floor_serves_the_lowest_priority(self):
        name = self.queue(ageing_floor=mqd.seconds(0.1))
        self.client.publish(name, mqd.message(b'low'),
                            *[mqd.message(b'high', priority=9)] * 1000)
        self.eventually(lambda: payloads(self.receive(name)) == [b'low'], 'the low one')
        self.assertGreater(self.client.stats(name).ready, 0)

    def test_key_is_with_one_consumer_at_a_time_and_keeps_its_order_over_a_retry(self):
        name = self.queue(ordering=KEYED)
        one, two = self.consumer(name), self.consumer(name)
        one.grant(5)
        self.client.publish(name, *keyed('k', b'1', b'2'))
        first, = one.take(1)
        two.grant(10)  # the most idle credit
        two.ping(1)
        self.client.publish(name, *keyed('other', b'goes on'))
        two.take(1)
        one.settle([first], mqd.retry(0.2))
        for stream in (one, two):
            stream.ping(2)
            self.assertEqual(stream.inbox, [], 'the key waits for the retry')
        order = []
        for _ in range(2):
            self.eventually(lambda: one.inbox or two.inbox, 'the next of the key')
            holder = one if one.inbox else two
            got, = holder.take(1)
            order.append((got.payload, got.attempt))
            self.assertEqual(one.inbox + two.inbox, [])
            holder.settle([got], mqd.ack())
        self.assertEqual(order, [(b'1', 2), (b'2', 1)])

    def test_fence_rises_when_a_key_goes_to_another_consumer(self):
        name = self.queue(ordering=KEYED)
        self.client.publish(name, *keyed('k', b'1', b'2', b'3'))
        fences = []
        with self.client.consumer(name) as one:
            one.grant(2)
            for _ in range(2):
                got, = one.take(1)
                fences.append(got.fence)
                one.settle([got], mqd.ack())
        other = self.consumer(name)
        other.grant(1)
        fences.append(other.take(1)[0].fence)
        self.assertTrue(0 < fences[0] == fences[1] < fences[2], fences)

    def test_queue_without_keys_has_no_fence(self):
        name = self.queue()
        self.publish(name, b'x')
        self.assertEqual(self.receive(name)[0].fence, 0)

    def test_sticky_keys_stay_with_their_consumer(self):
        name = self.queue(dispatch_policy=types_pb2.DISPATCH_POLICY_STICKY)
        streams = [self.consumer(name) for _ in range(3)]
        for each in streams:
            each.grant(1000)
            each.ping(1)
        for _ in range(3):
            self.client.publish(name, *[m for i in range(20) for m in keyed(f'{i}', b'x')])
        self.eventually(lambda: sum(len(each.inbox) for each in streams) == 60, 'all of them')
        keys = [{each.message.ordering_key for each in stream.inbox} for stream in streams]
        self.assertEqual(sum(map(len, keys)), 20, keys)

    def test_round_robin_takes_turns(self):
        name = self.queue(dispatch_policy=types_pb2.DISPATCH_POLICY_ROUND_ROBIN)
        streams = [self.consumer(name) for _ in range(3)]
        for each in streams:
            each.grant(1000)
            each.ping(1)
        self.publish(name, *[b'x'] * 9)
        self.assertEqual([len(each.take(3)) for each in streams], [3] * 3)

    def test_select_by_priority_serves_the_higher_queue_first(self):
        low, high = self.queue('-low'), self.queue('-high')
        for name in (low, high):
            self.publish(name, *[b'x'] * 100)
        consumer = self.consumer((low, 1, 0), (high, 1, 5),
                                 select_mode=broker_pb2.SELECT_MODE_PRIORITY)
        consumer.grant(100)
        got = [each.queue_index for each in consumer.take(100)]
        self.assertGreaterEqual(got.count(1), 100 - 16, 'at most one grant of the lower')

    def test_at_most_once_is_settled_before_it_is_handed_over(self):
        name = self.queue(delivery=types_pb2.DELIVERY_MODE_AT_MOST_ONCE)
        self.publish(name, b'1', b'2')
        with self.client.consumer(name) as consumer:
            consumer.grant(1)
            delivery, = consumer.take(1)
            self.assertEqual(delivery.lease_s, 0)
            self.check_stats(name, ready=1, in_flight=0)
            self.assertEqual(list(consumer.settle([delivery], mqd.ack()).exceptions), [])
        self.assertEqual(payloads(self.receive(name)), [b'2'])
        self.check_stats(name, ready=0, backlog_bytes=0)

    def test_unstarted_deliveries_are_recalled_for_an_idle_consumer(self):
        name = self.queue()
        busy = self.consumer(name, marks_started=True)
        busy.grant(10)
        self.publish(name, *[b'x'] * 10)
        got = busy.take(10)
        busy.started(got[0])
        idle = self.consumer(name)
        idle.grant(10)
        busy.wait_until(lambda: busy.recalls, 'a Recall frame')
        ids = [i for part in busy.recalls[0].ranges
               for i in range(part.first_delivery_id, part.last_delivery_id + 1)]
        self.assertTrue(0 < len(ids) <= 5 and got[0].delivery_id not in ids, ids)
        self.assertEqual(busy.settle(ids, mqd.release()).settled, len(ids))
        self.assertEqual({each.attempt for each in idle.take(len(ids))}, {1})


if __name__ == '__main__':
    unittest.main()
