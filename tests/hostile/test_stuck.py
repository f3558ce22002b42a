"""Consumers that grant credit and never read: what they hold is bounded, and others go on."""
import contextlib
import os
import select
import threading
import time
import unittest

from mqd.v1 import broker_pb2, types_pb2

import case
import daemon
import feed
import figures
import http2
import mqd_client as mqd

READERS = int(os.environ.get('MQD_STUCK_READERS', 200))
CACHE_MIB = 64
OUTBOX_MIB = 4            # limits::kOutboxBytesMax: what waits to be written to one stream
WINDOW_MIB = 4            # limits::kPublishWindowBytes: what one publish stream has unconfirmed
PUBLISHERS = 2
PAYLOAD = b'x' * (64 << 10)
BATCH = 50
PASSING = 100_000
RATE_KEPT = 0.8
TRIES = 3                 # a rate is compared with one of a few seconds ago, on a busy machine
FULL_S = 40
MIB = 1 << 20


class StuckTest(case.BrokerCase):
    @classmethod
    def make_daemon(cls):
        return daemon.Daemon(config=daemon.CONFIG + f'cache_bytes = "{CACHE_MIB}MiB"\n')

    def setUp(self):
        self.stopping = threading.Event()
        self.peak_backlog = 0
        self.returned = 0
        self.bound = (READERS * (OUTBOX_MIB + 1) + 256) * MIB  # of the queue: readers fit in it
        self.client.create_queue(
            'stuck', overflow_policy=types_pb2.OVERFLOW_POLICY_DROP_OLDEST,
            max_bytes=mqd.limit(self.bound), lease_duration=mqd.seconds(3600))
        self.client.create_queue('others')

    def publish_on(self):
        """A publisher at full speed, until the end of the test."""
        client = mqd.Client(self.daemon.address)
        with contextlib.closing(client), client.publisher('stuck') as publisher:
            while not self.stopping.is_set():
                publisher.publish_all(*[mqd.message(PAYLOAD)] * BATCH)
                publisher.results.clear()

    def stuck_reader(self):
        link = http2.Connection(self.daemon.address,
                                (http2.INITIAL_WINDOW_SIZE, http2.WINDOW_MAX),
                                reading=False, receive_buffer=4096)
        opened = broker_pb2.ConsumeStreamRequest(open=broker_pb2.ConsumeOpen(
            queues=[broker_pb2.SelectQueue(queue='stuck')]))
        credit = broker_pb2.ConsumeStreamRequest(
            credit=broker_pb2.Credit(messages=1 << 20, bytes=1 << 30))
        link.send(http2.window_update(0, http2.WINDOW_MAX - 65535) +
                  http2.headers(1, http2.block(http2.request(http2.CONSUME))) +
                  http2.data(1, opened.SerializeToString()) +
                  http2.data(1, credit.SerializeToString()))
        return link

    @contextlib.contextmanager
    def stuck_readers(self):
        """READERS of them. The broker cuts them off after a while; they come back at once."""
        readers = [self.stuck_reader() for _ in range(READERS)]
        enough = threading.Event()

        def keep():
            while not enough.wait(0.2):
                waiting = select.poll()
                for each in readers:
                    waiting.register(each.socket, select.POLLRDHUP)
                gone = {number for number, _ in waiting.poll(0)}
                for at, each in enumerate(readers):
                    if each.socket.fileno() in gone:
                        each.close()
                        readers[at] = self.stuck_reader()
                        self.returned += 1

        keeper = threading.Thread(target=keep)
        keeper.start()
        try:
            yield
        finally:
            enough.set()
            keeper.join()
            for each in readers:
                each.close()

    def rate(self):
        """Messages a second of a publisher and a consumer on their own queue."""
        begin = time.monotonic()
        feed.pass_through(self.client, 'others', b'y' * 100, PASSING)
        return PASSING / (time.monotonic() - begin)

    def wait_full(self):
        """Until the readers have been given all that they can hold."""
        end = time.monotonic() + FULL_S
        held, pause = -1, threading.Event()
        while (now := self.look().in_flight) > held or self.client.stats('stuck').ready == 0:
            held = now
            if time.monotonic() > end:  # some are cut off while others attach again
                break
            pause.wait(1)
        return held

    def look(self):
        stats = self.client.stats('stuck')
        self.peak_backlog = max(self.peak_backlog, stats.backlog_bytes)
        return stats

    def compare(self):
        """(rate without them, rate with them)"""
        alone = self.rate()
        with self.stuck_readers():
            self.eventually(lambda: self.look().consumers == READERS, 'all have attached', 120)
            held = self.wait_full()
            together = self.rate()
            resident = self.daemon.resident_bytes()
            self.look()
        print(f'{READERS} readers hold {held} messages of 64 KiB, and came back {self.returned} '
              f'times; others {alone:,.0f}/s alone, '
              f'{together:,.0f}/s beside them; RSS {resident / MIB:.0f} MiB; backlog '
              f'{self.peak_backlog / MIB:.0f} of {self.bound / MIB:.0f} MiB', flush=True)
        return together / alone, resident

    def test_stuck_readers_hold_little_and_slow_nobody_down(self):
        start = self.daemon.resident_bytes()
        threads = [threading.Thread(target=self.publish_on) for _ in range(PUBLISHERS)]
        for each in threads:
            each.start()
        try:
            for _ in range(TRIES):
                kept, resident = self.compare()
                if kept >= RATE_KEPT:
                    break
        finally:
            self.stopping.set()
            for each in threads:
                each.join()
        budget = start + (CACHE_MIB + READERS * OUTBOX_MIB + PUBLISHERS * WINDOW_MIB) * MIB
        violations = (resident > 1.1 * budget) + (self.peak_backlog > self.bound)
        figures.add('R9', trials=READERS, violations=violations + (kept < RATE_KEPT),
                    note=f'RSS {resident >> 20} of {budget >> 20} MiB, others keep {kept:.0%}')
        print(f'RSS {resident / MIB:.0f} MiB of a budget of {budget / MIB:.0f} MiB')
        self.assertLess(resident, 1.1 * budget)
        self.assertLessEqual(self.peak_backlog, self.bound)
        self.assertGreaterEqual(kept, RATE_KEPT)


if __name__ == '__main__':
    unittest.main()
