"""What operators do: who may attach, pausing, changing, looking, explaining, moving, quotas."""
import unittest

from mqd.v1 import admin_pb2, broker_pb2, types_pb2

import case
import mqd_client as mqd

READY = types_pb2.MESSAGE_STATUS_READY
SETTLED = types_pb2.MESSAGE_STATUS_SETTLED
KEYED = types_pb2.ORDERING_KEYED


class AttachTest(case.BrokerCase):
    def check_fenced(self, stream):
        self.check_info(stream.wait_end().info, 'FENCED')
        self.assertEqual(stream.go_away.code, broker_pb2.GO_AWAY_CODE_FENCED)

    def test_producer_above_the_limit_is_refused_with_the_holders_name(self):
        name = self.queue(max_producers=mqd.limit(1))
        holder = self.publisher(name, client_name='first producer')
        with self.refused('CARDINALITY') as caught:
            self.publisher(name)
        self.assertIn('first producer', caught.exception.info.message)
        with self.refused('CARDINALITY'):
            self.client.publish(name, mqd.message(b'a call counts too'))
        self.assertEqual(holder.publish_all(mqd.message(b'x'))[0].kind, 'published')

    def test_consumer_above_the_limit_is_refused_with_the_holders_name(self):
        name = self.queue(max_consumers=mqd.limit(1))
        self.consumer(name, client_name='first consumer')
        with self.refused('CARDINALITY') as caught:
            self.consumer(name)
        self.assertIn('first consumer', caught.exception.info.message)

    def test_producer_that_takes_over_fences_the_holder(self):
        name = self.queue(max_producers=mqd.limit(1))
        holder = self.publisher(name)
        heir = self.publisher(name, take_over=True)
        self.check_fenced(holder)
        self.assertEqual(heir.publish_all(mqd.message(b'x'))[0].kind, 'published')

    def test_consumer_that_takes_over_gets_what_the_holder_had_and_a_higher_fence(self):
        name = self.queue(max_consumers=mqd.limit(1))
        self.publish(name, b'x')
        holder = self.consumer(name)
        holder.grant(1)
        before, = holder.take(1)
        heir = self.consumer(name, take_over=True)
        self.check_fenced(holder)
        heir.grant(1)
        after, = heir.take(1)
        self.assertEqual((after.sequence, after.attempt), (before.sequence, 2))
        self.assertGreater(after.fence, before.fence)
        self.check_stale(self.client.settle(name, [before], mqd.ack()), before.delivery_id)

    def test_single_active_hands_over_when_the_active_one_goes(self):
        name = self.queue(single_active=True)
        self.publish(name, b'1', b'2')
        active, standby = self.consumer(name), self.consumer(name)
        standby.grant(10)
        standby.ping(1)
        self.assertEqual(standby.inbox, [])
        active.grant(1)
        before, = active.take(1)
        active.cancel()
        got = standby.take(2)
        self.assertEqual(sorted((each.payload, each.attempt) for each in got),
                         [(b'1', 2), (b'2', 1)])
        self.assertGreater(min(each.fence for each in got), before.fence)

    def test_list_of_clients_shows_who_publishes_and_who_consumes(self):
        name = self.queue(single_active=True)
        publisher = self.publisher(name, client_name='pub')
        active = self.consumer(name, client_name='active')
        self.consumer(name, client_name='standby')
        self.publish(name, *[b'x'] * 5)
        active.grant(5)
        active.settle(active.take(5)[:2], mqd.ack())
        reply = self.client.ask('ListClients', queue=name)
        self.assertEqual([(each.publisher_id, each.client_name) for each in reply.publishers],
                         [(publisher.opened.session_id, 'pub')])
        consumers = {each.client_name: each for each in reply.consumers}
        self.assertEqual([consumers[each].standby for each in ('active', 'standby')],
                         [False, True])
        one = consumers['active']
        self.assertEqual((one.in_flight, one.delivered_total, one.acked_total), (3, 5, 2))


