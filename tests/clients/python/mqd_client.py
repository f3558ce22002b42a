"""A client of mqd on the generated stubs: small enough to read, complete enough to work with.

    client = Client('127.0.0.1:6480')
    client.create_queue('orders', max_messages=limit(1000))
    with client.publisher('orders') as publisher:
        print(publisher.result(publisher.publish(message(b'first', idempotency_key='1'))))
    with client.consumer('orders') as consumer:
        consumer.grant(messages=10)
        for delivery in consumer.take(1):
            consumer.settle([delivery], ack())

Each stream has a thread that reads frames. Every wait has a deadline; an error is an MqdError, with
the broker's typed detail in `info`.
"""
import dataclasses
import queue
import threading
import typing

import grpc
from google.protobuf import duration_pb2, field_mask_pb2
from mqd.v1 import admin_pb2, admin_pb2_grpc, broker_pb2, broker_pb2_grpc, types_pb2

WAIT_S = 30
BYTES_WINDOW = 16 << 20
CHANNEL_OPTIONS = [('grpc.max_receive_message_length', 64 << 20),
                   ('grpc.max_send_message_length', 64 << 20)]
UNLIMITED = types_pb2.Limit(unlimited=True)


class MqdError(Exception):
    """A call or a stream that the broker refused: `code` is gRPC's, `info` an ErrorInfo."""

    def __init__(self, code, text, info):
        super().__init__(f'{code.name}: {text}')
        self.code = code
        self.info = info

    @property
    def reason(self):
        return reason_name(self.info)

    @classmethod
    def of(cls, error):
        """From a grpc.RpcError; the detail comes in the trailing metadata."""
        info = types_pb2.ErrorInfo()
        for key, value in error.trailing_metadata() or ():
            if key == 'grpc-status-details-bin':
                for detail in types_pb2.RpcStatus.FromString(value).details:
                    detail.Unpack(info)
        return cls(error.code(), error.details(), info)


def reason_name(info):
    """'QUEUE_FULL'"""
    return types_pb2.Reason.Name(info.reason).removeprefix('REASON_')


def limit(value):
    return types_pb2.Limit(value=value)


def seconds(count):
    out = duration_pb2.Duration()
    out.FromMicroseconds(round(count * 1_000_000))
    return out


def message(payload=b'', **fields):
    return types_pb2.Message(payload=payload, **fields)


def charge(item, overhead):
    """What a message takes of credit in bytes and of a queue's max_bytes."""
    headers = sum(len(k.encode()) + len(v.encode()) for k, v in item.headers.items())
    keys = len(item.idempotency_key.encode()) + len(item.ordering_key.encode())
    return len(item.payload) + headers + keys + overhead


# What becomes of a delivery: pass one of these to settle().
def ack():
    return {'ack': broker_pb2.Ack()}


def retry(delay=None, error=''):
    """Charged; again after `delay` seconds, or after the queue's backoff."""
    duration = None if delay is None else seconds(delay)
    return {'retry': broker_pb2.Retry(delay=duration, error=error)}


def release():
    """Not charged; ready again at once."""
    return {'release': broker_pb2.Release()}


def dead_letter(reason=''):
    return {'dead_letter': broker_pb2.DeadLetter(reason=reason)}


def extend(lease=None):
    return {'extend': broker_pb2.Extend(lease=None if lease is None else seconds(lease))}


def entries(deliveries, outcome):
    """SettleEntry messages for deliveries or delivery ids; neighbours become one range."""
    ids = sorted(getattr(each, 'delivery_id', each) for each in deliveries)
    out = []
    for each in ids:
        if out and out[-1].range.last_delivery_id == each - 1:
            out[-1].range.last_delivery_id = each
        else:
            out.append(broker_pb2.SettleEntry(
                range=broker_pb2.DeliveryRange(first_delivery_id=each, last_delivery_id=each),
                **outcome))
    return out


def publishes(queue_name, *messages):
    """For settle(): messages that are stored together with the settle or not at all."""
    return broker_pb2.TransactionalPublish(queue=queue_name, messages=messages)


