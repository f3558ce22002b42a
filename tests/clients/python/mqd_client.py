"""A small client of mqd on generated stubs, to learn from and to test with."""
import os
import queue
import select
import shutil
import signal
import subprocess
import tempfile
import time

import grpc
from mqd.v1 import admin_pb2, admin_pb2_grpc, broker_pb2, broker_pb2_grpc, types_pb2

DEADLINE_S = 30


class Daemon:
    """The real daemon on a fresh directory and a free port."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix='mqd-python-')
        self.process = None
        self.start()

    def start(self):
        """Starts it and waits for the line that says that it serves."""
        port_file = os.path.join(self.directory, 'port')
        if os.path.exists(port_file):
            os.unlink(port_file)
        self.process = subprocess.Popen(
            [os.environ['MQD_BIN'], '--data', os.path.join(self.directory, 'data'),
             '--listen', '127.0.0.1:0', '--http-listen', 'off', '--port-file', port_file],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        log = b''
        end = time.monotonic() + DEADLINE_S
        while b'ready:' not in log:
            left = end - time.monotonic()
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, left))
            piece = os.read(self.process.stdout.fileno(), 65536) if readable else b''
            if not piece:
                raise RuntimeError('the daemon did not start: ' + log.decode(errors='replace'))
            log += piece
        with open(port_file, encoding='ascii') as file:
            self.address = '127.0.0.1:' + file.read().strip()
        self.channel = grpc.insecure_channel(
            self.address, options=[('grpc.max_receive_message_length', 32 << 20),
                                   ('grpc.max_send_message_length', 32 << 20)])
        self.broker = broker_pb2_grpc.BrokerServiceStub(self.channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self.channel)

    def kill(self):
        """As a power button would, but for the page cache."""
        self.channel.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()

    def terminate(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        self.channel.close()
        self.process.stdout.close()
        return code

    def remove(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)

    def create(self, name, **settings):
        request = admin_pb2.CreateQueueRequest(name=name)
        request.settings.CopyFrom(types_pb2.QueueSettings(**settings))
        return self.admin.CreateQueue(request, timeout=DEADLINE_S)

    def stats(self, name):
        request = admin_pb2.GetQueueStatsRequest(name=name)
        return self.admin.GetQueueStats(request, timeout=DEADLINE_S).stats

    def publish(self, name, *payloads, **fields):
        messages = [types_pb2.Message(payload=payload, **fields) for payload in payloads]
        request = broker_pb2.PublishRequest(queue=name, messages=messages)
        return self.broker.Publish(request, timeout=DEADLINE_S).results

    def receive(self, name, count=1, wait_s=10):
        request = broker_pb2.ReceiveRequest(queue=name, max_messages=count)
        request.wait.FromSeconds(wait_s)
        return flatten(self.broker.Receive(request, timeout=DEADLINE_S + wait_s).runs)

    def settle(self, name, delivery_id, publishes=(), **outcome):
        entry = broker_pb2.SettleEntry(**outcome)
        entry.range.first_delivery_id = entry.range.last_delivery_id = delivery_id
        request = broker_pb2.SettleRequest(queue=name, entries=[entry], publishes=publishes)
        return self.broker.Settle(request, timeout=DEADLINE_S)


class Stream:
    """One bidirectional stream; send() frames, next() the other side's. Pings are answered."""

    def __init__(self, method, request_type):
        self.request_type = request_type
        self.outgoing = queue.Queue()
        self.call = method(iter(self.outgoing.get, None), timeout=DEADLINE_S * 4)

    def send(self, **frame):
        self.outgoing.put(self.request_type(**frame))

    def next(self):
        """The next frame that is not a ping: its name and its content."""
        while True:
            reply = next(self.call)
            kind = reply.WhichOneof('frame')
            if kind != 'ping':
                return kind, getattr(reply, kind)
            self.send(pong=broker_pb2.Pong(nonce=reply.ping.nonce))

    def expect(self, wanted):
        kind, content = self.next()
        while kind != wanted:
            if kind not in ('credit', 'blocked'):
                raise AssertionError(f'expected {wanted}, got {kind}: {content}')
            kind, content = self.next()
        return content

    def half_close(self):
        self.outgoing.put(None)


def publish_stream(daemon, name, producer_id=b''):
    stream = Stream(daemon.broker.PublishStream, broker_pb2.PublishStreamRequest)
    stream.send(open=broker_pb2.PublishOpen(queue=name, producer_id=producer_id))
    return stream, stream.expect('opened')


def consume_stream(daemon, *names, marks_started=False):
    stream = Stream(daemon.broker.ConsumeStream, broker_pb2.ConsumeStreamRequest)
    queues = [broker_pb2.SelectQueue(queue=name) for name in names]
    stream.send(open=broker_pb2.ConsumeOpen(queues=queues, marks_started=marks_started))
    stream.expect('opened')
    return stream


def batch(first_id, *payloads, **fields):
    messages = [types_pb2.Message(payload=payload, **fields) for payload in payloads]
    return broker_pb2.PublishBatch(first_publish_id=first_id, messages=messages)


def flatten(runs):
    """(delivery id, sequence, attempt, message) of each delivery."""
    return [(run.first_delivery_id + i, run.first_sequence + i, run.delivery_attempt, message)
            for run in runs for i, message in enumerate(run.messages)]


def error_info(error):
    """The ErrorInfo of a failed call."""
    for key, value in error.trailing_metadata():
        if key == 'grpc-status-details-bin':
            info = types_pb2.ErrorInfo()
            types_pb2.RpcStatus.FromString(value).details[0].Unpack(info)
            return info
    raise AssertionError('the error has no details: %s' % error)