class ChangeTest(case.BrokerCase):
    def test_paused_publish_is_refused_until_it_is_resumed(self):
        name = self.queue()
        self.client.update_queue(name, paused=types_pb2.PAUSED_PUBLISH)
        error = self.check_error(self.client.publish(name, mqd.message(b'x'))[0], 'QUEUE_PAUSED')
        self.assertTrue(error.retryable)
        self.client.update_queue(name, paused=types_pb2.PAUSED_NONE)
        self.publish(name, b'x')

    def test_paused_consume_delivers_nothing_and_settles_what_is_in_flight(self):
        name = self.queue()
        self.publish(name, b'1', b'2')
        consumer = self.consumer(name)
        consumer.grant(1)
        got = consumer.take(1)
        self.client.update_queue(name, paused=types_pb2.PAUSED_CONSUME)
        consumer.grant(1)
        self.assertEqual(consumer.settle(got, mqd.ack()).settled, 1)
        self.assertEqual(consumer.inbox, [])
        self.client.update_queue(name, paused=types_pb2.PAUSED_NONE)
        self.assertEqual([each.payload for each in consumer.take(1)], [b'2'])

    def test_bound_below_the_load_drops_nothing_and_takes_nothing_more(self):
        name = self.queue()
        self.publish(name, *[b'x'] * 5)
        self.client.update_queue(name, max_messages=mqd.limit(2))
        self.check_error(self.client.publish(name, mqd.message(b'x'))[0], 'QUEUE_FULL')
        self.check_stats(name, ready=5)
        self.client.settle(name, self.receive(name, 4), mqd.ack())
        self.publish(name, b'there is room again')

    def test_room_that_an_update_makes_lets_blocked_publishers_in(self):
        name = self.queue(max_messages=mqd.limit(1),
                          overflow_policy=types_pb2.OVERFLOW_POLICY_BLOCK)
        publisher = self.publisher(name)
        first = publisher.publish(*[mqd.message(b'x')] * 2)
        publisher.wait_until(lambda: publisher.blocked, 'a Blocked frame')
        self.client.update_queue(name, max_messages=mqd.limit(2))
        self.assertEqual(publisher.result(first + 1).kind, 'published')

    def test_default_ttl_that_is_set_later_applies_to_the_backlog(self):
        name = self.queue()
        self.publish(name, b'x')
        self.client.update_queue(name, default_ttl=mqd.seconds(0.1))
        self.eventually(lambda: self.client.stats(name).expired_total == 1, 'the ttl passes')

    def test_every_setting_but_kind_can_be_changed(self):
        name = self.queue(dead_letter_queue='somewhere')
        for field, value in {
                'overflow_policy': types_pb2.OVERFLOW_POLICY_DROP_OLDEST,
                'durability': types_pb2.DURABILITY_MEMORY,
                'delivery': types_pb2.DELIVERY_MODE_AT_MOST_ONCE,
                'ordering': KEYED, 'dispatch_policy': types_pb2.DISPATCH_POLICY_RANDOM,
                'single_active': True, 'max_attempts': 3, 'max_producers': mqd.limit(3),
                'max_delivery_rate': mqd.limit(1000), 'history_entries': 10,
                'dead_letter_queue': 'default/elsewhere'}.items():
            with self.subTest(field):
                settings = self.client.update_queue(name, **{field: value}).settings
                self.assertEqual(getattr(settings, field), value)
        with self.refused('BAD_FIELD', 'kind'):
            self.client.update_queue(name, kind=types_pb2.QUEUE_KIND_LOG)

    def test_durability_leaves_memory_only_while_the_queue_is_empty(self):
        name = self.queue(durability=types_pb2.DURABILITY_MEMORY)
        self.publish(name, b'x')
        with self.assertRaises(mqd.MqdError):
            self.client.update_queue(name, durability=types_pb2.DURABILITY_SYNC)
        self.client.purge(name)
        self.client.update_queue(name, durability=types_pb2.DURABILITY_SYNC)