class Result(typing.NamedTuple):
    """What became of one message. kind: published, duplicate, dropped or error."""
    kind: str
    sequence: int = 0
    status: int = 0
    error: typing.Any = None
    policy: int = 0

    @classmethod
    def of(cls, reply):
        """From a PublishResult or a PublishException."""
        kind = reply.WhichOneof('result')
        content = getattr(reply, kind)
        if kind == 'error':
            return cls(kind, error=content)
        if kind == 'dropped':
            return cls(kind, policy=content.policy)
        return cls(kind, content.sequence, getattr(content, 'status', 0))


@dataclasses.dataclass
class Delivery:
    """One message, leased to this consumer."""
    delivery_id: int
    sequence: int
    attempt: int
    message: types_pb2.Message
    queue_index: int = 0
    lease_s: float = 0
    dead_letter: typing.Any = None
    fence: int = 0

    @property
    def payload(self):
        return self.message.payload


def unpack(runs, queue_index=0):
    """The deliveries of some runs: ids and sequences of a run are consecutive."""
    out = []
    for run in runs:
        origin = run.dead_letter if run.HasField('dead_letter') else None
        lease = run.lease.ToMicroseconds() / 1e6
        for i, each in enumerate(run.messages):
            out.append(Delivery(run.first_delivery_id + i, run.first_sequence + i,
                                run.delivery_attempt, each, queue_index, lease, origin, run.fence))
    return out


class Client:
    """One connection: the unary calls, and the streams that share it."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.broker = broker_pb2_grpc.BrokerServiceStub(self.channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def call(self, method, request, timeout=WAIT_S):
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise MqdError.of(error) from None

    def publisher(self, queue_name, **options):
        return Publisher(self, queue_name, **options)

    def consumer(self, *queues, **options):
        return Consumer(self, queues, **options)

    # ---- the unary twins of the streams

    def publish(self, queue_name, *messages, timeout=None, confirm_level=0):
        """Results, in the order of the messages. timeout: how long to wait for room."""
        request = broker_pb2.PublishRequest(
            queue=queue_name, messages=messages, confirm_level=confirm_level,
            timeout=None if timeout is None else seconds(timeout))
        reply = self.call(self.broker.Publish, request)
        return [Result.of(each) for each in reply.results]

    def receive(self, queue_name, max_messages=1, wait=0, **fields):
        """(deliveries, end_of_queue)"""
        request = broker_pb2.ReceiveRequest(queue=queue_name, max_messages=max_messages,
                                            wait=seconds(wait), **fields)
        reply = self.call(self.broker.Receive, request, WAIT_S + wait)
        return unpack(reply.runs), reply.end_of_queue

    def settle(self, queue_name, deliveries, outcome, publishes=()):
        request = broker_pb2.SettleRequest(
            queue=queue_name, entries=entries(deliveries, outcome), publishes=publishes)
        return self.call(self.broker.Settle, request)

    # ---- administration

    def ask(self, method, **fields):
        """Any call of AdminService by its name, with the fields of its request."""
        request = getattr(admin_pb2, method + 'Request')(**fields)
        return self.call(getattr(self.admin, method), request)

    def update_queue(self, name, **settings):
        """Changes these settings and no others."""
        return self.ask('UpdateQueue', name=name, settings=types_pb2.QueueSettings(**settings),
                        update_mask=field_mask_pb2.FieldMask(paths=settings)).queue

    def create_queue(self, name, **settings):
        return self.ask('CreateQueue', name=name, settings=types_pb2.QueueSettings(**settings))

    def get_queue(self, name):
        return self.ask('GetQueue', name=name).queue

    def stats(self, name):
        return self.ask('GetQueueStats', name=name).stats

    def peek(self, name, status=0, from_sequence=0, count=0):
        return list(self.ask('PeekMessages', queue=name, status=status,
                             from_sequence=from_sequence, limit=count).messages)

    def purge(self, name, purge_dedup=False):
        return self.ask('PurgeQueue', name=name, purge_dedup=purge_dedup).purged_messages

    def close_queue(self, name):
        return self.ask('CloseQueue', name=name).queue

    def reopen_queue(self, name):
        return self.ask('ReopenQueue', name=name).queue

    def delete_queue(self, name, force=False):
        return self.ask('DeleteQueue', name=name, force=force).deleted_messages

    def node_status(self):
        return self.ask('GetNodeStatus')


class Stream:
    """Frames both ways. Subclasses take what comes in on_frame(), under `changed`."""

    def __init__(self, method, request_type):
        self.changed = threading.Condition()
        self.opened = None
        self.go_away = None
        self.ended = False   # by the broker, with `error` unless all was well
        self.error = None
        self.pongs = set()
        self._request_type = request_type
        self._outgoing = queue.SimpleQueue()
        self._call = method(iter(self._outgoing.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)

    def open(self, frame):
        """Says hello and waits for the answer."""
        self.send(open=frame)
        self._reader.start()
        try:
            self.wait_until(lambda: self.opened is not None, 'the handshake')
        except BaseException:
            self.cancel()
            raise

    def send(self, **frame):
        self._outgoing.put(self._request_type(**frame))

    def _read(self):
        try:
            for reply in self._call:
                kind = reply.WhichOneof('frame')
                content = getattr(reply, kind)
                if kind == 'ping':
                    self.send(pong=broker_pb2.Pong(nonce=content.nonce))
                    continue
                with self.changed:
                    self._on_common(kind, content)
                    self.changed.notify_all()
        except grpc.RpcError as error:
            self.error = MqdError.of(error)
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self._outgoing.put(None)

    def _on_common(self, kind, content):
        if kind == 'opened':
            self.opened = content
        elif kind == 'pong':
            self.pongs.add(content.nonce)
        elif kind == 'go_away':
            self.go_away = content
        self.on_frame(kind, content)

    def on_frame(self, kind, content):
        raise NotImplementedError

    def wait_until(self, predicate, what, timeout=WAIT_S):
        """Waits for a frame that makes `predicate` true; raises when the stream ends before."""
        with self.changed:
            met = self.changed.wait_for(lambda: predicate() or self.ended, timeout)
            if predicate():
                return
            if self.error is not None:
                raise self.error
        raise TimeoutError(f'{what}: ' + ('the stream ended' if met else f'not in {timeout} s'))

    def wait_end(self, timeout=WAIT_S):
        """Waits until the broker has ended the stream; its MqdError, or None."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, timeout):
                raise TimeoutError(f'the stream did not end in {timeout} s')
        return self.error

    def ping(self, nonce):
        self.send(ping=broker_pb2.Ping(nonce=nonce))
        self.wait_until(lambda: nonce in self.pongs, 'a pong')

    def half_close(self):
        """Nothing more is sent; what is under way is still answered."""
        self._outgoing.put(None)

    def cancel(self):
        """Ends the stream as the death of this process would."""
        self._call.cancel()
        self._outgoing.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cancel()
        self._reader.join(WAIT_S)


