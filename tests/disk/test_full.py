"""A volume that fills up: publishes are refused, the rest goes on, nothing confirmed is lost."""
import os
import unittest

from mqd.v1 import types_pb2

import case
import daemon
import figures
import mqd_client as mqd
import small_volume

MIB = 1 << 20
VOLUME = 640 * MIB
WATERMARK = 96 * MIB
ROUNDS = 20
CONFIG = f'[storage]\ndisk_low_watermark = "{WATERMARK // MIB}MiB"\n'


class FullTest(case.BrokerCase):
    """Each test has a volume and a daemon of its own."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.volume = small_volume.SmallVolume(VOLUME)
        self.addCleanup(self.volume.remove)
        self.daemon = daemon.Daemon(data=os.path.join(self.volume.path, 'data'), config=CONFIG)
        self.addCleanup(self.daemon.remove)
        self.daemon.start()
        self.client = mqd.Client(self.daemon.address)
        self.addCleanup(lambda: self.client.close())

    def wait_low(self, low, wait=30):
        self.eventually(lambda: self.client.node_status().disk_low == low,
                        f'disk_low becomes {low}; {self.volume.free() / MIB:.0f} MiB free', wait)

    def check_low(self, result):
        error = self.check_error(result, 'DISK_LOW')
        self.assertTrue(error.retryable and error.HasField('retry_after'), error)

    def fill_up(self):
        self.volume.leave_free(WATERMARK - 8 * MIB)
        self.wait_low(True)

    def test_low_disk_refuses_publishes_while_settles_go_on(self):
        name, target = self.queue(), self.queue('-target')
        self.publish(name, *[b'x'] * 10)
        publisher, consumer = self.publisher(name), self.consumer(name)
        consumer.grant(8)
        got = consumer.take(4)
        self.fill_up()
        status = self.client.node_status()
        self.assertEqual(status.disk_low_watermark_bytes, WATERMARK)
        self.assertLess(status.disk_free_bytes, WATERMARK)
        self.check_low(self.client.publish(name, mqd.message(b'no'))[0])
        self.check_low(publisher.publish_all(mqd.message(b'no'))[0])
        reply = consumer.settle(got[:1], mqd.ack(), publishes=[
            mqd.publishes(target, mqd.message(b'no'))])
        self.assertEqual((reply.settled, reply.publish_results[0].WhichOneof('result')),
                         (0, 'error'))
        self.assertEqual(consumer.settle(got[:1], mqd.ack()).settled, 1)
        self.assertEqual(consumer.settle(got[1:2], mqd.retry(0, 'again')).settled, 1)
        self.assertEqual(consumer.settle(got[2:3], mqd.release()).settled, 1)
        self.assertEqual(consumer.settle(got[3:], mqd.dead_letter('bad')).settled, 1)
        self.assertEqual(self.client.settle(name, self.receive(name), mqd.ack()).settled, 1)
        self.check_stats(name, parked=1, acked_total=2, rejected_total=2)
        self.volume.give_back()
        self.wait_low(False)
        self.publish(name, b'yes')
        self.assertEqual(publisher.publish_all(mqd.message(b'yes'))[0].kind, 'published')

    def test_disk_that_fills_up_again_and_again_is_no_reason_to_restart(self):
        name = self.queue()
        process, confirmed, rounds = self.daemon.process.pid, 0, 0
        self.addCleanup(lambda: figures.add('R10', trials=rounds, confirmed=confirmed,
                                            violations=ROUNDS - rounds))
        for _ in range(ROUNDS):
            self.publish(name, b'kept', b'taken')
            confirmed += 2
            self.fill_up()
            self.check_low(self.client.publish(name, mqd.message(b'no'))[0])
            taken = self.receive(name)
            self.assertEqual(self.client.settle(name, taken, mqd.ack()).settled, 1)
            self.volume.give_back()
            self.wait_low(False)
            self.assertEqual(self.daemon.process.pid, process)
            self.assertIsNone(self.daemon.process.poll())
            rounds += 1
        self.check_stats(name, ready=ROUNDS, acked_total=ROUNDS, rejected_total=ROUNDS)

    def test_broker_that_starts_on_a_low_disk_serves_what_it_has(self):
        name = self.queue()
        self.client.publish(name, mqd.message(b'kept', idempotency_key='k'))
        self.fill_up()
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = mqd.Client(self.daemon.address)
        self.wait_low(True)
        self.check_low(self.client.publish(name, mqd.message(b'no'))[0])
        delivery, = self.receive(name)
        self.assertEqual(delivery.payload, b'kept')
        self.assertEqual(self.client.settle(name, [delivery], mqd.ack()).settled, 1)
        self.volume.give_back()
        self.wait_low(False)
        again, = self.client.publish(name, mqd.message(b'kept', idempotency_key='k'))
        self.assertEqual((again.kind, again.status),
                         ('duplicate', types_pb2.MESSAGE_STATUS_SETTLED))

    def test_traffic_that_fills_the_volume_loses_nothing_and_gives_the_space_back(self):
        name = self.queue()
        publisher = self.publisher(name)
        confirmed, refused = [], 0
        for at in range(0, 2 * VOLUME, 2 * MIB):
            results = publisher.publish_all(*[
                mqd.message(b'%016d' % (at + i) + os.urandom(64 << 10)) for i in range(32)])
            for i, result in enumerate(results):
                if result.kind == 'published':
                    confirmed.append(b'%016d' % (at + i))
                else:
                    self.check_low(result)
                    refused += 1
            if refused:
                break
        self.assertTrue(refused, 'the volume is smaller than what was sent')
        print(f'{len(confirmed)} messages confirmed; {self.volume.free() / MIB:.0f} MiB left')
        self.assertGreater(self.volume.free(), 0)
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = mqd.Client(self.daemon.address)
        self.check_stats(name, ready=len(confirmed))
        consumer = self.consumer(name)
        kept = []
        while len(kept) < len(confirmed):
            consumer.grant(1)
            got = consumer.take(1)
            kept += [each.payload[:16] for each in got]
            self.assertEqual(consumer.settle(got, mqd.ack()).settled, 1)
        self.assertEqual(kept, confirmed)
        self.check_stats(name, ready=0, in_flight=0, backlog_bytes=0)
        self.wait_low(False, 60)
        self.publish(name, b'there is room again')


if __name__ == '__main__':
    unittest.main()
