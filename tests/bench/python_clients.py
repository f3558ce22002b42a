#!/usr/bin/env python3
"""Publishes through the Python client of one system, with calls that wait for their result, and
prints one JSON object: calls and messages a second, and how long a call takes.

With --batch 100 a call is what that client has for many at once: one Publish of mqd, a pipeline of
redis; pika waits for the confirm of each message.
"""
import argparse
import json
import os
import sys
import time

QUEUE = f'python-{os.getpid()}'
SIZE = 100


def mqd(options):
    sys.path.insert(0, options.protos)
    import grpc
    from mqd.v1 import admin_pb2, admin_pb2_grpc, broker_pb2, broker_pb2_grpc, types_pb2
    channel = grpc.insecure_channel(options.addr)
    admin = admin_pb2_grpc.AdminServiceStub(channel)
    broker = broker_pb2_grpc.BrokerServiceStub(channel)
    settings = types_pb2.QueueSettings()
    settings.max_messages.value = 100_000_000
    settings.max_bytes.value = 1 << 40
    admin.CreateQueue(admin_pb2.CreateQueueRequest(name=QUEUE, settings=settings))
    message = types_pb2.Message(payload=os.urandom(SIZE))
    request = broker_pb2.PublishRequest(queue=QUEUE, messages=[message] * options.batch)

    def call():
        results = broker.Publish(request).results
        return sum(result.HasField('published') for result in results)

    def end():
        admin.DeleteQueue(admin_pb2.DeleteQueueRequest(name=QUEUE, force=True))

    return call, end


def redis(options):
    import redis as client
    host, port = options.addr.split(':')
    connection = client.Redis(host=host, port=int(port))
    payload = os.urandom(SIZE)

    def call():
        if options.batch == 1:
            return 1 if connection.xadd(QUEUE, {'m': payload}) else 0
        pipeline = connection.pipeline(transaction=False)
        for _ in range(options.batch):
            pipeline.xadd(QUEUE, {'m': payload})
        return sum(bool(one) for one in pipeline.execute())

    return call, lambda: connection.unlink(QUEUE)


def rabbitmq(options):
    import pika
    host, port = options.addr.split(':')
    connection = pika.BlockingConnection(pika.ConnectionParameters(host=host, port=int(port)))
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, arguments={'x-queue-type': options.kind})
    channel.confirm_delivery()
    payload = os.urandom(SIZE)
    properties = pika.BasicProperties(delivery_mode=2)

    def call():
        for _ in range(options.batch):  # raises when it is refused
            channel.basic_publish('', QUEUE, payload, properties)
        return options.batch

    def end():
        channel.queue_delete(QUEUE)
        connection.close()

    return call, end


def measure(call, seconds):
    call()  # connects
    latencies = []
    messages = 0
    begin = now = time.perf_counter()
    while now < begin + seconds:
        before = now
        messages += call()
        now = time.perf_counter()
        latencies.append((now - before) * 1e6)
    latencies.sort()
    return {'messages_per_second': messages / (now - begin),
            'calls_per_second': len(latencies) / (now - begin),
            'call_p50_us': latencies[len(latencies) // 2],
            'call_p99_us': latencies[len(latencies) * 99 // 100],
            'messages': messages, 'expected': len(latencies)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--system', choices=('mqd', 'redis', 'rabbitmq'), required=True)
    parser.add_argument('--addr', required=True, help='HOST:PORT')
    parser.add_argument('--kind', default='', help='of queue: quorum or classic')
    parser.add_argument('--batch', type=int, default=1, help='messages of a call')
    parser.add_argument('--seconds', type=float, default=2)
    parser.add_argument('--protos', default='.', help='where the generated stubs are')
    options = parser.parse_args()
    call, end = {'mqd': mqd, 'redis': redis, 'rabbitmq': rabbitmq}[options.system](options)
    result = measure(call, options.seconds)
    end()
    expected = result.pop('expected') * options.batch
    stored = result.pop('messages')
    if stored != expected:
        sys.exit(f'{expected - stored} messages were not stored')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
