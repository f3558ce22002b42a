"""Consuming: credit, leases, several queues on one stream, and how a stream ends."""
import unittest

import grpc
from mqd.v1 import broker_pb2, types_pb2

import case
import mqd_client as mqd

OVERHEAD = 64
PLENTY = 1 << 24


class CreditTest(case.BrokerCase):
    def test_nothing_comes_without_credit_in_both_units(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 5)
        consumer = self.consumer(name)
        consumer.grant(3, 0)
        consumer.ping(1)
        self.check_stats(name, ready=5, in_flight=0, consumers=1)
        consumer.grant(0, PLENTY)
        consumer.take(3)
        consumer.ping(2)
        self.assertEqual(consumer.inbox, [])
        self.check_stats(name, ready=2, in_flight=3)

    def test_never_more_messages_than_granted_and_credit_adds_up(self):
        name = self.queue()
        self.publish(name, *[b'%d' % i for i in range(1000)])
        consumer = self.consumer(name)
        granted = 0
        for count in (1, 10, 100, 7, 300):
            consumer.grant(count)
            granted += count
            consumer.take(count)
            consumer.ping(granted)
            self.assertEqual(consumer.inbox, [])
            self.check_stats(name, ready=1000 - granted, in_flight=granted)
        frames = consumer.frames
        self.assertEqual(sum(each.charged_messages for each in frames), granted)
        self.assertEqual(sum(each.charged_bytes for each in frames), sum(
            mqd.charge(item, OVERHEAD) for each in frames for run in each.runs
            for item in run.messages))

    def test_bytes_granted_are_passed_by_one_message_at_most(self):
        name = self.queue()
        size = 1000
        self.publish(name, *[b'x' * (size - OVERHEAD)] * 20)
        consumer = self.consumer(name)
        consumer.grant(1000, 2 * size + 1)
        consumer.take(3)  # the third is larger than the byte that was left
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])
        consumer.grant(0, size - 1)  # repays what the third took too much: the balance is 0
        consumer.ping(2)
        self.assertEqual(consumer.inbox, [])
        consumer.grant(0, 1)
        consumer.take(1)
        consumer.ping(3)
        self.assertEqual(consumer.inbox, [])
        self.check_stats(name, in_flight=4, ready=16)

    def test_message_larger_than_the_bytes_left_is_still_sent(self):
        name = self.queue()
        self.publish(name, b'x' * 500_000, b'next')
        consumer = self.consumer(name)
        consumer.grant(10, 1)
        self.assertEqual(len(consumer.take(1)[0].payload), 500_000)
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])

    def test_settling_gives_no_credit_back(self):
        name = self.queue()
        self.publish(name, b'1', b'2')
        consumer = self.consumer(name)
        consumer.grant(1)
        consumer.settle(consumer.take(1), mqd.ack())
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])
        self.check_stats(name, ready=1)

    def test_handshake_tells_limits_and_leases(self):
        name = self.queue('-a', lease_duration=mqd.seconds(7))
        opened = self.consumer(name, self.queue('-b')).opened
        self.assertEqual([each.seconds for each in opened.lease_durations], [7, 30])
        self.assertGreater(opened.limits.max_credit_messages, 0)
        self.assertEqual(opened.limits.ping_interval.seconds, 10)

    def test_competing_consumers_share_and_get_nothing_twice(self):
        name = self.queue()
        consumers = [self.consumer(name) for _ in range(4)]
        for each in consumers:
            each.grant(100)
        sequences = self.publish(name, *[b'x'] * 400)
        got = [delivery for each in consumers for delivery in each.take(100)]
        self.assertEqual(sorted(each.sequence for each in got), sequences)
        self.assertEqual(len({each.delivery_id for each in got}), 400)