class LookTest(case.BrokerCase):
    def find(self, name, **by):
        return self.client.ask('FindMessage', queue=name, **by).message

    def test_message_is_found_by_sequence_and_by_key_and_after_it_is_gone(self):
        name = self.queue()
        sent = mqd.message(b'x', idempotency_key='k')
        sequence = self.client.publish(name, sent)[0].sequence
        for by in (dict(sequence=sequence), dict(idempotency_key='k')):
            found = self.find(name, **by)
            self.assertEqual((found.sequence, found.status, found.message),
                             (sequence, READY, sent))
        self.client.settle(name, self.receive(name), mqd.ack())
        gone = self.find(name, idempotency_key='k')
        self.assertEqual((gone.sequence, gone.status, gone.message.payload),
                         (sequence, SETTLED, b''))
        for by in (dict(sequence=99), dict(idempotency_key='other')):
            with self.refused('MESSAGE_NOT_FOUND'):
                self.find(name, **by)

    def test_key_is_shown_and_forgotten(self):
        name = self.queue(dedup_window=mqd.seconds(60))
        sent = mqd.message(b'x', idempotency_key='k')
        sequence = self.client.publish(name, sent)[0].sequence
        entry = self.client.ask('GetDedupEntry', queue=name, idempotency_key='k')
        self.assertEqual((entry.sequence, entry.status), (sequence, READY))
        self.assertAlmostEqual(entry.expires.seconds - entry.first_seen.seconds, 60, delta=1)
        self.client.ask('ForgetDedupEntry', queue=name, idempotency_key='k')
        for method in ('GetDedupEntry', 'ForgetDedupEntry'):
            with self.subTest(method), self.refused('MESSAGE_NOT_FOUND'):
                self.client.ask(method, queue=name, idempotency_key='k')
        self.assertEqual(self.client.publish(name, sent)[0].kind, 'published')

    def test_history_tells_what_happened_to_a_message(self):
        name = self.queue(history_entries=100)
        sequence, _ = self.publish(name, b'1', b'2')
        for outcome in (mqd.retry(0, 'no'), mqd.ack()):
            with self.client.consumer(name, client_name='worker') as worker:
                worker.grant(1)
                got = worker.take(1)
                self.assertEqual(got[0].sequence, sequence)
                worker.settle(got, outcome)
        reply = self.client.ask('GetHistory', queue=name, sequence=sequence)
        names = [admin_pb2.Transition.Name(each.transition).removeprefix('TRANSITION_')
                 for each in reply.entries]
        self.assertEqual(names, ['PUBLISHED', 'DELIVERED', 'RETRIED', 'DELIVERED', 'ACKED'])
        self.assertEqual({each.client_name for each in reply.entries[1:]}, {'worker'})
        latest = self.client.ask('GetHistory', queue=name, limit=1).entries
        self.assertEqual(latest[0].transition, admin_pb2.TRANSITION_ACKED)

    def test_history_is_empty_unless_it_is_asked_for(self):
        name = self.queue()
        self.publish(name, b'x')
        self.assertEqual(list(self.client.ask('GetHistory', queue=name).entries), [])


class ExplainTest(case.BrokerCase):
    def cause(self, name, **subject):
        """The first explanation and the name of its cause."""
        first = self.client.ask('Explain', queue=name, **subject).explanations[0]
        self.assertTrue(first.text)
        return first, admin_pb2.Cause.Name(first.cause).removeprefix('CAUSE_')

    def check_cause(self, wanted, name, **subject):
        first, cause = self.cause(name, **subject)
        self.assertEqual(cause, wanted, first)
        return first

    def test_queue_says_what_it_waits_for(self):
        name = self.queue()
        self.check_cause('EMPTY', name)
        self.publish(name, b'x')
        self.check_cause('NO_CONSUMERS', name)
        self.consumer(name)
        self.check_cause('NO_CREDIT', name)
        self.client.update_queue(name, paused=types_pb2.PAUSED_CONSUME)
        self.check_cause('CONSUME_PAUSED', name)

    def test_consumer_says_what_it_waits_for(self):
        name = self.queue()
        consumer = self.consumer(name, client_name='worker')
        self.publish(name, b'x' * 1000, b'y')
        listed, = self.client.ask('ListClients', queue=name).consumers
        self.check_cause('NO_CREDIT', name, consumer_id=listed.consumer_id)
        consumer.grant(10, 1)
        consumer.take(1)
        self.check_cause('CREDIT_BYTES_SPENT', name, consumer_name='worker')

    def test_publisher_says_what_it_waits_for(self):
        name = self.queue(max_messages=mqd.limit(1),
                          overflow_policy=types_pb2.OVERFLOW_POLICY_BLOCK)
        publisher = self.publisher(name, client_name='pub')
        self.check_cause('IDLE', name, publisher_name='pub')
        publisher.publish(*[mqd.message(b'x')] * 2)
        publisher.wait_until(lambda: publisher.blocked, 'a Blocked frame')
        first = self.check_cause('QUEUE_FULL', name, publisher_id=publisher.opened.session_id)
        self.assertEqual((first.limit, first.current), (1, 1))

    def test_key_names_the_delivery_and_the_consumer_that_hold_it(self):
        name = self.queue(ordering=KEYED)
        self.client.publish(name, *[mqd.message(b'x', ordering_key='k')] * 2)
        consumer = self.consumer(name, client_name='holder')
        consumer.grant(5)
        held, = consumer.take(1)
        first = self.check_cause('KEY_HELD', name, ordering_key='k')
        self.assertEqual(first.delivery_id, held.delivery_id)
        self.assertIn('holder', first.resource)
        consumer.settle([held], mqd.retry(3600))
        self.check_cause('KEY_WAITS_FOR_RETRY', name, ordering_key='k')

    def test_message_says_where_it_stands(self):
        name = self.queue()
        held, ready = self.publish(name, b'held', b'ready')
        after = types_pb2.MessageRef(queue=name, sequence=held)
        delayed, waits = self.client.publish(name, mqd.message(b'x', delay=mqd.seconds(3600)),
                                             mqd.message(b'x', deliver_after=[after]))
        delivery, = self.receive(name)
        self.check_cause('IN_FLIGHT', name, sequence=held)
        self.check_cause('NO_CONSUMERS', name, sequence=ready)
        self.check_cause('DELAYED', name, sequence=delayed.sequence)
        first = self.check_cause('WAITS_FOR_MESSAGE', name, sequence=waits.sequence)
        self.assertIn(str(held), first.resource)
        self.client.settle(name, [delivery], mqd.dead_letter('no'))
        self.check_cause('PARKED', name, sequence=held)
        self.client.ask('CancelMessages', queue=name, sequences=[held])
        self.check_cause('SETTLED', name, sequence=held)


