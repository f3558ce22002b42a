"""Many small messages in little time: frames are made and read as bytes, never message by message.

The frames are those of mqd.v1.broker.proto; what is spared is one Python object a message.
"""
import os
import queue
import threading

import grpc
from mqd.v1 import broker_pb2

BATCH = 1000
WAIT_S = 120
SERVICE = '/mqd.v1.BrokerService/'


def varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, content):
    """A field of wire type 2, or 0 for a number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def read_varint(data, at):
    """(value, position after it)"""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7f) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


class Feed:
    """A publish stream that sends the same batch again and again, within its credit."""

    def __init__(self, client, name, payload):
        self._messages = field(15, field(15, payload)) * BATCH
        self._batch_bytes = BATCH * (len(payload) + 64)
        self._outgoing = queue.SimpleQueue()
        self._outgoing.put(field(1, field(1, name.encode())))
        self._call = client.channel.stream_stream(SERVICE + 'PublishStream')(
            iter(self._outgoing.get, None), timeout=WAIT_S)

    def run(self, batches):
        """Publishes and waits for every confirm; how many messages were stored."""
        stored = sent = 0
        messages = size = 0
        for reply in self._call:
            frame = broker_pb2.PublishStreamResponse.FromString(reply)
            credit = frame.opened.credit if frame.HasField('opened') else frame.credit
            messages += credit.messages
            size += credit.bytes
            stored += sum(each.count for each in frame.confirms.ranges)
            if frame.confirms.exceptions:
                raise AssertionError(f'refused: {frame.confirms.exceptions[0]}')
            if frame.HasField('ping'):
                self._outgoing.put(broker_pb2.PublishStreamRequest(
                    pong=broker_pb2.Pong(nonce=frame.ping.nonce)).SerializeToString())
            while sent < batches and messages >= BATCH and size >= self._batch_bytes:
                head = b'\x08' + varint(1 + sent * BATCH)
                self._outgoing.put(field(2, head + self._messages))
                sent += 1
                messages -= BATCH
                size -= self._batch_bytes
            if stored == batches * BATCH:
                self._outgoing.put(None)
        return stored


class Drink:
    """A consume stream that takes messages and acks each frame of them as one range."""

    CREDIT = 100_000
    CREDIT_BYTES = 32 << 20

    def __init__(self, client, name):
        self.delivered = 0
        self.acked = 0
        self._outgoing = queue.SimpleQueue()
        self._outgoing.put(field(1, field(1, field(1, name.encode()))))
        self._grant(self.CREDIT, self.CREDIT_BYTES)
        self._call = client.channel.stream_stream(SERVICE + 'ConsumeStream')(
            iter(self._outgoing.get, None), timeout=WAIT_S)

    def _grant(self, messages, size):
        self._outgoing.put(field(2, b'\x08' + varint(messages) + b'\x10' + varint(size)))

    def run(self, count):
        """Until `count` messages are acknowledged."""
        for reply in self._call:
            if reply[0] == 2 << 3 | 2:
                self._take(reply)
            else:
                frame = broker_pb2.ConsumeStreamResponse.FromString(reply)
                if frame.settled.exceptions or frame.settled.HasField('error'):
                    raise AssertionError(f'a settle failed: {frame}')
                self.acked += frame.settled.settled
                if frame.HasField('ping'):
                    self._outgoing.put(broker_pb2.ConsumeStreamRequest(
                        pong=broker_pb2.Pong(nonce=frame.ping.nonce)).SerializeToString())
            if self.acked >= count:
                break
        self._outgoing.put(None)
        self._call.cancel()

    def _take(self, reply):
        """Acks a Deliveries frame: its numbers come first, then runs with ids one after another."""
        _, at = read_varint(reply, 1)
        numbers = {}
        while reply[at] != 15 << 3 | 2:
            number = reply[at] >> 3
            numbers[number], at = read_varint(reply, at + 1)
        _, at = read_varint(reply, at + 1)
        if reply[at] != 0x08:
            raise AssertionError('a run begins with its first delivery id')
        first, _ = read_varint(reply, at + 1)
        count, size = numbers[2], numbers[3]
        self.delivered += count
        span = field(1, b'\x08' + varint(first) + b'\x10' + varint(first + count - 1))
        self._outgoing.put(field(3, b'\x08\x01' + field(3, span + field(2, b''))))
        self._grant(count, size)


def pass_through(client, name, payload, count):
    """Publishes `count` messages and, at the same time, takes and acknowledges them."""
    feed, drink = Feed(client, name, payload), Drink(client, name)
    failures = []

    def drinking():
        try:
            drink.run(count)
        except (AssertionError, grpc.RpcError) as error:
            failures.append(error)

    consumer = threading.Thread(target=drinking, daemon=True)
    consumer.start()
    stored = feed.run(count // BATCH)
    consumer.join(WAIT_S)
    if failures:
        raise failures[0]
    if (stored, drink.delivered, drink.acked) != (count, count, count):
        raise AssertionError(f'{stored} stored, {drink.delivered} delivered, {drink.acked} acked')


def disk_bytes(directory):
    """What a directory takes on its disk; files may go while it looks."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
