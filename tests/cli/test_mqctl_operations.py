"""mqctl for operators: why, find, cancel, history, dead letters, quotas. A broken promise each."""
import json
import os
import subprocess
import unittest

from daemon import DEADLINE_S, DaemonTest


class MessagesTest(DaemonTest):
    def test_a_publish_says_which_sequence_it_got(self):
        name = self.queue()
        self.assertEqual(self.run_mqctl('publish', name, 'x').stdout, 'published 1, sequence 1\n')
        done = self.run_mqctl('publish', name, '--lines', stdin='a\nb\n')
        self.assertEqual(done.stdout, 'published 2, sequences 2 to 3\n')

    def test_a_delayed_message_waits_and_can_be_cancelled(self):
        name = self.queue()
        sequence = self.publish(name, 'later', '--delay', '1h')
        peeked = self.json('peek', name, '--state', 'delayed')
        self.assertEqual([message['sequence'] for message in peeked], [sequence])
        self.assertIsNotNone(peeked[0]['deliver_at'])
        self.assertEqual(self.json('cancel', name, str(sequence))['cancelled'], 1)
        self.assertEqual(self.stats(name)['delayed'], 0)
        done = self.run_mqctl('cancel', name, str(sequence), code=66)
        self.assertIn('MESSAGE_NOT_FOUND', done.stderr)

    def test_deliver_at_in_the_past_is_at_once(self):
        name = self.queue()
        self.publish(name, 'due', '--deliver-at', '2001-01-01T00:00:00Z')
        self.assertEqual(self.run_mqctl('consume', name, '--count', '1', '--wait', '20s').stdout,
                         'due\n')

    def test_the_highest_priority_is_delivered_first(self):
        name = self.queue()
        for priority in (0, 9, 5):
            self.publish(name, str(priority), '--priority', str(priority))
        done = self.run_mqctl('consume', name, '--count', '3', '--wait', '20s')
        self.assertEqual(done.stdout, '9\n5\n0\n')

    def test_deliver_after_waits_for_the_other_message(self):
        first, second = self.queue(), self.queue(suffix='-2')
        cause = self.publish(first, 'cause')
        effect = self.publish(second, 'effect', '--deliver-after', f'{first}:{cause}')
        why = self.json('why', 'message', second, str(effect))
        self.assertEqual(why[0]['cause'], 'WAITS_FOR_MESSAGE')
        self.run_mqctl('consume', first, '--count', '1', '--wait', '20s')
        done = self.run_mqctl('consume', second, '--count', '1', '--wait', '20s')
        self.assertEqual(done.stdout, 'effect\n')

    def test_confirm_settled_waits_for_the_consumer(self):
        name = self.queue()
        publish = subprocess.Popen(
            self.mqctl('-o', 'json', 'publish', name, 'x', '--confirm', 'settled', '--timeout',
                       '30s'), stdout=subprocess.PIPE, text=True)
        self.wait_for('the message is there', lambda: self.stats(name)['awaited_confirms'])
        self.run_mqctl('consume', name, '--count', '1', '--wait', '20s')
        output, _ = publish.communicate(timeout=DEADLINE_S)
        self.assertEqual((publish.returncode, json.loads(output)['published']), (0, 1))

    def test_confirm_settled_that_does_not_come_says_that_the_message_is_stored(self):
        name = self.queue()
        done = self.run_mqctl('publish', name, 'x', '--confirm', 'settled', '--timeout', '100ms',
                              code=75)
        self.assertIn('BLOCKED_TIMEOUT', done.stderr)
        self.assertEqual(self.stats(name)['ready'], 1)

    def test_dropped_messages_are_counted_apart(self):
        name = self.queue('--max-messages', '1', '--overflow-policy', 'drop_newest')
        counts = self.json('publish', name, 'x', '--count', '3')
        self.assertEqual((counts['published'], counts['dropped']), (1, 2))

    def test_find_by_sequence_and_by_key(self):
        name = self.queue()
        sequence = self.publish(name, 'body', '--key', 'order-7')
        for flags in (['--sequence', str(sequence)], ['--key', 'order-7']):
            found = self.json('find', name, *flags)
            self.assertEqual((found['sequence'], found['state'], found['payload']),
                             (sequence, 'ready', 'body'))
        self.run_mqctl('find', name, '--key', 'none', code=66)
        self.run_mqctl('find', name, code=65)

    def test_a_forgotten_key_is_new_again(self):
        name = self.queue()
        self.publish(name, 'x', '--key', 'k')
        self.assertEqual(self.json('dedup', 'show', name, 'k')['sequence'], 1)
        self.assertEqual(self.json('publish', name, 'x', '--key', 'k')['duplicates'], 1)
        self.run_mqctl('dedup', 'forget', name, 'k')
        self.run_mqctl('dedup', 'show', name, 'k', code=66)
        self.assertEqual(self.publish(name, 'x', '--key', 'k'), 2)

    def test_history_tells_what_happened(self):
        name = self.queue('--history-entries', '100')
        self.publish(name, 'x')
        self.run_mqctl('consume', name, '--count', '1', '--wait', '20s', '--name', 'reader')
        history = self.wait_for('it is acked', lambda: [
            entry for entry in self.json('history', name, '--sequence', '1')
            if self.stats(name)['acked_total']])
        self.assertEqual([entry['transition'] for entry in history],
                         ['PUBLISHED', 'DELIVERED', 'ACKED'])
        self.assertEqual(history[1]['client_name'], 'reader')