class DeadLetterTest(case.BrokerCase):
    def dead_letters(self, count, **dead_settings):
        """(queue, its dead-letter queue), which holds the messages b'0', b'1', .."""
        dead = self.queue('-dead', **dead_settings)
        name = self.queue(dead_letter_queue=dead)
        self.publish(name, *[b'%d' % i for i in range(count)])
        self.client.settle(name, self.receive(name, count), mqd.dead_letter('not today'))
        self.eventually(lambda: self.client.stats(dead).ready == count, 'they are moved')
        return name, dead

    def redrive(self, dead, **fields):
        return self.client.ask('StartRedrive', queue=dead, **fields).redrive

    def redrive_state(self, task):
        return self.client.ask('GetRedrive', task_id=task.task_id).redrive

    def wait_done(self, task):
        self.eventually(
            lambda: self.redrive_state(task).state == admin_pb2.REDRIVE_STATE_DONE, 'the end')
        return self.redrive_state(task)

    def test_dead_letter_tells_its_origin_and_its_latest_attempts(self):
        dead = self.queue('-dead')
        name = self.queue(dead_letter_queue=dead, max_attempts=5)
        sequence, = self.publish(name, b'x')
        for i in range(5):
            with self.client.consumer(name, client_name=f'worker {i}') as worker:
                worker.grant(1)
                worker.settle(worker.take(1), mqd.retry(0, f'error {i}'))
        origin = self.receive(dead)[0].dead_letter
        self.assertEqual((origin.queue, origin.sequence, origin.attempts),
                         (f'default/{name}', sequence, 5))
        self.assertEqual([(each.attempt, each.consumer, each.error) for each in origin.notes],
                         [(i + 1, f'worker {i}', f'error {i}') for i in range(1, 5)])

    def test_full_dead_letter_queue_keeps_the_message_parked_and_says_so(self):
        dead = self.queue('-dead', max_messages=mqd.limit(1))
        self.publish(dead, b'in the way')
        name = self.queue(dead_letter_queue=dead)
        self.publish(name, b'x')
        self.client.settle(name, self.receive(name), mqd.dead_letter('no'))
        self.eventually(lambda: self.client.stats(name).dead_letter_waiting == 1, 'it waits')
        self.assertTrue(self.check_stats(name, parked=1).alarms)
        self.client.purge(dead)
        self.assertEqual(self.receive(dead)[0].payload, b'x')
        self.check_stats(name, parked=0, dead_letter_waiting=0)

    def test_redrive_moves_messages_to_where_they_came_from(self):
        name, dead = self.dead_letters(3)
        done = self.wait_done(self.redrive(dead))
        self.assertEqual((done.matched, done.moved), (3, 3))
        self.check_stats(dead, ready=0)
        got = self.receive(name, 3)
        self.assertEqual(sorted((each.payload, each.attempt) for each in got),
                         [(b'0', 1), (b'1', 1), (b'2', 1)])

    def test_redrive_moves_what_its_filter_chooses_to_its_target(self):
        name, dead = self.dead_letters(3)
        target = self.queue('-target')
        self.wait_done(self.redrive(dead, target=target, filter=admin_pb2.RedriveFilter(
            reason_contains='not today', max_messages=2)))
        self.wait_done(self.redrive(dead, filter=admin_pb2.RedriveFilter(
            reason_contains='tomorrow')))
        self.check_stats(target, ready=2)
        self.check_stats(dead, ready=1)
        self.check_stats(name, ready=0)

    def test_dry_run_of_a_redrive_counts_and_moves_nothing(self):
        _, dead = self.dead_letters(3)
        done = self.wait_done(self.redrive(dead, dry_run=True))
        self.assertEqual((done.matched, done.moved), (3, 0))
        self.check_stats(dead, ready=3)

    def test_redrive_that_waits_is_listed_and_cancelled(self):
        name, dead = self.dead_letters(3)
        self.client.close_queue(name)
        task = self.redrive(dead)
        self.eventually(lambda: self.redrive_state(task).state == admin_pb2.REDRIVE_STATE_WAITING,
                        'the target is closed')
        self.check_info(self.redrive_state(task).error, 'QUEUE_CLOSED')
        listed, = self.client.ask('ListRedrives', queue=dead).redrives
        self.assertEqual(listed.task_id, task.task_id)
        ended = self.client.ask('CancelRedrive', task_id=task.task_id).redrive
        self.assertEqual(ended.state, admin_pb2.REDRIVE_STATE_CANCELLED)
        self.check_stats(dead, ready=3)

    def test_unknown_redrive_is_refused(self):
        for method in ('GetRedrive', 'CancelRedrive'):
            with self.subTest(method), self.refused('TASK_NOT_FOUND'):
                self.client.ask(method, task_id='999999')