class Publisher(Stream):
    """Publishes to one queue within the credit that the broker grants."""

    def __init__(self, client, queue_name, next_id=1, **fields):
        """fields: of PublishOpen."""
        super().__init__(client.broker.PublishStream, broker_pb2.PublishStreamRequest)
        self.next_id = next_id
        self.credit_messages = 0
        self.credit_bytes = 0
        self.results = {}
        self.blocked = []  # Blocked frames, as they came
        self._answered_through = next_id - 1
        self.open(broker_pb2.PublishOpen(queue=queue_name, **fields))

    def publish(self, *messages, timeout=None, confirm_level=0):
        """Sends one batch when there is credit for it; the publish id of its first message."""
        overhead = self.opened.limits.message_overhead_bytes
        sizes = [charge(each, overhead) for each in messages]
        self.wait_until(lambda: self.credit_messages >= len(sizes) and
                        self.credit_bytes > sum(sizes[:-1]), 'publish credit')
        with self.changed:
            self.credit_messages -= len(sizes)
            self.credit_bytes -= sum(sizes)
            first, self.next_id = self.next_id, self.next_id + len(sizes)
            while self._answered_through + 1 in self.results:
                self._answered_through += 1
            answered = self._answered_through
        self.send(batch=broker_pb2.PublishBatch(
            first_publish_id=first, answered_through=answered, messages=messages,
            confirm_level=confirm_level, timeout=None if timeout is None else seconds(timeout)))
        return first

    def result(self, publish_id, timeout=WAIT_S):
        self.wait_until(lambda: publish_id in self.results, f'a result of {publish_id}', timeout)
        return self.results[publish_id]

    def publish_all(self, *messages, **options):
        """Publishes a batch and waits: a Result for each message."""
        first = self.publish(*messages, **options)
        return [self.result(first + i) for i in range(len(messages))]

    def on_frame(self, kind, content):
        if kind == 'opened':
            content, kind = content.credit, 'credit'
        if kind == 'credit':
            self.credit_messages += content.messages
            self.credit_bytes += content.bytes
        elif kind == 'confirms':
            for part in content.ranges:
                for i in range(part.count):
                    self._add(part.first_publish_id + i,
                              Result('published', part.first_sequence + i))
            for each in content.exceptions:
                self._add(each.publish_id, Result.of(each))
        elif kind == 'blocked':
            self.blocked.append(content)

    def _add(self, publish_id, result):
        if publish_id in self.results:
            raise AssertionError(f'publish id {publish_id} was answered twice')
        self.results[publish_id] = result