class SelectTest(case.BrokerCase):
    def test_one_stream_serves_several_queues_from_one_pool(self):
        names = [self.queue('-a'), self.queue('-b')]
        consumer = self.consumer(*names)
        consumer.grant(3)
        self.publish(names[1], b'b1')
        self.assertEqual([(each.queue_index, each.payload) for each in consumer.take(1)],
                         [(1, b'b1')])
        self.publish(names[0], b'a1', b'a2', b'a3')
        got = consumer.take(2)
        self.assertEqual([(each.queue_index, each.payload) for each in got],
                         [(0, b'a1'), (0, b'a2')])
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])
        self.assertEqual(consumer.settle(got, mqd.ack(), queue_index=0).settled, 2)
        self.check_stats(names[0], ready=1, acked_total=2)

    def test_busy_queues_are_served_by_weight(self):
        for credit, rounds in ((50, 40), (1000, 2)):
            heavy, light = self.queue(f'-heavy-{credit}'), self.queue(f'-light-{credit}')
            for name in (heavy, light):
                for _ in range(4):
                    self.publish(name, *[b'x'] * 1000)
            consumer = self.consumer((heavy, 3), (light, 1))
            for _ in range(rounds):
                consumer.grant(credit)
                consumer.take(credit)
            served = [self.client.stats(each).in_flight for each in (heavy, light)]
            self.assertEqual(sum(served), 2000)
            with self.subTest(credit=credit, served=served):
                self.assertAlmostEqual(served[0] / served[1], 3, delta=1)

    def test_idle_queue_takes_no_share_and_starts_at_once(self):
        busy, idle = self.queue('-busy'), self.queue('-idle')
        self.publish(busy, *[b'x'] * 1000)
        consumer = self.consumer(busy, idle)
        consumer.grant(500)
        self.assertEqual({each.queue_index for each in consumer.take(500)}, {0})
        self.publish(idle, b'now')
        consumer.grant(200)
        self.assertIn(1, {each.queue_index for each in consumer.take(200)})

    def test_bytes_that_one_queue_left_over_serve_the_others(self):
        first, second = self.queue('-first'), self.queue('-second')
        consumer = self.consumer(first, second)
        self.publish(first, b'x')
        consumer.grant(1, 1000)
        consumer.take(1)
        self.publish(second, b'y')
        consumer.grant(1, 0)
        self.assertEqual(consumer.take(1)[0].payload, b'y')

    def test_pool_of_a_select_is_never_passed(self):
        names = [self.queue(f'-{i}') for i in range(3)]
        for name in names:
            self.publish(name, *[b'x' * 936] * 100)
        consumer = self.consumer(*names)
        consumer.grant(10, 5001)
        consumer.take(6)  # 5 of 1,000 bytes and the one that is larger than what was left
        consumer.ping(1)
        self.assertEqual(consumer.inbox, [])
        consumer.grant(0, 100_000)
        consumer.take(4)
        consumer.ping(2)
        self.assertEqual(consumer.inbox, [])

    def test_select_that_is_wrong_is_refused_by_name(self):
        name = self.queue()
        cases = {
            'queues': [[], [name, name], [f'q{i}' for i in range(65)]],
            'queues.weight': [[(name, 1001)]],
        }
        for field, selections in cases.items():
            for queues in selections:
                with self.refused('BAD_FIELD', field):
                    self.consumer(*queues)
        for field, options in {'queues.priority': dict(queues=[(name, 1, 1)]),
                               'ageing_floor': dict(ageing_floor=mqd.seconds(1)),
                               'select_mode': dict(select_mode=99)}.items():
            queues = options.pop('queues', [name])
            with self.subTest(field), self.refused('BAD_FIELD', field):
                self.consumer(*queues, **options)