class NamespaceTest(case.BrokerCase):
    def namespace(self, name, **quotas):
        return self.client.ask('CreateNamespace', name=name,
                               quotas=admin_pb2.NamespaceQuotas(**quotas))

    def test_equal_quotas_succeed_again_and_others_are_refused(self):
        self.assertTrue(self.namespace('again', max_queues=mqd.limit(2)).created)
        self.assertFalse(self.namespace('again', max_queues=mqd.limit(2)).created)
        with self.refused('NAMESPACE_EXISTS_DIFFERENT', 'again'):
            self.namespace('again', max_queues=mqd.limit(3))

    def test_quotas_of_queues_and_messages_hold_over_the_namespace(self):
        self.namespace('small', max_queues=mqd.limit(2), max_messages=mqd.limit(3))
        for name in ('small/a', 'small/b'):
            self.client.create_queue(name)
        with self.refused('QUOTA_EXCEEDED') as caught:
            self.client.create_queue('small/c')
        self.assertEqual(caught.exception.info.limit, 2)
        self.publish('small/a', b'1', b'2')
        results = self.client.publish('small/b', *[mqd.message(b'x')] * 2)
        self.assertEqual(results[0].kind, 'published')
        self.check_error(results[1], 'QUOTA_EXCEEDED')
        shown = self.client.ask('GetNamespace', name='small').namespace
        self.assertEqual((shown.queues, shown.messages), (2, 3))
        self.client.ask('UpdateNamespace', name='small',
                        quotas=admin_pb2.NamespaceQuotas(max_messages=mqd.limit(4)))
        self.publish('small/b', b'x')

    def test_namespace_with_queues_is_deleted_only_by_force(self):
        self.namespace('doomed')
        self.client.create_queue('doomed/a')
        with self.refused('NAMESPACE_NOT_EMPTY', 'doomed'):
            self.client.ask('DeleteNamespace', name='doomed')
        listed = self.client.ask('ListNamespaces').namespaces
        self.assertIn('doomed', [each.name for each in listed])
        reply = self.client.ask('DeleteNamespace', name='doomed', force=True)
        self.assertEqual(reply.deleted_queues, 1)
        with self.refused('NAMESPACE_NOT_FOUND', 'doomed'):
            self.client.ask('GetNamespace', name='doomed')
        with self.refused('QUEUE_NOT_FOUND'):
            self.client.get_queue('doomed/a')


if __name__ == '__main__':
    unittest.main()
