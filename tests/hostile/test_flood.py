"""Frames that cost a client nothing, as fast as the socket takes them."""
import contextlib
import os
import threading
import time
import unittest

import hostile_case
import http2

CLIENTS = int(os.environ.get('MQD_HOSTILE_CLIENTS', 1))
FEW_RESETS = 5_000
BATCH = 200  # resets that are sent at once
GRPC_BYTES = 512 << 20  # kGrpcQuotaBytes of server/app.cc: what gRPC may plan with


class FloodTest(hostile_case.HostileCase):
    def flood(self, until, frames_of, reading=True):
        """Some clients send what frames_of(n) gives for n = 0, 1.., and come again when they are
        thrown out. What was sent."""
        sent = [0] * CLIENTS
        connections = [0] * CLIENTS
        goaways = set()

        def client(which):
            while time.monotonic() < until:
                connections[which] += 1
                with contextlib.suppress(OSError), \
                        http2.Connection(self.daemon.address, reading=reading) as link:
                    if reading:
                        link.acknowledge()
                    link.socket.settimeout(max(0.1, until - time.monotonic()))
                    for n in range(1 << 30):
                        frames, count = frames_of(n)
                        if time.monotonic() > until:
                            break
                        link.send(frames)
                        sent[which] += count
                    goaways.add(link.goaway)
                goaways.add(link.goaway)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return f'{sum(sent)} frames over {sum(connections)} connections {goaways - {b""} or ""}'

    def attack(self, strike, seconds=4, growth=GRPC_BYTES, cured=True):
        super().attack(strike, seconds, growth, cured)

    @staticmethod
    def resets(n):
        """A batch of HEADERS and RST_STREAM; the first call puts its fields into the table."""
        out = []
        for i in range(n * BATCH, (n + 1) * BATCH):
            fields = http2.block(http2.request(http2.PUBLISH), into_table=True) if i == 0 else \
                b''.join(http2.indexed(62 + each) for each in range(5, -1, -1))
            stream = 2 * i + 1
            out.append(http2.headers(stream, fields) + http2.rst_stream(stream))
        return b''.join(out)

    def reset_over_one(self, acknowledge):
        """gRPC mostly refuses it soon. At times it reads on, as with two connections, and then what
        waits has no bound but the number sent (142,600 took 3 GB): so no more than these."""
        def strike(_):
            link = http2.Connection(self.daemon.address)
            self.addCleanup(link.close)
            with contextlib.suppress(OSError):
                if acknowledge:
                    link.acknowledge()
                for n in range(2 * FEW_RESETS // BATCH):
                    link.send(self.resets(n))
            return f'{2 * FEW_RESETS} resets'

        self.attack(strike, cured=False)

    def test_rapid_reset(self):
        self.reset_over_one(acknowledge=True)

    def test_rapid_reset_of_a_client_that_takes_no_settings(self):
        self.reset_over_one(acknowledge=False)

    def test_rapid_reset_over_two_connections(self):
        """gRPC reads resets of two connections faster than it refuses them, and what waits has no
        bound but the number sent: the others wait too, but come back."""
        def strike(_):
            links = [http2.Connection(self.daemon.address) for _ in range(2)]
            for each in links:
                self.addCleanup(each.close)
                each.acknowledge()
            for n in range(FEW_RESETS // BATCH):
                for each in links:
                    each.send(self.resets(n))
            for each in links:
                each.send(http2.ping())
                self.assertTrue(each.wait_answer(http2.PING), 'all of it has been read')
            return f'{2 * FEW_RESETS} resets over 2 connections'

        self.attack(strike, cured=False)

    def test_ping_flood(self):
        pings = http2.ping() * 1000
        self.attack(lambda until: self.flood(until, lambda n: (pings, 1000)))

    def test_ping_flood_whose_answers_nobody_reads(self):
        """gRPC reads on until the answers fill the buffers, and only then looks at the others."""
        pings = http2.ping() * 1000
        self.attack(lambda until: self.flood(until, lambda n: (pings, 1000), reading=False),
                    cured=False)

    def test_settings_flood(self):
        frames = http2.settings((http2.INITIAL_WINDOW_SIZE, 65535)) * 1000
        self.attack(lambda until: self.flood(until, lambda n: (frames, 1000)))

    def test_settings_flood_whose_answers_nobody_reads(self):
        frames = http2.settings((http2.INITIAL_WINDOW_SIZE, 65535)) * 1000
        self.attack(lambda until: self.flood(until, lambda n: (frames, 1000), reading=False))

    def test_window_updates_without_end(self):
        frames = http2.window_update(0, 1) * 1000
        self.attack(lambda until: self.flood(until, lambda n: (frames, 1000)))

    def test_window_that_overflows(self):
        frames = http2.window_update(0, http2.WINDOW_MAX) * 10
        self.attack(lambda until: self.flood(until, lambda n: (frames, 10)), seconds=2)

    def test_empty_data_frames(self):
        """Of 18 tries, 8 stopped the witness to their end: gRPC has one thread for the connections
        that two threads want at once, and this one keeps it busy."""
        opening = http2.headers(1, http2.block(http2.request(http2.PUBLISH)))
        frames = http2.frame(http2.DATA, 1) * 1000
        self.attack(lambda until: self.flood(
            until, lambda n: (opening if n == 0 else frames, 1000)), cured=False)


if __name__ == '__main__':
    unittest.main()