class EndTest(case.BrokerCase):
    def test_death_of_a_stream_releases_its_deliveries_at_once(self):
        name = self.queue(lease_duration=mqd.seconds(3600),
                          retry_backoff=types_pb2.RetryBackoff(initial=mqd.seconds(300)))
        self.publish(name, b'a', b'b')
        dying, heir = self.consumer(name), self.consumer(name)
        dying.grant(2)
        lost = dying.take(2)
        heir.grant(2)
        dying.cancel()
        got = heir.take(2, timeout=10)
        self.assertEqual([each.payload for each in got], [b'a', b'b'])
        self.assertEqual([each.attempt for each in got], [2, 2])
        self.check_stale(self.client.settle(name, lost, mqd.ack()),
                         *[each.delivery_id for each in lost])
        self.assertEqual(heir.settle(got, mqd.ack()).settled, 2)

    def test_death_charges_only_what_was_started(self):
        name = self.queue()
        self.publish(name, b'begun', b'waiting')
        dying = self.consumer(name, marks_started=True)
        dying.grant(2)
        dying.started(dying.take(2)[0])
        dying.ping(1)
        dying.cancel()
        got = sorted(self.receive(name, 2), key=lambda each: each.sequence)
        self.assertEqual([(each.payload, each.attempt) for each in got],
                         [(b'begun', 2), (b'waiting', 1)])

    def test_half_close_answers_settles_and_ends_well(self):
        name = self.queue()
        self.publish(name, b'a', b'b')
        consumer = self.consumer(name)
        consumer.grant(2)
        first, _ = consumer.take(2)
        consumer.settle([first], mqd.ack())
        consumer.half_close()
        self.assertIsNone(consumer.wait_end())
        self.check_stats(name, ready=1, in_flight=0, acked_total=1, consumers=0)

    def test_end_of_queue_comes_exactly_once_after_the_last_settle(self):
        name = self.queue()
        self.publish(name, b'1', b'2', b'3')
        busy, idle = self.consumer(name), self.consumer(name)
        busy.grant(10)
        got = busy.take(3)
        self.client.close_queue(name)
        for i, stream in enumerate((busy, idle)):
            stream.ping(i)
            self.assertEqual(stream.ended_queues, [], 'not while messages are unsettled')
        busy.settle(got[:2], mqd.ack())
        busy.settle(got[2:], mqd.release())
        got = busy.take(1)
        for i, stream in enumerate((busy, idle)):
            stream.ping(10 + i)
            self.assertEqual(stream.ended_queues, [])
        busy.settle(got, mqd.ack())
        for i, stream in enumerate((busy, idle)):
            stream.wait_until(lambda s=stream: s.ended_queues, 'end_of_queue')
            stream.ping(20 + i)
            self.assertEqual(stream.ended_queues, [0])
        late = self.consumer(name)
        late.wait_until(lambda: late.ended_queues, 'end_of_queue')
        self.assertEqual(self.client.receive(name, wait=20), ([], True))

    def test_consumers_drain_a_closed_queue(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 100)
        self.client.close_queue(name)
        consumer = self.consumer(name)
        consumer.grant(100)
        self.assertEqual(consumer.settle(consumer.take(100), mqd.ack()).settled, 100)
        consumer.wait_until(lambda: consumer.ended_queues, 'end_of_queue')

    def test_end_of_queue_names_its_queue_of_a_select(self):
        first, second = self.queue('-first'), self.queue('-second')
        consumer = self.consumer(first, second)
        self.client.close_queue(second)
        consumer.wait_until(lambda: consumer.ended_queues, 'end_of_queue')
        consumer.grant(1)
        self.publish(first, b'goes on')
        consumer.take(1)
        self.assertEqual(consumer.ended_queues, [1])

    def test_drain_releases_what_was_not_started_and_waits_for_the_rest(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 5)
        consumer = self.consumer(name, marks_started=True)
        consumer.grant(4)
        got = consumer.take(4)
        consumer.started(*got[:2])
        consumer.drain()
        consumer.ping(1)
        self.check_stats(name, ready=3, in_flight=2)
        self.assertIsNone(consumer.drained)
        consumer.grant(10)
        self.assertEqual(consumer.settle(got[:2], mqd.ack()).settled, 2)
        consumer.wait_until(lambda: consumer.drained, 'Drained')
        counts = consumer.drained
        self.assertEqual((counts.settled, counts.released, counts.abandoned), (2, 2, 0))
        self.assertIsNone(consumer.wait_end())
        self.assertEqual(consumer.inbox, [])
        self.assertEqual([each.attempt for each in self.receive(name, 3)], [1, 1, 1])

    def test_drain_ends_at_its_deadline_and_counts_what_it_abandons(self):
        name = self.queue()
        self.publish(name, b'x')
        consumer = self.consumer(name)
        consumer.grant(1)
        consumer.take(1)
        consumer.drain(0.2)
        consumer.wait_until(lambda: consumer.drained, 'Drained')
        self.assertEqual(consumer.drained.abandoned, 1)
        self.assertIsNone(consumer.wait_end())
        self.assertEqual(self.receive(name)[0].attempt, 2)

    def test_receive_waits_for_the_first_message_and_no_longer_than_told(self):
        name = self.queue()
        self.assertEqual(self.client.receive(name), ([], False))
        self.assertEqual(self.client.receive(name, wait=0.2), ([], False))
        request = broker_pb2.ReceiveRequest(queue=name, max_messages=10, wait=mqd.seconds(50))
        waiting = self.client.broker.Receive.future(request, timeout=60)
        self.eventually(lambda: self.client.stats(name).consumers == 1, 'the call waits')
        self.publish(name, b'here')
        delivery, = mqd.unpack(waiting.result(20).runs)
        self.assertEqual(delivery.payload, b'here')
        self.check_stats(name, in_flight=1, consumers=0)
        self.assertEqual(self.client.settle(name, [delivery], mqd.ack()).settled, 1)

    def test_receive_takes_up_to_what_it_asks_for(self):
        name = self.queue()
        self.publish(name, *[b'x' * 936] * 10)
        got, _ = self.client.receive(name, 4)
        self.assertEqual(len(got), 4)
        got, _ = self.client.receive(name, 10, max_bytes=2000)
        self.assertEqual(len(got), 2)
        got, _ = self.client.receive(name, 1, lease=mqd.seconds(77))
        self.assertEqual(got[0].lease_s, 77)
        for field, value in dict(wait=mqd.seconds(61), lease=mqd.seconds(0.5), max_messages=2000,
                                 max_bytes=1 << 40).items():
            request = broker_pb2.ReceiveRequest(queue=name, **{field: value})
            with self.refused('BAD_FIELD', field):
                self.client.call(self.client.broker.Receive, request)

    def test_receive_that_is_cancelled_keeps_nothing(self):
        name = self.queue()
        request = broker_pb2.ReceiveRequest(queue=name, max_messages=10, wait=mqd.seconds(50))
        waiting = self.client.broker.Receive.future(request, timeout=60)
        self.eventually(lambda: self.client.stats(name).consumers == 1, 'the call waits')
        waiting.cancel()
        self.eventually(lambda: self.client.stats(name).consumers == 0, 'the call is gone')
        self.publish(name, b'for others')
        self.assertEqual(self.receive(name)[0].attempt, 1)



class KeyedTest(case.BrokerCase):
    def test_what_comes_back_takes_those_behind_it_in_its_key_along(self):
        name = self.queue(ordering=types_pb2.ORDERING_KEYED)
        self.client.publish(name, *[mqd.message(each.encode(), ordering_key=each[0])
                                    for each in ('k1', 'k2', 'k3', 'l1')])
        consumer = self.consumer(name, in_flight_per_key=2)
        consumer.grant(4)
        first, other, second = consumer.take(3)
        self.assertEqual([each.payload for each in (first, other, second)], [b'k1', b'l1', b'k2'])
        consumer.settle([first], mqd.retry(0.05))
        lost, = consumer.lease_lost  # it came before the answer
        self.assertEqual(lost.code, broker_pb2.LEASE_LOST_CODE_RECALLED)
        self.assertEqual([(each.first_delivery_id, each.last_delivery_id) for each in lost.ranges],
                         [(second.delivery_id,) * 2])
        consumer.grant(2)
        again = consumer.take(2)
        self.assertEqual([(each.payload, each.attempt) for each in again],
                         [(b'k1', 2), (b'k2', 1)])
        self.assertEqual(consumer.settle([other, *again], mqd.ack()).settled, 3)


if __name__ == '__main__':
    unittest.main()
