"""Connections: very many, and some that begin to say something and never go on."""
import contextlib
import socket
import time
import unittest

import daemon
import hostile_case
import http2
import mqd_client as mqd

MANY = 10_000
SLOW = 500
HANDSHAKE_S = 10   # what the broker gives a client to say hello
PATIENCE_S = 60    # until it must have closed the connection on a machine that is busy
FEW_DESCRIPTORS = 200
SPARE = 1_500      # descriptors of this process and the daemon that are no such connections


def close(links):
    for each in links:
        each.close()


class ConnectionsTest(hostile_case.HostileCase):
    def open_many(self, count, content=b''):
        """Bare connections that have sent this and read nothing."""
        host, _, port = self.daemon.address.rpartition(':')
        links = []
        try:
            for _ in range(count):
                link = socket.create_connection((host, int(port)), http2.TIMEOUT_S)
                links.append(link)
                link.sendall(content)
        except BaseException:
            close(links)
            raise
        return links

    def closed_by_peer(self, link, deadline):
        with contextlib.suppress(ConnectionError):
            while True:
                link.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    if not link.recv(65536):
                        return True
                except TimeoutError:
                    return False
        return True

    def strike_with(self, count, content):
        def strike(_):
            links = self.open_many(count, content)
            self.addCleanup(close, links)
            return f'{len(links)} connections that sent {len(content)} bytes'
        return strike

    def test_ten_thousand_connections(self):
        count = min(MANY, hostile_case.DESCRIPTORS - SPARE)
        self.assertGreater(count, 1000, 'this test needs a higher limit of descriptors')
        self.attack(self.strike_with(count, b''), growth=512 << 20)
        self.doCleanups()
        self.witness.wait_rounds(2, time.monotonic())
        self.check_connects()

    def test_half_of_a_hello_is_not_waited_for(self):
        for part in (http2.PREFACE[:10], http2.PREFACE, http2.PREFACE + http2.settings()[:5]):
            links = self.open_many(20, part)
            end = time.monotonic() + PATIENCE_S
            with self.subTest(part):
                self.assertTrue(all(self.closed_by_peer(each, end) for each in links))
            close(links)

    def test_hello_that_comes_a_byte_at_a_time(self):
        hello = http2.PREFACE + http2.settings()

        def strike(until):
            links = self.open_many(SLOW)
            self.addCleanup(close, links)
            sent = 0
            for byte in hello[:-1]:
                for each in links:
                    with contextlib.suppress(OSError):
                        each.send(bytes([byte]))
                        sent += 1
                if time.monotonic() > until:
                    break
            return f'{sent} bytes, one at a time, on {len(links)} connections'

        self.attack(strike)


class DescriptorsTest(hostile_case.HostileCase):
    """CVE-2023-4785: the library's own listener closes for good when an accept fails."""

    @classmethod
    def make_daemon(cls):
        return daemon.Daemon(wrapper=['prlimit', f'--nofile={FEW_DESCRIPTORS}'])

    def test_more_connections_than_descriptors(self):
        def strike(_):
            host, _, port = self.daemon.address.rpartition(':')
            links = []
            for _ in range(2 * FEW_DESCRIPTORS):
                with contextlib.suppress(OSError):
                    links.append(socket.create_connection((host, int(port)), http2.TIMEOUT_S))
            close(links)
            return f'{len(links)} connections'

        self.attack(strike)
        result, = self.client.publish('victim', mqd.message(b'the store has its descriptors'))
        self.assertEqual(result.kind, 'published')


if __name__ == '__main__':
    unittest.main()
