"""What survives the death of the broker, and how it goes when it is asked to."""
import os
import unittest

from mqd.v1 import broker_pb2, types_pb2

import case
import daemon
import mqd_client as mqd


class RestartTest(case.BrokerCase):
    """Each test has a daemon of its own, which it kills."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.daemon = daemon.Daemon()
        self.addCleanup(self.daemon.remove)
        self.daemon.start()
        self.client = mqd.Client(self.daemon.address)

    def restart(self):
        """SIGKILL and start again, on another port."""
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = mqd.Client(self.daemon.address)

    def test_kill_keeps_confirmed_messages_and_what_was_settled(self):
        name = self.queue()
        sequences = [each.sequence for each in self.publisher(name).publish_all(
            *[mqd.message(b'%d' % i, headers={'i': f'{i}'}) for i in range(1000)])]
        got = self.receive(name, 600)
        self.client.settle(name, got[:500], mqd.ack())
        self.restart()
        self.check_stats(name, ready=500, in_flight=0)
        after = self.receive(name, 500)
        self.assertEqual([each.sequence for each in after], sequences[500:])
        self.assertEqual([each.payload for each in after], [b'%d' % i for i in range(500, 1000)])
        self.assertEqual(after[0].message.headers['i'], '500')

    def test_kill_keeps_idempotency_keys(self):
        name = self.queue()
        keyed = [mqd.message(b'%d' % i, idempotency_key=f'{i}') for i in range(10)]
        before = self.client.publish(name, *keyed)
        self.client.settle(name, self.receive(name, 4), mqd.ack())
        self.restart()
        after = self.client.publish(name, *keyed)
        self.assertEqual([(each.kind, each.sequence) for each in after],
                         [('duplicate', each.sequence) for each in before])
        settled, ready = types_pb2.MESSAGE_STATUS_SETTLED, types_pb2.MESSAGE_STATUS_READY
        self.assertEqual([each.status for each in after], [settled] * 4 + [ready] * 6)
        conflict, = self.client.publish(name, mqd.message(b'other', idempotency_key='3'))
        self.check_error(conflict, 'IDEMPOTENCY_CONFLICT')
        self.check_stats(name, ready=6, dedup_entries=10)

    def test_kill_keeps_attempts_delays_and_parked_messages(self):
        name = self.queue(max_attempts=3)
        self.publish(name, b'tried', b'delayed', b'parked')
        tried, delayed, parked = self.receive(name, 3)
        self.client.settle(name, [tried], mqd.retry(0, 'once'))
        self.client.settle(name, [delayed], mqd.retry(3600, 'later'))
        self.client.settle(name, [parked], mqd.dead_letter('bad'))
        self.restart()
        self.check_stats(name, ready=1, delayed=1, parked=1)
        again, = self.receive(name)
        self.assertEqual((again.payload, again.attempt), (b'tried', 2))
        held = {each.message.payload: each for each in self.client.peek(name)}
        self.assertEqual((held[b'delayed'].status, held[b'delayed'].last_error),
                         (types_pb2.MESSAGE_STATUS_DELAYED, 'later'))
        self.assertGreater(held[b'delayed'].deliver_at.seconds,
                           held[b'delayed'].publish_time.seconds + 3000)
        self.assertEqual((held[b'parked'].status, held[b'parked'].last_error),
                         (types_pb2.MESSAGE_STATUS_PARKED, 'bad'))

    def test_delivery_of_the_life_before_is_stale_and_its_id_is_not_used_again(self):
        name = self.queue()
        self.publish(name, b'a', b'b')
        before = self.receive(name, 2)
        self.restart()
        self.check_stale(self.client.settle(name, before, mqd.ack()),
                         *[each.delivery_id for each in before])
        after = self.receive(name, 2)
        self.assertGreater(min(each.delivery_id for each in after),
                           max(each.delivery_id for each in before))
        self.assertEqual(self.client.settle(name, after, mqd.ack()).settled, 2)

    def test_kill_keeps_an_atomic_request_whole(self):
        source, target = self.queue('-in'), self.queue('-out')
        self.publish(source, *[b'%d' % i for i in range(20)])
        consumer = self.consumer(source)
        consumer.grant(20)
        for each in consumer.take(20)[:10]:
            made = mqd.message(each.payload, idempotency_key=each.payload.decode())
            consumer.settle([each], mqd.ack(), publishes=[mqd.publishes(target, made)])
        self.restart()
        self.check_stats(source, ready=10)
        self.check_stats(target, ready=10, dedup_entries=10)
        self.assertEqual([each.payload for each in self.receive(target, 10)],
                         [b'%d' % i for i in range(10)])

    def test_producer_that_resends_after_a_kill_adds_no_duplicate(self):
        name, producer = self.queue(), bytes(range(16))
        messages = [mqd.message(b'%d' % i) for i in range(10)]
        before = self.publisher(name, producer_id=producer).publish_all(*messages[:7])
        self.restart()
        publisher = self.publisher(name, producer_id=producer)
        self.assertEqual((publisher.opened.resumed, publisher.opened.last_publish_id), (True, 7))
        after = publisher.publish_all(*messages)
        self.assertEqual([each.sequence for each in after[:7]],
                         [each.sequence for each in before])
        self.check_stats(name, ready=10)

    def test_sequences_go_on_rising_after_a_kill(self):
        name = self.queue()
        last = self.publish(name, b'a', b'b')[-1]
        self.client.purge(name)
        self.restart()
        self.assertGreater(self.publish(name, b'c')[0], last)

    def test_kill_keeps_settings_and_closed_queues(self):
        name = self.queue(max_messages=mqd.limit(5), lease_duration=mqd.seconds(7))
        self.publish(name, b'x')
        self.client.close_queue(name)
        before = self.client.get_queue(name)
        self.restart()
        after = self.client.get_queue(name)
        self.assertEqual((after.settings, after.generation, after.closed, after.create_time),
                         (before.settings, before.generation, True, before.create_time))
        self.check_error(self.client.publish(name, mqd.message(b'y'))[0], 'QUEUE_CLOSED')
        self.client.settle(name, self.receive(name), mqd.ack())
        self.assertEqual(self.client.receive(name, wait=10), ([], True))

    def test_memory_queue_is_there_and_empty_after_a_kill(self):
        name = self.queue(durability=types_pb2.DURABILITY_MEMORY)
        self.client.publish(name, mqd.message(b'x', idempotency_key='k'))
        self.restart()
        self.check_stats(name, ready=0, backlog_bytes=0, dedup_entries=0)
        self.publish(name, b'y')

    def test_termination_says_go_away_takes_settles_and_ends_with_zero(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 4)
        consumer, publisher = self.consumer(name), self.publisher(name)
        consumer.grant(2)
        got = consumer.take(2)
        self.daemon.process.terminate()
        for stream in (consumer, publisher):
            stream.wait_until(lambda s=stream: s.go_away, 'GoAway')
            self.assertEqual(stream.go_away.code, broker_pb2.GO_AWAY_CODE_DRAINING)
        with self.refused('DRAINING'):
            self.client.publish(name, mqd.message(b'late'))
        consumer.grant(2)
        self.assertEqual(consumer.settle(got, mqd.ack()).settled, 2)
        self.check_info(consumer.wait_end().info, 'DRAINING')
        publisher.half_close()
        self.assertEqual(self.daemon.process.wait(daemon.WAIT_S), 0, self.daemon.log())
        self.daemon.start()
        self.client = mqd.Client(self.daemon.address)
        self.check_stats(name, ready=2)
        self.assertEqual([each.attempt for each in self.receive(name, 2)], [1, 1])

    def test_second_daemon_on_the_directory_is_refused(self):
        second = daemon.Daemon(data=self.daemon.data)
        self.addCleanup(second.remove)
        with self.assertRaises(RuntimeError) as caught:
            second.start()
        self.assertIn('exit code 7', str(caught.exception))  # 73 or 74
        self.publish(self.queue(), b'the first one serves on')
        self.assertTrue(os.path.isdir(self.daemon.data))


if __name__ == '__main__':
    unittest.main()
