"""Header blocks that are too large, too many, or of no end, and fields that gRPC has died of."""
import contextlib
import time
import unittest

import hostile_case
import http2

CHUNK = http2.FRAME_BYTES_MAX
BLOCK_BYTES = 16 << 20      # of one header block that is sent whole
QUADRATIC_BYTES = 4 << 20   # of one value: gRPC copies what it has got for every frame
LIMIT_BYTES = 16 << 10      # of request metadata, as the broker announces it


def frames_of(stream, content):
    """A header block in as many frames as it takes."""
    pieces = [content[at:at + CHUNK] for at in range(0, len(content), CHUNK)] or [b'']
    flags = [0] * (len(pieces) - 1) + [http2.END_HEADERS]
    return b''.join((http2.headers if at == 0 else http2.continuation)(stream, piece, flags[at])
                    for at, piece in enumerate(pieces))


class HeadersTest(hostile_case.HostileCase):
    def pour(self, until, opening, piece, most=BLOCK_BYTES):
        """Sends a block that never ends, in CONTINUATION frames, again on a new connection."""
        sent = connections = 0
        chunk = http2.continuation(1, piece)
        while time.monotonic() < until and sent < most:
            connections += 1
            with contextlib.suppress(OSError), http2.Connection(self.daemon.address) as link:
                link.acknowledge()
                link.send(http2.headers(1, opening, flags=0))
                while time.monotonic() < until and sent < most:
                    link.send(chunk)
                    sent += len(chunk)
                link.wait_closed(max(0, until - time.monotonic()))  # it is still being read
        return f'{sent >> 10} KiB over {connections} connections'

    def test_continuations_without_end(self):
        opening = http2.block(http2.request(http2.PUBLISH))
        self.attack(lambda until: self.pour(until, opening, b'', most=1 << 20))

    def test_tiny_fields_without_end(self):
        tiny = http2.literal(b'a', b'')
        self.attack(lambda until: self.pour(until, b'', tiny * (CHUNK // len(tiny))))

    def test_fields_of_the_table_without_end(self):
        opening = http2.literal(b'x', b'y' * 4000, indexed=True)
        self.attack(lambda until: self.pour(until, opening, http2.indexed(62) * CHUNK))

    def test_number_that_is_padded_without_end(self):
        self.attack(lambda until: self.pour(until, b'\0\x7f', b'\x80' * CHUNK))

    def test_value_that_is_announced_with_four_gigabytes(self):
        opening = b'\0' + http2.text(b'x') + http2.integer(2**32 - 1, 7)
        self.attack(lambda until: self.pour(until, opening, b'y' * CHUNK, QUADRATIC_BYTES))

    def test_large_headers_of_a_client_that_takes_no_settings(self):
        """The library holds a client to its limits only once the client has acknowledged them.
        1 of 5 tries stopped the witness while they were read, as empty frames do."""
        block = http2.block(http2.request(http2.PUBLISH, (b'large', b'y' * (1 << 20))))

        def strike(_):
            with http2.Connection(self.daemon.address) as link:
                for call in range(100):
                    link.send(frames_of(2 * call + 1, block))
                self.assertTrue(link.wait_answer(http2.HEADERS, 100), 'each is refused')
            return '100 calls with 1 MiB of headers'

        self.attack(strike, growth=128 << 20, cured=False)

    def test_fields_with_which_a_request_aborted_the_library(self):
        """CVE-2023-1428: a field that cannot be printed, and more headers than are allowed."""
        large = [(b'x%d' % i, b'y' * 9000) for i in range(4)]
        bad = [{'te': b'bad'}, {'scheme': b'gopher'}, {'method': b'BREW'}, {'te': None}]
        more = [(name, b'\xff\x00bad') for name in (
            b':status', b'grpclb_client_stats', b'grpc-server-stats-bin', b'lb-token',
            b'lb-cost-bin',
            b'grpc-status', b'grpc-timeout', b'content-type', b'grpc-encoding', b'host',
            b'grpc-accept-encoding', b'grpc-internal-encoding-request', b'grpc-retry-pushback-ms',
            b'grpc-previous-rpc-attempts', b'endpoint-load-metrics-bin')]
        requests = [http2.request(http2.PUBLISH, **each) for each in bad]
        requests += [http2.request(http2.PUBLISH, each) for each in more]
        blocks = [http2.block(fields) for each in requests
                  for fields in ([*each, *large], [*large, *each], [*each, *each[-1:]])]

        def strike(_):
            for acknowledge in (True, False):
                for each in blocks:
                    with contextlib.suppress(OSError), \
                            http2.Connection(self.daemon.address) as link:
                        if acknowledge:
                            link.acknowledge()
                        link.send(frames_of(1, each) + http2.ping())
                        link.wait_answer(http2.PING)
                    self.assertTrue(self.daemon.alive(), f'died of {each[:200]}')
            return f'{2 * len(blocks)} requests'

        self.attack(strike)


if __name__ == '__main__':
    unittest.main()
