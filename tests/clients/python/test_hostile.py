"""Clients that are broken or worse: each gets a clear error, and nobody else notices."""
import os
import queue
import socket
import unittest

import grpc
from mqd.v1 import admin_pb2, broker_pb2, types_pb2

import case
import mqd_client as mqd
from feed import field
from traffic import Traffic

HUGE = 2**64 - 1
BAD_NAMES = ['../etc', '..', '.', 'a/../b', 'default/../x', 'a/b/c', '/a', 'a/', '', '.hidden',
             '-x', 'x' * 129, 'with space', 'nul\0', 'line\n', 'ä', '%2e%2e', 'a\\b']


def publish_open(name):
    return field(1, field(1, name.encode()))


def consume_open(name):
    return field(1, field(1, field(1, name.encode())))


def publish_batch(*raw_messages, first=1, extra=b''):
    return field(2, field(1, first) + extra + b''.join(field(15, each) for each in raw_messages))


class HostileCase(case.BrokerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client.create_queue('victim')
        cls.client.create_queue('witness')
        cls.other = mqd.Client(cls.daemon.address)
        cls.traffic = Traffic(cls.other, 'witness')
        cls.traffic.start()

    @classmethod
    def tearDownClass(cls):
        cls.traffic.stop()
        cls.other.close()
        super().tearDownClass()

    def tearDown(self):
        super().tearDown()
        self.traffic.check_goes_on()

    def raw(self, method, *frames, until=lambda reply: False, **options):
        """Sends bytes on a stream and reads until it ends: its MqdError or the reply wanted."""
        outgoing = queue.SimpleQueue()
        for each in frames:
            outgoing.put(each)
        call = self.client.channel.stream_stream('/mqd.v1.BrokerService/' + method)(
            iter(outgoing.get, None), timeout=30, **options)
        kind = getattr(broker_pb2, method + 'Response')
        try:
            for reply in call:
                reply = kind.FromString(reply)
                if until(reply):
                    return reply
        except grpc.RpcError as error:
            return mqd.MqdError.of(error)
        finally:
            call.cancel()
            outgoing.put(None)
        raise AssertionError('the stream ended without an error')

    def check_refused(self, reason, method, *frames, resource=None):
        error = self.raw(method, *frames)
        self.check_info(error.info, reason, resource, f' {frames!r:.200} {error}')
        return error.info

    def check_entry(self, reason, raw_message, resource=None):
        """A message fails alone: the ones before and after it are stored."""
        batch = publish_batch(field(15, b'good'), raw_message, field(15, b'good'))
        answered = {}

        def take(reply):
            for part in reply.confirms.ranges:
                for i in range(part.count):
                    answered[part.first_publish_id + i] = None
            answered.update((each.publish_id, each.error) for each in reply.confirms.exceptions)
            return len(answered) == 3

        reply = self.raw('PublishStream', publish_open('victim'), batch, until=take)
        self.assertNotIsInstance(reply, mqd.MqdError, f'{raw_message!r:.100}: {reply}')
        self.assertEqual((answered[1], answered[3]), (None, None), f'{raw_message!r:.100}')
        self.check_info(answered[2], reason, resource)


class PortTest(HostileCase):
    def talk(self, data, wait=10):
        """What comes back on a bare connection until it is closed or it is quiet for a while."""
        with socket.create_connection(('127.0.0.1', int(self.daemon.address[10:])), wait) as link:
            out = b''
            try:
                link.sendall(data)
                link.shutdown(socket.SHUT_WR)
                while piece := link.recv(65536):
                    out += piece
            except OSError:  # reset by the broker: as good as closed
                pass
            return out

    def test_garbage_on_the_port_ends_its_connection(self):
        preface = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
        for data in (os.urandom(4096), b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'\0' * 100, b'',
                     preface + b'\xff' * 2000, preface + os.urandom(2000), preface[:10],
                     b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + os.urandom(500)):
            self.talk(data)
        links = [socket.create_connection(('127.0.0.1', int(self.daemon.address[10:])), 10)
                 for _ in range(100)]
        self.traffic.check_goes_on()  # while a hundred say nothing
        for link in links:
            link.close()

    def http2(self, path, body):
        """One call on a bare HTTP/2 connection, headers as literals (RFC 7541 6.2.2)."""
        def header(name, value):
            return b'\0' + bytes([len(name)]) + name + bytes([len(value)]) + value

        def frame(kind, flags, stream, content):
            return (len(content).to_bytes(3, 'big') + bytes([kind, flags]) +
                    stream.to_bytes(4, 'big') + content)
        headers = b''.join(header(*each) for each in (
            (b':method', b'POST'), (b':scheme', b'http'), (b':path', path), (b':authority', b'x'),
            (b'te', b'trailers'), (b'content-type', b'application/grpc')))
        return self.talk(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(4, 0, 0, b'') +
                         frame(1, 4, 1, headers) + frame(0, 1, 1, body))

    def test_length_prefix_that_lies_ends_the_call(self):
        opening = publish_open('victim')
        for path in (b'/mqd.v1.BrokerService/PublishStream', b'/mqd.v1.BrokerService/Publish'):
            for length in (2**32 - 1, 2**31, 20 << 20, len(opening) + 1, 0):
                reply = self.http2(path, b'\0' + length.to_bytes(4, 'big') + opening)
                self.assertTrue(reply, 'the broker says something')
        self.client.stats('victim')

    def test_message_that_inflates_is_not_taken(self):
        bomb = field(1, b'victim') + field(15, field(15, b'\0' * (200 << 20)))
        before = self.peak_bytes()
        channel = [('grpc.max_send_message_length', 256 << 20)]
        with grpc.insecure_channel(self.daemon.address, options=channel) as big:
            call = big.unary_unary('/mqd.v1.BrokerService/Publish')
            with self.assertRaises(grpc.RpcError) as caught:
                call(bomb, timeout=60, compression=grpc.Compression.Gzip)
        self.assertIn(caught.exception.code(), (grpc.StatusCode.RESOURCE_EXHAUSTED,
                                                grpc.StatusCode.UNIMPLEMENTED))
        self.assertLess(self.peak_bytes(), before + (64 << 20), 'the broker inflated all of it')

    def peak_bytes(self):
        with open(f'/proc/{self.daemon.process.pid}/status', encoding='ascii') as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith('VmHWM:'))

    def test_large_message_is_refused_and_a_larger_one_by_its_stream(self):
        info = self.check_entry('MESSAGE_TOO_LARGE', field(15, b'x' * (1 << 20) + b'y'))
        batch = publish_batch(field(15, b'x' * (17 << 20)))
        reply = self.raw('PublishStream', publish_open('victim'), batch,
                         until=lambda each: each.confirms.exceptions)
        info = reply.confirms.exceptions[0].error
        self.check_info(info, 'MESSAGE_TOO_LARGE')
        self.assertEqual((info.limit, info.current), (1 << 20, 17 << 20))
        result, = self.client.publish('victim', mqd.message(b'x' * (17 << 20)))
        self.check_error(result, 'MESSAGE_TOO_LARGE')
        too_large = publish_batch(field(15, b'x' * (20 << 20)))
        error = self.raw('PublishStream', publish_open('victim'), too_large)
        self.assertEqual(error.code, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_consumer_that_does_not_read_holds_little(self):
        name = self.queue()
        for _ in range(80):
            self.publish(name, b'x' * (1 << 20))
        outgoing = queue.SimpleQueue()
        outgoing.put(consume_open(name))
        outgoing.put(field(2, field(1, 1000) + field(2, 1 << 30)))
        call = self.client.channel.stream_stream('/mqd.v1.BrokerService/ConsumeStream')(
            iter(outgoing.get, None))
        self.eventually(lambda: self.client.stats(name).in_flight > 0, 'it is given something')
        reader = self.consumer(name)
        reader.grant(1000, 1 << 30)
        taken = reader.take(56)  # all but what 24 MiB can hold
        self.assertEqual(len({each.sequence for each in taken}), 56)
        self.traffic.check_goes_on()
        call.cancel()
        outgoing.put(None)
        rest = reader.take(80 - 56)
        self.assertEqual(reader.settle(taken + rest, mqd.ack()).settled, 80)

    def test_pings_that_nobody_reads_the_answers_of_are_bounded(self):
        outgoing = queue.SimpleQueue()
        outgoing.put(publish_open('victim'))
        for nonce in range(100_000):
            outgoing.put(field(3, field(1, nonce)))
        outgoing.put(None)
        call = self.client.channel.stream_stream('/mqd.v1.BrokerService/PublishStream')(
            iter(outgoing.get, None), timeout=60)
        self.traffic.check_goes_on()
        self.assertLess(self.daemon.resident_bytes(), 400 << 20)
        call.cancel()


class FrameTest(HostileCase):
    def test_bytes_that_are_no_frame_end_their_stream(self):
        opened = publish_open('victim')
        lies = [b'', b'\xff', b'\xff\xff\xff', b'\x12', b'\x12\x05', b'\x12\xff\xff\xff\xff\x0f',
                b'\x12' + b'\xff' * 10 + b'\x01', field(2, field(1, 1) + b'\x7a\x64abc'),
                field(1, 7), field(2, b'\x08'), field(2, field(15, b'x') + b'\x7a'),
                field(99, b'new'), field(2, field(1, 1) + field(15, b'') * 1025), opened + opened,
                publish_batch(b'') + b'\0', field(2, field(98, b'what'))]
        for frame in lies:
            for frames in ([frame], [opened, frame]):
                with self.subTest(frames):
                    self.check_refused('BAD_FIELD', 'PublishStream', *frames)
        for frame in (b'', b'\xff\xff', field(99, b''), field(3, b'\xff'), field(2, b'\x08'),
                      field(4, b'\x12\x7f'), field(7, b'\xff')):
            for frames in ([frame], [consume_open('victim'), frame]):
                with self.subTest(frames):
                    self.check_refused('BAD_FIELD', 'ConsumeStream', *frames)

    def test_first_frame_that_is_not_open_is_refused(self):
        for frame in (publish_batch(b''), field(3, b''), field(4, b''), field(5, b'')):
            self.check_refused('BAD_FIELD', 'PublishStream', frame, resource='frame')
        for number in range(2, 9):
            self.check_refused('BAD_FIELD', 'ConsumeStream', field(number, b''), resource='frame')

    def test_second_open_is_refused(self):
        self.check_refused('BAD_FIELD', 'PublishStream', *[publish_open('victim')] * 2)
        self.check_refused('BAD_FIELD', 'ConsumeStream', *[consume_open('victim')] * 2)

    def test_stream_that_ends_before_open_is_told(self):
        for method in (self.client.broker.PublishStream, self.client.broker.ConsumeStream):
            with self.assertRaises(grpc.RpcError) as caught:
                list(method(iter([]), timeout=30))
            self.check_info(mqd.MqdError.of(caught.exception).info, 'BAD_FIELD')

    def test_bad_names_are_refused_everywhere(self):
        calls = [self.client.create_queue, self.client.get_queue, self.client.peek,
                 self.client.purge, self.client.close_queue, self.client.reopen_queue,
                 self.client.delete_queue, self.client.receive, self.client.consumer,
                 self.client.publisher, lambda name: self.client.publish(name, mqd.message(b'x')),
                 lambda name: self.client.settle(name, [1], mqd.ack()),
                 lambda name: self.client.create_queue('with-dead', dead_letter_queue=name or '/')]
        for name in BAD_NAMES:
            for i, call in enumerate(calls):
                with self.subTest(name=name, call=i), self.refused('BAD_FIELD'):
                    call(name)
        for request in (admin_pb2.ListQueuesRequest(namespace='../x'),
                        admin_pb2.ListQueuesRequest(namespace='a/b')):
            with self.subTest(request), self.refused('BAD_FIELD'):
                self.client.call(self.client.admin.ListQueues, request)
        parent = os.path.dirname(self.daemon.data)
        self.assertEqual(sorted(os.listdir(parent)), ['data', 'log', 'mqd.toml', 'port'])

    def test_text_that_is_not_utf8_is_refused(self):
        bad = b'\xff\xfe'
        self.check_refused('BAD_FIELD', 'PublishStream', field(1, field(1, bad)))
        self.check_refused('BAD_FIELD', 'PublishStream',
                           field(1, field(1, b'victim') + field(3, bad)))
        self.check_refused('BAD_FIELD', 'ConsumeStream', field(1, field(1, field(1, bad))))
        self.check_entry('BAD_FIELD', field(1, bad), 'idempotency_key')
        self.check_entry('BAD_FIELD', field(7, field(1, b'k') + field(2, bad)), 'headers')
        self.check_entry('BAD_FIELD', field(7, field(1, bad) + field(2, b'v')), 'headers')
        self.check_refused('BAD_FIELD', 'ConsumeStream', consume_open('victim'),
                           field(3, field(3, field(1, b'\x08\x01\x10\x01') +
                                          field(3, field(2, bad)))))
        raw = self.client.channel.unary_unary('/mqd.v1.BrokerService/Publish')
        with self.assertRaises(grpc.RpcError) as caught:
            raw(field(1, bad) + field(15, field(15, b'x')), timeout=30)
        self.check_info(mqd.MqdError.of(caught.exception).info, 'BAD_FIELD')

    def test_message_with_unknown_or_broken_fields_fails_alone(self):
        self.check_entry('BAD_FIELD', field(99, b'new'), 'field 99')
        self.check_entry('BAD_FIELD', field(16, 1), 'field 16')
        for raw in (b'\x7a\x05ab', b'\xff', b'\x0a', field(15, b'a') * 2, field(15, 7),
                    field(7, b'\xff'), field(7, field(1, b'k')) * 2, field(3, 10), field(3, HUGE),
                    b'\x7b', b'\x00'):
            with self.subTest(raw):
                self.check_entry('BAD_FIELD', raw)

    def test_negative_and_endless_durations_are_refused(self):
        for seconds, nanos in ((-1, 0), (0, -1), (2**62, 0), (0, 2**31 - 1)):
            duration = field(1, seconds % 2**64) + field(2, nanos % 2**64)
            for number, name in ((4, 'delay'), (6, 'ttl')):
                self.check_entry('BAD_FIELD', field(number, duration), name)
            self.check_refused('BAD_FIELD', 'PublishStream', publish_open('victim'),
                               publish_batch(b'', extra=field(4, duration)))
            self.check_refused('BAD_FIELD', 'ConsumeStream', consume_open('victim'),
                               field(7, field(1, duration)))
            wrong = types_pb2.google_dot_protobuf_dot_duration__pb2.Duration(
                seconds=seconds, nanos=nanos)
            for call, request in (
                    (self.client.broker.Receive,
                     broker_pb2.ReceiveRequest(queue='victim', wait=wrong)),
                    (self.client.broker.Receive,
                     broker_pb2.ReceiveRequest(queue='victim', lease=wrong)),
                    (self.client.broker.Publish, broker_pb2.PublishRequest(
                        queue='victim', timeout=wrong, messages=[mqd.message()])),
                    (self.client.admin.CreateQueue, admin_pb2.CreateQueueRequest(
                        name='new', settings=types_pb2.QueueSettings(lease_duration=wrong))),
                    (self.client.admin.CreateQueue, admin_pb2.CreateQueueRequest(
                        name='new', settings=types_pb2.QueueSettings(dedup_window=wrong)))):
                with self.subTest(request), self.refused('BAD_FIELD'):
                    self.client.call(call, request)


class LimitTest(HostileCase):
    def test_credit_without_end_is_refused(self):
        opened = consume_open('victim')
        for messages, size in ((HUGE, 1), (1, HUGE), (HUGE, HUGE), ((1 << 20) + 1, 1),
                               (1, (1 << 30) + 1), (2**63, 2**63)):
            info = self.check_refused('CREDIT_EXCEEDED', 'ConsumeStream', opened,
                                      field(2, field(1, messages) + field(2, size)))
            self.assertTrue(info.limit and info.current)
        half = field(2, field(1, 1 << 19) + field(2, 1 << 29))
        self.check_refused('CREDIT_EXCEEDED', 'ConsumeStream', opened, half, half, half)

    def test_publish_beyond_the_window_is_refused(self):
        name = self.queue(max_messages=mqd.limit(1),
                          overflow_policy=types_pb2.OVERFLOW_POLICY_BLOCK)
        opened = self.publisher(name).opened
        batch = 1000
        frames = [publish_batch(*[b''] * batch, first=1 + at)
                  for at in range(0, opened.credit.messages + batch, batch)]
        info = self.check_refused('CREDIT_EXCEEDED', 'PublishStream', publish_open(name), *frames)
        self.assertEqual(info.current, batch)
        large = [publish_batch(field(15, b'x' * (1 << 20)), first=i) for i in range(1, 7)]
        self.check_refused('CREDIT_EXCEEDED', 'PublishStream', publish_open(name), *large)

    def test_publish_ids_that_do_not_rise_are_refused(self):
        opened, one = publish_open('victim'), publish_batch(b'')
        for frames in ([publish_batch(b'', first=0)], [one, one],
                       [publish_batch(b'', b'', first=5), publish_batch(b'', first=6)]):
            info = self.check_refused('BAD_FIELD', 'PublishStream', opened, *frames)
            self.assertIn('publish id', info.message)
        self.check_refused('BAD_FIELD', 'PublishStream', opened, publish_batch(b'', first=HUGE))

    def test_names_and_ids_of_a_client_are_bounded(self):
        name = field(1, b'victim')
        self.check_refused('BAD_FIELD', 'PublishStream', field(1, name + field(3, b'x' * 129)),
                           resource='client_name')
        for size in (1, 15, 17, 4096):
            self.check_refused('BAD_FIELD', 'PublishStream', field(1, name + field(2, b'p' * size)),
                               resource='producer_id')
        for method, opened, number in (('PublishStream', publish_open('victim'), 5),
                                       ('ConsumeStream', consume_open('victim'), 8)):
            self.check_refused('BAD_FIELD', method, opened,
                               field(number, field(1, b't' * 8193)), resource='token')

    def test_settle_of_ten_thousand_entries_is_refused_whole(self):
        name = self.queue()
        self.publish(name, b'x')
        consumer = self.consumer(name)
        consumer.grant(1)
        got = consumer.take(1)
        many = mqd.entries(got, mqd.ack()) * 10_000
        error = consumer.settle_entries(many).error
        self.check_info(error, 'BAD_FIELD', 'entries')
        self.assertEqual((error.limit, error.current), (1024, 10_000))
        with self.refused('BAD_FIELD', 'entries'):
            self.client.call(self.client.broker.Settle,
                             broker_pb2.SettleRequest(queue=name, entries=many))
        self.assertEqual(consumer.settle(got, mqd.ack()).settled, 1)

    def test_overlapping_ranges_settle_each_delivery_once(self):
        name, target = self.queue(), self.queue('-target')
        self.publish(name, *[b'x'] * 10)
        consumer = self.consumer(name)
        consumer.grant(10)
        ids = [each.delivery_id for each in consumer.take(10)]

        def entry(first, last):
            return broker_pb2.SettleEntry(ack=broker_pb2.Ack(), range=broker_pb2.DeliveryRange(
                first_delivery_id=first, last_delivery_id=last))

        overlap = [entry(ids[0], ids[5]), entry(ids[3], ids[7])]
        reply = consumer.settle_entries(overlap,
                                        publishes=[mqd.publishes(target, mqd.message(b'x'))])
        self.assertEqual(reply.settled, 0)
        self.check_info(reply.exceptions[0].error, 'BAD_FIELD')
        self.check_stats(target, published_total=0)
        reply = consumer.settle_entries(overlap)
        self.assertEqual(reply.settled, 8)
        self.check_stale(reply, *ids[3:6])
        reply = consumer.settle_entries([entry(1, HUGE)])
        self.assertEqual(reply.settled, 2, 'the widest range settles what is held')
        self.assertLessEqual(len(reply.exceptions), 1024)
        self.check_stats(name, in_flight=0, acked_total=10)

    def test_settles_of_nothing_are_answered(self):
        consumer = self.consumer('victim')
        self.assertEqual(consumer.settle_entries([]).settled, 0)
        reply = consumer.settle([1], mqd.ack(), queue_index=7)
        self.check_info(reply.error, 'BAD_FIELD', 'queue_index')
        self.check_refused('BAD_FIELD', 'ConsumeStream', consume_open('victim'),
                           field(4, field(1, 9)), resource='queue_index')

    def test_flood_of_streams_and_empty_batches_is_carried(self):
        publisher = self.publisher('victim')
        for _ in range(2000):
            publisher.send(batch=broker_pb2.PublishBatch())
        streams = [self.consumer('victim') for _ in range(200)]
        publisher.ping(1)
        streams[-1].ping(1)
        self.assertGreaterEqual(self.client.node_status().consume_streams, 200)


if __name__ == '__main__':
    unittest.main()
