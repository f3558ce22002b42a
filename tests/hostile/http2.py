"""HTTP/2 frames as bytes (RFC 9113, RFC 7541), for clients that keep no rule.

    with Connection(address) as link:
        link.send(headers(1, block(request('/mqd.v1.BrokerService/PublishStream'))))
        link.send(data(1, b'', flags=END_STREAM))
"""
import collections
import contextlib
import socket
import threading

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
ACK = END_STREAM = 1
END_HEADERS = 4
CANCEL = 8
INITIAL_WINDOW_SIZE = 4
WINDOW_MAX = 2**31 - 1
FRAME_BYTES_MAX = 16384  # until the peer allows more
PUBLISH = '/mqd.v1.BrokerService/PublishStream'
CONSUME = '/mqd.v1.BrokerService/ConsumeStream'
TIMEOUT_S = 30


def frame(kind, stream=0, content=b'', flags=0):
    return (len(content).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') +
            content)


def headers(stream, content, flags=END_HEADERS):
    return frame(HEADERS, stream, content, flags)


def continuation(stream, content, flags=0):
    return frame(CONTINUATION, stream, content, flags)


def data(stream, message, flags=0):
    """One gRPC message, uncompressed."""
    return frame(DATA, stream, b'\0' + len(message).to_bytes(4, 'big') + message, flags)


def rst_stream(stream, code=CANCEL):
    return frame(RST_STREAM, stream, code.to_bytes(4, 'big'))


def settings(*pairs):
    return frame(SETTINGS, 0, b''.join(key.to_bytes(2, 'big') + value.to_bytes(4, 'big')
                                       for key, value in pairs))


def ping(content=b'\0' * 8):
    return frame(PING, 0, content)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, stream, increment.to_bytes(4, 'big'))


def integer(value, prefix, first=0):
    """RFC 7541 5.1: `prefix` bits of the first byte, whose others are `first`."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out = bytearray([first | most])
    value -= most
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def text(value):
    return integer(len(value), 7) + value


def literal(name, value, indexed=False):
    """A field with its name; `indexed` puts it into the table of the peer."""
    return (b'\x40' if indexed else b'\0') + text(name) + text(value)


def indexed(index):
    return integer(index, 7, 0x80)


def block(fields, into_table=False):
    return b''.join(literal(name, value, into_table) for name, value in fields)


def request(path, *more, **changed):
    """The fields of a gRPC call. changed: scheme=, te=; None leaves the field out."""
    fields = {':method': b'POST', ':scheme': b'http', ':path': path.encode(),
              ':authority': b'localhost', 'te': b'trailers', 'content-type': b'application/grpc'}
    fields.update({key if key in fields else ':' + key: value for key, value in changed.items()})
    return [*((key.encode(), value) for key, value in fields.items() if value is not None), *more]


class Connection:
    """A socket that has said hello. What comes back is read by a thread, unless `reading` is
    False: then it fills the buffers of both sides. `seen` counts the frames by kind."""

    def __init__(self, address, *pairs, greet=True, reading=True, receive_buffer=None):
        host, _, port = address.rpartition(':')
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.seen = collections.Counter()
        self.goaway = b''
        self.closed = False
        self._changed = threading.Condition()
        self._reader = None
        try:
            if receive_buffer is not None:  # before connect(): it bounds the window offered
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.settimeout(TIMEOUT_S)
            self.socket.connect((host, int(port)))
            if greet:
                self.send(PREFACE + settings(*pairs))
        except OSError:
            self.socket.close()
            raise
        if reading:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def send(self, content):
        """Raises OSError once the peer has closed."""
        self.socket.sendall(content)

    def _read(self):
        with contextlib.suppress(OSError), self.socket.makefile('rb') as file:
            while len(head := file.read(9)) == 9:
                content = file.read(int.from_bytes(head[:3], 'big'))
                with self._changed:
                    self.seen[head[3]] += 1
                    if head[3] == GOAWAY:
                        self.goaway = content[8:]
                    self._changed.notify_all()
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def wait_answer(self, kind, count=1, timeout=TIMEOUT_S):
        """Until so many frames of a kind have come or the peer has closed; whether they came."""
        with self._changed:
            self._changed.wait_for(lambda: self.seen[kind] >= count or self.closed, timeout)
            return self.seen[kind] >= count

    def wait_closed(self, timeout=TIMEOUT_S):
        with self._changed:
            return self._changed.wait_for(lambda: self.closed, timeout)

    def acknowledge(self):
        """The limits that the peer has announced hold from here on; not before."""
        if not self.wait_answer(SETTINGS):
            raise ConnectionError('no SETTINGS')
        self.send(frame(SETTINGS, flags=ACK))

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        if self._reader is not None:
            self._reader.join(TIMEOUT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