class SelectTest(DaemonTest):
    def test_priority_goes_before_what_was_there_earlier(self):
        low, high = self.queue(suffix='-low'), self.queue(suffix='-high')
        self.json('publish', low, 'low', '--count', '50')
        self.json('publish', high, 'high', '--count', '50')
        done = self.run_mqctl('consume', f'{high}:9', f'{low}:1', '--select', 'priority',
                              '--count', '100', '--wait', '30s')
        lines = done.stdout.split()
        self.assertEqual((lines.count('high'), lines.count('low')), (50, 50))
        last_high = max(i for i, line in enumerate(lines) if line == 'high')
        self.assertLess(last_high, 60, 'a few may have been on their way')

    def test_several_queues_are_consumed_by_one_command(self):
        first, second = self.queue(suffix='-1'), self.queue(suffix='-2')
        self.publish(first, 'one')
        self.publish(second, 'two')
        done = self.run_mqctl('consume', f'{first}:2', second, '--count', '2', '--wait', '20s')
        self.assertEqual(sorted(done.stdout.split()), ['one', 'two'])


class ExplainTest(DaemonTest):
    def causes(self, *arguments):
        return [why['cause'] for why in self.json('why', *arguments)]

    def test_why_of_a_queue_names_what_is_missing(self):
        name = self.queue()
        self.assertEqual(self.causes('queue', name)[0], 'EMPTY')
        self.publish(name, 'x')
        self.assertEqual(self.causes('queue', name)[0], 'NO_CONSUMERS')
        done = self.run_mqctl('why', 'queue', name)
        self.assertTrue(done.stdout.startswith('NO_CONSUMERS: '), done.stdout)

    def test_paused_queues_say_so_until_they_are_resumed(self):
        name = self.queue()
        self.publish(name, 'x')
        shown = self.json('queue', 'pause', name)
        self.assertEqual(shown['settings']['paused'], 'both')
        self.assertIn('CONSUME_PAUSED', self.causes('queue', name))
        self.assertIn('QUEUE_PAUSED', self.run_mqctl('publish', name, 'y', code=75).stderr)
        self.assertEqual(self.json('queue', 'resume', name)['settings']['paused'], 'none')
        self.publish(name, 'y')
        self.assertEqual(self.json('queue', 'pause', name, '--consume')['settings']['paused'],
                         'consume')

    def test_why_of_a_message_says_until_when_it_waits(self):
        name = self.queue()
        sequence = self.publish(name, 'x', '--delay', '1h')
        why = self.json('why', 'message', name, str(sequence))
        self.assertEqual(why[0]['cause'], 'DELAYED')
        self.assertIsNotNone(why[0]['until'])

    def test_a_held_key_names_its_holder(self):
        name = self.queue('--ordering', 'keyed')
        self.publish(name, 'one', '--ordering-key', 'c7')
        self.publish(name, 'two', '--ordering-key', 'c7')
        holder = subprocess.Popen(
            self.mqctl('consume', name, '--exec', 'exec tail -f /dev/null', '--count', '1',
                       '--name', 'holder'), stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            self.wait_for('it is taken', lambda: self.stats(name)['in_flight'])
            why = self.json('why', 'key', name, 'c7')
            self.assertEqual(why[0]['cause'], 'KEY_HELD')
            self.assertIn('holder', why[0]['resource'] + why[0]['text'])
            clients = self.json('consumer', 'list', name)
            self.assertEqual([one['client_name'] for one in clients], ['holder'])
            self.assertEqual(clients[0]['in_flight'], 1)
            identity = str(clients[0]['consumer_id'])
            self.assertEqual(self.causes('consumer', name, identity),
                             self.causes('consumer', name, 'holder'))
        finally:
            subprocess.run(['kill', '-KILL', '--', f'-{holder.pid}'], check=False)
            holder.wait(DEADLINE_S)
        self.wait_for('the key is free', lambda: not self.json('consumer', 'list', name))

    def test_a_publisher_that_waits_is_listed_and_explained(self):
        name = self.queue('--max-messages', '1', '--overflow-policy', 'block')
        self.publish(name, 'full')
        waiting = subprocess.Popen(self.mqctl('publish', name, 'waits', '--timeout', '60s'),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        listed = self.wait_for('it waits', lambda: [
            one for one in self.json('publisher', 'list', name) if one['waiting']])
        self.assertEqual(self.causes('publisher', name, str(listed[0]['publisher_id']))[0],
                         'QUEUE_FULL')
        self.run_mqctl('consume', name, '--count', '2', '--wait', '20s')
        _, errors = waiting.communicate(timeout=DEADLINE_S)
        self.assertEqual(waiting.returncode, 0)
        self.assertIn('waiting: QUEUE_FULL', errors)


class DeadLettersTest(DaemonTest):
    def setUp(self):
        self.dead = self.queue(suffix='-dead')
        self.origin = self.queue('--dead-letter-queue', self.dead, '--max-attempts', '1')

    def fail_one(self, payload):
        before = self.stats(self.dead)['ready']
        self.publish(self.origin, payload)
        self.dead_letter(self.origin)
        self.wait_for('it is dead-lettered', lambda: self.stats(self.dead)['ready'] > before)

    def test_list_and_why_tell_origin_reason_and_who_failed(self):
        self.fail_one('poison')
        listed = self.json('dlq', 'list', self.dead)
        self.assertEqual(len(listed), 1)
        letter = listed[0]['dead_letter']
        self.assertEqual((letter['queue'], letter['sequence'], letter['attempts']),
                         ('default/' + self.origin, 1, 1))
        self.assertEqual(letter['notes'][-1]['consumer'], 'billing-3')
        self.assertEqual(letter['notes'][-1]['error'], 'exit status 3')
        text = self.run_mqctl('dlq', 'why', self.dead, str(listed[0]['sequence'])).stdout
        for part in (self.origin, 'billing-3', 'exit status 3', 'poison'):
            self.assertIn(part, text)
        self.run_mqctl('dlq', 'list', self.dead)

    def test_a_dry_run_counts_and_moves_nothing(self):
        self.fail_one('one')
        self.fail_one('two')
        redrive = self.json('dlq', 'redrive', self.dead, '--dry-run')
        self.assertEqual((redrive['state'], redrive['matched'], redrive['moved']), ('DONE', 2, 0))
        self.assertEqual(self.stats(self.dead)['ready'], 2)

    def test_redrive_moves_messages_back_with_attempts_at_zero(self):
        self.fail_one('again')
        redrive = self.json('dlq', 'redrive', self.dead, '--wait')
        self.assertEqual((redrive['state'], redrive['moved']), ('DONE', 1))
        message = self.json('consume', self.origin, '--count', '1', '--wait', '20s')
        self.assertEqual((message['payload'], message['attempt']), ('again', 1))
        self.assertEqual(self.stats(self.dead)['ready'], 0)
        tasks = self.json('dlq', 'status', '--queue', self.dead)
        self.assertEqual([task['task_id'] for task in tasks], [redrive['task_id']])

    def test_redrive_filters_and_another_target(self):
        self.fail_one('kept')
        target = self.queue(suffix='-target')
        none = self.json('dlq', 'redrive', self.dead, '--origin', 'elsewhere', '--wait')
        self.assertEqual(none['moved'], 0)
        none = self.json('dlq', 'redrive', self.dead, '--before', '1h', '--wait')
        self.assertEqual(none['moved'], 0)
        one = self.json('dlq', 'redrive', self.dead, '--after', '1h', '--max', '1', '--target',
                        target, '--wait')
        self.assertEqual(one['moved'], 1)
        self.assertEqual(self.stats(target)['ready'], 1)

    def test_a_redrive_can_be_cancelled(self):
        for payload in ('1', '2', '3'):
            self.fail_one(payload)
        task = self.json('dlq', 'redrive', self.dead, '--rate', '1')['task_id']
        cancelled = self.json('dlq', 'cancel', task)
        self.assertEqual(cancelled['state'], 'CANCELLED')
        self.assertEqual(self.json('dlq', 'status', task)['state'], 'CANCELLED')
        self.run_mqctl('dlq', 'status', '999999', code=66)


class NamespacesTest(DaemonTest):
    def test_quotas_hold_and_are_changed_live(self):
        created = self.json('namespace', 'create', 'shop', '--max-queues', '1')
        self.assertEqual((created['max_queues'], created['max_bytes']), (1, 'unlimited'))
        self.run_mqctl('queue', 'create', 'shop/a')
        done = self.run_mqctl('queue', 'create', 'shop/b', code=1)
        self.assertIn('QUOTA_EXCEEDED', done.stderr)
        self.assertEqual(self.json('namespace', 'update', 'shop', '--max-queues', '2')['queues'], 1)
        self.run_mqctl('queue', 'create', 'shop/b')
        self.run_mqctl('namespace', 'create', 'shop', '--max-queues', '9', code=1)
        self.assertIn('shop', [one['name'] for one in self.json('namespace', 'list')])
        done = self.run_mqctl('-y', 'namespace', 'delete', 'shop', code=1)
        self.assertIn('NAMESPACE_NOT_EMPTY', done.stderr)
        self.assertEqual(
            self.json('-y', 'namespace', 'delete', 'shop', '--force')['deleted_queues'], 2)
        self.run_mqctl('namespace', 'get', 'shop', code=66)


class HelpTest(unittest.TestCase):
    def test_every_verb_has_an_example(self):
        verbs = ['publish', 'consume', 'peek', 'find', 'cancel', 'history', 'bench']
        verbs += [f'queue {verb}' for verb in ('create', 'get', 'list', 'update', 'delete', 'purge',
                                               'close', 'reopen', 'pause', 'resume')]
        verbs += [f'why {what}' for what in ('queue', 'consumer', 'publisher', 'key', 'message')]
        verbs += [f'dlq {verb}' for verb in ('list', 'why', 'redrive', 'status', 'cancel')]
        verbs += [f'namespace {verb}' for verb in ('create', 'get', 'list', 'update', 'delete')]
        verbs += ['dedup show', 'dedup forget', 'consumer list', 'publisher list', 'node status']
        for verb in verbs:
            done = subprocess.run([os.environ['MQCTL_BIN'], *verb.split(), '--help'],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, verb)
            self.assertIn(f'mqctl {verb}', done.stdout.split('Example')[-1], verb)


if __name__ == '__main__':
    unittest.main()