class Consumer(Stream):
    """Takes deliveries of one or more queues within the credit that this side grants."""

    def __init__(self, client, queues, **fields):
        """queues: names, or (name, weight), or (name, weight, priority). fields: of ConsumeOpen."""
        super().__init__(client.broker.ConsumeStream, broker_pb2.ConsumeStreamRequest)
        self.inbox = []
        self.frames = []        # Deliveries frames, as they came
        self.lease_lost = []
        self.recalls = []       # Recall frames: release what of them is not begun
        self.ended_queues = []  # the queue index of each end_of_queue
        self.drained = None
        self._credit_bytes = 0
        self._settled = {}
        self._settle_id = 0
        parts = [(each,) if isinstance(each, str) else each for each in queues]
        self.open(broker_pb2.ConsumeOpen(queues=[
            broker_pb2.SelectQueue(**dict(zip(('queue', 'weight', 'priority'), part)))
            for part in parts], **fields))

    def grant(self, messages, size=None):
        """Lets the broker send so many more messages, of so many more bytes. Not given: as many
        as bring the balance to BYTES_WINDOW."""
        with self.changed:
            if size is None:
                size = max(0, BYTES_WINDOW - self._credit_bytes)
            self._credit_bytes += size
        self.send(credit=broker_pb2.Credit(messages=messages, bytes=size))

    def take(self, count, timeout=WAIT_S):
        """Waits for `count` deliveries and removes them from the inbox."""
        self.wait_until(lambda: len(self.inbox) >= count, f'{count} deliveries', timeout)
        with self.changed:
            out, self.inbox = self.inbox[:count], self.inbox[count:]
        return out

    def settle(self, deliveries, outcome, queue_index=0, publishes=()):
        return self.settle_entries(entries(deliveries, outcome), queue_index, publishes)

    def settle_entries(self, batch, queue_index=0, publishes=()):
        """Sends one settle and waits for its SettleResults."""
        self._settle_id += 1
        mine = self._settle_id
        self.send(settle=broker_pb2.SettleBatch(
            settle_id=mine, queue_index=queue_index, entries=batch, publishes=publishes))
        self.wait_until(lambda: mine in self._settled, 'the results of a settle')
        return self._settled[mine]

    def started(self, *deliveries):
        """Says that work on these has begun (for marks_started)."""
        ranges = [each.range for each in entries(deliveries, ack())]
        self.send(started=broker_pb2.Started(ranges=ranges))

    def drain(self, deadline=None):
        """Asks for nothing new; `drained` is set once the broker has answered."""
        duration = None if deadline is None else seconds(deadline)
        self.send(drain=broker_pb2.Drain(deadline=duration))

    def on_frame(self, kind, content):
        if kind == 'deliveries':
            self.frames.append(content)
            self._credit_bytes -= content.charged_bytes
            self.inbox += unpack(content.runs, content.queue_index)
        elif kind == 'settled':
            self._settled[content.settle_id] = content
        elif kind == 'lease_lost':
            self.lease_lost.append(content)
        elif kind == 'recall':
            self.recalls.append(content)
        elif kind == 'end_of_queue':
            self.ended_queues.append(content.queue_index)
        elif kind == 'drained':
            self.drained = content
