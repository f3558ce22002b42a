"""Queues: create, look at, change, purge, close, delete; and what the broker says about itself."""
import unittest

import grpc
from google.protobuf import field_mask_pb2
from mqd.v1 import admin_pb2, types_pb2

import case
import mqd_client as mqd

READY = types_pb2.MESSAGE_STATUS_READY


class QueueTest(case.BrokerCase):
    def test_create_with_equal_settings_succeeds_again(self):
        first = self.client.create_queue('again', max_messages=mqd.limit(7))
        second = self.client.create_queue('default/again', max_messages=mqd.limit(7))
        self.assertEqual((first.created, second.created), (True, False))
        self.assertEqual(first.queue.name, 'default/again')
        self.assertEqual(first.queue.generation, second.queue.generation)

    def test_create_with_other_settings_fails_with_the_difference(self):
        name = self.queue(max_messages=mqd.limit(7), lease_duration=mqd.seconds(5))
        with self.refused('QUEUE_EXISTS_DIFFERENT', name) as caught:
            self.client.create_queue(name, max_messages=mqd.limit(8))
        self.assertEqual(caught.exception.code, grpc.StatusCode.ALREADY_EXISTS)
        text = caught.exception.info.message
        for part in ('max_messages', '7', '8', 'lease_duration'):
            self.assertIn(part, text)
        self.assertEqual(self.client.get_queue(name).settings.max_messages.value, 7)

    def test_every_setting_is_shown_with_its_default(self):
        shown = self.client.get_queue(self.queue()).settings
        for field in types_pb2.QueueSettings.DESCRIPTOR.fields:
            if field.message_type is not None or field.has_presence:
                self.assertTrue(shown.HasField(field.name), field.name)
            else:
                self.assertNotEqual(getattr(shown, field.name), 0, field.name)
        self.assertEqual((shown.max_messages.value, shown.max_bytes.value), (1_000_000, 1 << 30))
        self.assertEqual((shown.max_attempts, shown.lease_duration.seconds), (16, 30))
        self.assertEqual((shown.dedup_window.seconds, shown.dedup_max_entries.value),
                         (600, 1_000_000))
        self.assertTrue(shown.max_producers.unlimited and shown.max_consumers.unlimited)

    def test_kind_log_is_refused_by_name(self):
        with self.refused('BAD_FIELD', 'kind') as caught:
            self.client.create_queue('log', kind=types_pb2.QUEUE_KIND_LOG)
        self.assertIn('not supported', caught.exception.info.message)
        with self.refused('QUEUE_NOT_FOUND'):
            self.client.get_queue('log')

    def test_setting_that_needs_another_one_is_refused_by_name(self):
        wrong = {
            'max_publish_rate': dict(overflow_policy=types_pb2.OVERFLOW_POLICY_THROTTLE),
            'dead_letter_queue': dict(overflow_policy=types_pb2.OVERFLOW_POLICY_DEAD_LETTER),
            'overflow_policy': dict(overflow_policy=types_pb2.OVERFLOW_POLICY_DROP_OLDEST,
                                    max_messages=mqd.limit(0)),
        }
        for field, settings in wrong.items():
            with self.subTest(field), self.refused('BAD_FIELD', field):
                self.client.create_queue('wrong', **settings)
        with self.refused('BAD_FIELD', 'dead_letter_queue'):
            self.client.create_queue('wrong', dead_letter_queue='wrong')
        with self.refused('QUEUE_NOT_FOUND'):
            self.client.get_queue('wrong')

    def test_setting_out_of_range_is_refused_by_name(self):
        wrong = {
            'max_attempts': 0,
            'max_bytes': mqd.limit(0),
            'lease_duration': mqd.seconds(0.5),
            'dedup_window': mqd.seconds(8 * 86_400),
            'dedup_max_entries': mqd.limit(0),
            'max_producers': mqd.limit(0),
            'max_consumers': mqd.limit(0),
            'max_publish_rate': mqd.limit(0),
            'max_delivery_rate': mqd.limit(0),
            'expires_after_idle': mqd.seconds(9),
            'ageing_floor': mqd.seconds(0.05),
            'history_entries': 1_000_001,
            'retry_backoff': types_pb2.RetryBackoff(jitter=2),
            'dead_letter_queue': 'other/dead',
        }
        for field, value in wrong.items():
            with self.subTest(field), self.refused('BAD_FIELD', field):
                self.client.create_queue('wrong', **{field: value})
        for field in ('max_messages', 'max_bytes', 'dedup_max_entries'):
            with self.subTest(field), self.refused('BAD_FIELD', field):
                self.client.create_queue('wrong', **{field: types_pb2.Limit(unlimited=False)})

    def test_unlimited_is_taken_when_it_is_written_out(self):
        name = self.queue(max_messages=mqd.UNLIMITED, max_bytes=mqd.UNLIMITED)
        self.assertTrue(self.client.get_queue(name).settings.max_messages.unlimited)

    def test_update_changes_what_the_mask_names_and_nothing_else(self):
        name = self.queue(max_messages=mqd.limit(2), max_attempts=3)
        before = self.client.get_queue(name)
        self.publish(name, b'1', b'2')
        self.check_error(self.client.publish(name, mqd.message(b'3'))[0], 'QUEUE_FULL')
        request = admin_pb2.UpdateQueueRequest(
            name=name, expected_generation=before.generation,
            update_mask=field_mask_pb2.FieldMask(paths=['max_messages']),
            settings=types_pb2.QueueSettings(max_messages=mqd.limit(3), max_attempts=9))
        after = self.client.call(self.client.admin.UpdateQueue, request).queue
        self.assertEqual((after.settings.max_messages.value, after.settings.max_attempts), (3, 3))
        self.assertGreater(after.generation, before.generation)
        self.publish(name, b'3')
        with self.assertRaises(mqd.MqdError):
            self.client.call(self.client.admin.UpdateQueue, request)  # an old generation
        request.expected_generation = 0
        request.update_mask.paths[:] = ['no_such_setting']
        with self.refused('BAD_FIELD'):
            self.client.call(self.client.admin.UpdateQueue, request)
        request.update_mask.paths[:] = []
        with self.refused('BAD_FIELD', 'update_mask'):
            self.client.call(self.client.admin.UpdateQueue, request)

    def test_list_pages_hold_every_queue_once_by_name(self):
        wanted = [f'default/paged-{i}' for i in range(7)]
        for name in reversed(wanted):
            self.client.create_queue(name)
        self.client.create_queue('elsewhere/paged-8')
        names, token = [], ''
        for _ in range(10):
            reply = self.client.call(self.client.admin.ListQueues, admin_pb2.ListQueuesRequest(
                page_size=3, page_token=token, prefix='paged-'))
            names += [each.name for each in reply.queues]
            token = reply.next_page_token
            if not token:
                break
        self.assertEqual(names, wanted)
        other = self.client.call(self.client.admin.ListQueues,
                                 admin_pb2.ListQueuesRequest(namespace='elsewhere'))
        self.assertEqual([each.name for each in other.queues], ['elsewhere/paged-8'])

    def test_peek_shows_messages_and_touches_none(self):
        name = self.queue()
        sequences = self.publish(name, b'a', b'b', b'c')
        for _ in range(2):
            peeked = self.client.peek(name)
            self.assertEqual([each.message.payload for each in peeked], [b'a', b'b', b'c'])
            self.assertEqual([each.sequence for each in peeked], sequences)
            self.assertEqual({each.status for each in peeked}, {READY})
        self.assertEqual(
            [each.sequence for each in self.client.peek(name, from_sequence=sequences[1], count=1)],
            [sequences[1]])
        delivery, = self.receive(name)
        self.assertEqual((delivery.attempt, delivery.payload), (1, b'a'))
        held, = self.client.peek(name, types_pb2.MESSAGE_STATUS_IN_FLIGHT)
        self.assertEqual((held.sequence, held.delivery_id), (sequences[0], delivery.delivery_id))
        self.client.settle(name, [delivery], mqd.retry(3600, 'not today'))
        later, = self.client.peek(name, types_pb2.MESSAGE_STATUS_DELAYED)
        self.assertEqual((later.sequence, later.attempts, later.last_error),
                         (sequences[0], 1, 'not today'))
        self.assertGreater(later.deliver_at.seconds, later.publish_time.seconds + 3000)
        with self.refused('BAD_FIELD', 'limit'):
            self.client.peek(name, count=101)

    def test_purge_removes_all_but_what_is_in_flight(self):
        name = self.queue()
        self.publish(name, b'held', *[b'x'] * 9)
        held, = self.receive(name)
        self.assertEqual(self.client.purge(name), 9)
        self.check_stats(name, ready=0, in_flight=1, purged_total=9)
        self.assertEqual(self.client.settle(name, [held], mqd.ack()).settled, 1)
        self.check_stats(name, in_flight=0, backlog_bytes=0)
        self.assertEqual(self.client.purge(name), 0)

    def test_purge_forgets_idempotency_keys_only_when_asked(self):
        name = self.queue()
        keyed = mqd.message(b'k', idempotency_key='k')
        self.assertEqual(self.client.publish(name, keyed)[0].kind, 'published')
        self.client.purge(name)
        again = self.client.publish(name, keyed)[0]
        self.assertEqual((again.kind, again.status),
                         ('duplicate', types_pb2.MESSAGE_STATUS_SETTLED))
        self.client.purge(name, purge_dedup=True)
        self.assertEqual(self.client.publish(name, keyed)[0].kind, 'published')

    def test_delete_needs_force_for_a_queue_with_messages_and_ends_its_streams(self):
        name = self.queue()
        publisher, consumer = self.publisher(name), self.consumer(name)
        self.publish(name, b'a', b'b')
        with self.refused('QUEUE_NOT_EMPTY') as caught:
            self.client.delete_queue(name)
        self.assertEqual(caught.exception.info.current, 2)
        self.assertEqual(self.client.delete_queue(name, force=True), 2)
        for stream in (publisher, consumer):
            self.check_info(stream.wait_end().info, 'QUEUE_NOT_FOUND')
            self.assertIsNotNone(stream.go_away, 'the stream was told before it ended')
        with self.refused('QUEUE_NOT_FOUND', name):
            self.client.stats(name)
        self.client.create_queue(name)
        self.check_stats(name, ready=0)

    def test_close_is_one_shot_and_reopen_is_explicit(self):
        name = self.queue()
        self.publish(name, b'a')
        self.assertTrue(self.client.close_queue(name).closed)
        with self.refused('ALREADY_CLOSED', name) as caught:
            self.client.close_queue(name)
        self.assertEqual(caught.exception.code, grpc.StatusCode.FAILED_PRECONDITION)
        self.check_error(self.client.publish(name, mqd.message(b'b'))[0], 'QUEUE_CLOSED')
        self.assertFalse(self.client.reopen_queue(name).closed)
        self.publish(name, b'b')
        self.check_stats(name, ready=2, closed=False)

    def test_stats_conserve_every_message(self):
        name = self.queue(max_attempts=2, max_messages=mqd.limit(40))
        self.publish(name, *[b'12345678'] * 30)
        got = self.receive(name, 10)
        self.client.settle(name, got[:3], mqd.ack())
        self.client.settle(name, got[3:5], mqd.release())
        self.client.settle(name, got[5:7], mqd.retry(3600))
        self.client.settle(name, got[7:8], mqd.dead_letter('no'))
        stats = self.check_stats(name, ready=22, in_flight=2, delayed=2, parked=1, acked_total=3,
                                 released_total=2, retried_total=2, published_total=30)
        backlog = stats.ready + stats.in_flight + stats.delayed + stats.parked + stats.committing
        gone = stats.acked_total + stats.dropped_total + stats.purged_total + stats.expired_total
        self.assertEqual(backlog + gone, stats.published_total)
        self.assertEqual(stats.backlog_bytes, backlog * (8 + 64))
        results = self.client.publish(name, *[mqd.message(b'x')] * 14)
        self.assertEqual([each.kind for each in results], ['published'] * 13 + ['error'])
        self.assertEqual(self.client.purge(name), 38)
        self.check_stats(name, ready=0, delayed=0, parked=0, in_flight=2,
                         backlog_bytes=2 * (8 + 64), rejected_total=1, purged_total=38)

    def test_unknown_queue_is_named_by_every_call(self):
        calls = [
            lambda: self.client.publish('nowhere', mqd.message(b'x')),
            lambda: self.client.receive('nowhere'),
            lambda: self.client.settle('nowhere', [1], mqd.ack()),
            lambda: self.client.publisher('nowhere'),
            lambda: self.client.consumer('nowhere'),
            lambda: self.client.get_queue('nowhere'),
            lambda: self.client.stats('nowhere'),
            lambda: self.client.peek('nowhere'),
            lambda: self.client.purge('nowhere'),
            lambda: self.client.close_queue('nowhere'),
            lambda: self.client.delete_queue('nowhere'),
        ]
        for call in calls:
            with self.refused('QUEUE_NOT_FOUND', 'nowhere') as caught:
                call()
            self.assertEqual(caught.exception.code, grpc.StatusCode.NOT_FOUND)

    def test_error_detail_is_a_typed_any_in_the_trailer(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.client.admin.GetQueue(admin_pb2.GetQueueRequest(name='nowhere'), timeout=30)
        trailer = dict(caught.exception.trailing_metadata())
        status = types_pb2.RpcStatus.FromString(trailer['grpc-status-details-bin'])
        self.assertEqual(status.code, grpc.StatusCode.NOT_FOUND.value[0])
        detail, = status.details
        self.assertEqual(detail.type_url, 'type.googleapis.com/mqd.v1.ErrorInfo')
        info = types_pb2.ErrorInfo()
        self.assertTrue(detail.Unpack(info))
        self.assertEqual(info.reason, types_pb2.REASON_QUEUE_NOT_FOUND)
        self.assertFalse(info.retryable)
        self.assertEqual(info.message, status.message)

    def test_health_says_serving_and_knows_no_other_name(self):
        check = self.client.channel.unary_unary('/grpc.health.v1.Health/Check')
        self.assertEqual(check(b'', timeout=30), b'\x08\x01')  # status: SERVING
        with self.assertRaises(grpc.RpcError) as caught:
            check(b'\x0a\x05other', timeout=30)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_reflection_lists_the_services(self):
        info = self.client.channel.stream_stream(
            '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo')
        reply, = info(iter([b'\x3a\x01*']), timeout=30)  # list_services: "*"
        for service in (b'mqd.v1.BrokerService', b'mqd.v1.AdminService'):
            self.assertIn(service, reply)

    def test_node_status_tells_what_operators_ask(self):
        status = self.client.node_status()
        self.assertTrue(status.version and status.data_dir and status.epoch)
        self.assertGreater(status.resident_bytes, 1 << 20)
        self.assertGreater(status.disk_free_bytes, status.disk_low_watermark_bytes)
        self.assertFalse(status.disk_low or status.draining)
        self.assertEqual(status.limits.max_payload_bytes, 1 << 20)


if __name__ == '__main__':
    unittest.main()
