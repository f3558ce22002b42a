"""What mqctl promises a shell: output, JSON and exit codes. One broken promise per name."""
import os
import subprocess
import unittest

from daemon import DaemonTest


class MqctlTest(DaemonTest):
    def test_settings_given_at_creation_are_shown(self):
        name = self.queue('--max-messages', '7', '--lease-duration', '2m', '--overflow-policy',
                          'block')
        shown = self.json('queue', 'get', name)
        self.assertEqual(shown['name'], 'default/' + name)
        self.assertEqual(shown['settings']['max_messages'], 7)
        self.assertEqual(shown['settings']['lease_duration'], '2m')
        self.assertEqual(shown['settings']['overflow_policy'], 'block')

    def test_names_of_values_may_be_in_upper_case(self):
        name = self.queue('--overflow-policy', 'DROP_OLDEST')
        shown = self.json('queue', 'get', name)
        self.assertEqual(shown['settings']['overflow_policy'], 'drop_oldest')
        self.run_mqctl('publish', name, 'body', '--confirm', 'DURABLE')
        self.assertEqual(len(self.run_mqctl('peek', name, '--state', 'READY').stdout.split('body')),
                         2)

    def test_creating_twice_is_no_error_and_a_difference_is_spelled_out(self):
        name = self.queue('--max-messages', '7')
        self.assertFalse(self.json('queue', 'create', name, '--max-messages', '7')['created'])
        done = self.run_mqctl('queue', 'create', name, '--max-messages', '8', code=1)
        self.assertIn('max_messages: 7, not 8', done.stderr)

    def test_update_changes_only_what_is_named(self):
        name = self.queue('--max-messages', '7', '--max-attempts', '3')
        shown = self.json('queue', 'update', name, '--max-messages', '9')
        self.assertEqual(shown['settings']['max_messages'], 9)
        self.assertEqual(shown['settings']['max_attempts'], 3)
        self.assertEqual(shown['generation'], 2)

    def test_settings_without_a_value_are_none_and_can_be_made_so(self):
        name = self.queue('--default-ttl', '1h')
        shown = self.json('queue', 'update', name, '--default-ttl', 'none', '--lease-duration',
                          '5s')
        self.assertEqual(shown['settings']['default_ttl'], 'none')
        shown = self.json('queue', 'update', name, '--reset', 'lease_duration')
        self.assertEqual(shown['settings']['lease_duration'], '30s')
        self.run_mqctl('queue', 'update', name, code=65)

    def test_lines_come_out_as_they_went_in(self):
        name = self.queue()
        self.run_mqctl('publish', name, '--lines', stdin='one\ntwo\nthree\n')
        done = self.run_mqctl('consume', name, '--count', '3', '--wait', '20s')
        self.assertEqual(done.stdout, 'one\ntwo\nthree\n')

    def test_key_from_a_field_suppresses_duplicates(self):
        name = self.queue()
        lines = '{"id": 1}\n{"id": 2}\n{"id": 1}\n'
        counts = self.json('publish', name, '--lines', '--key-from', 'id', stdin=lines)
        self.assertEqual((counts['published'], counts['duplicates'], counts['failed']), (2, 1, 0))

    def test_headers_and_sequence_are_in_the_json_of_a_message(self):
        name = self.queue()
        self.run_mqctl('publish', name, 'body', '-H', 'a=b', '--key', 'k')
        message = self.json('consume', name, '--count', '1', '--wait', '20s')
        self.assertEqual((message['payload'], message['headers'], message['idempotency_key']),
                         ('body', {'a': 'b'}, 'k'))
        self.assertEqual(message['attempt'], 1)

    def test_exec_acks_on_success_and_retries_on_failure(self):
        name = self.queue('--retry-backoff-initial', '1ms', '--retry-backoff-jitter', '0')
        self.run_mqctl('publish', name, 'work')
        self.run_mqctl('consume', name, '--exec', 'test "$MQD_ATTEMPT" -ge 2', '--count', '2',
                       '--wait', '20s')
        stats = self.json('queue', 'get', name)['stats']
        self.assertEqual((stats['acked_total'], stats['retried_total'], stats['ready']), (1, 1, 0))

    def test_exec_that_does_not_read_its_input_succeeds_by_its_exit_status(self):
        name = self.queue()
        self.run_mqctl('publish', name, 'work', '--count', '40')  # a race: many trials
        self.run_mqctl('consume', name, '--exec', 'true', '--count', '40', '--wait', '20s')
        stats = self.json('queue', 'get', name)['stats']
        self.assertEqual((stats['acked_total'], stats['retried_total']), (40, 0))

    def test_no_ack_gives_the_message_back(self):
        name = self.queue()
        self.run_mqctl('publish', name, 'kept')
        self.run_mqctl('consume', name, '--no-ack', '--count', '1', '--wait', '20s')
        peeked = self.json('peek', name)
        self.assertEqual([message['payload'] for message in peeked], ['kept'])

    def test_consume_ends_when_the_queue_ends(self):
        name = self.queue()
        self.run_mqctl('publish', name, 'last')
        self.run_mqctl('queue', 'close', name)
        self.assertEqual(self.run_mqctl('consume', name, '--wait', '20s').stdout, 'last\n')
        self.run_mqctl('queue', 'close', name, code=1)

    def test_messages_that_do_not_come_are_exit_code_75(self):
        self.run_mqctl('consume', self.queue(), '--count', '1', '--wait', '10ms', code=75)

    def test_full_queue_is_exit_code_75_with_the_reason(self):
        name = self.queue('--max-messages', '1')
        done = self.run_mqctl('publish', name, '--lines', stdin='1\n2\n', code=75)
        self.assertIn('QUEUE_FULL', done.stderr)

    def test_unknown_queue_is_exit_code_66(self):
        for arguments in (['queue', 'get', 'nowhere'], ['peek', 'nowhere'],
                          ['publish', 'nowhere', 'x'], ['consume', 'nowhere', '--wait', '5s']):
            self.assertIn('QUEUE_NOT_FOUND', self.run_mqctl(*arguments, code=66).stderr)

    def test_no_broker_is_exit_code_69(self):
        done = subprocess.run([os.environ['MQCTL_BIN'], '--addr', '127.0.0.1:1', '--timeout',
                               '200ms', 'node', 'status'], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn('--addr', done.stderr)

    def test_wrong_use_is_exit_code_64_and_wrong_values_65(self):
        self.run_mqctl('queue', code=64)
        self.run_mqctl('queue', 'create', 'x', '--max-bytes', '4MB', code=65)
        self.run_mqctl('queue', 'create', '../x', code=65)

    def test_deleting_without_a_terminal_needs_yes(self):
        name = self.queue()
        self.run_mqctl('queue', 'delete', name, code=1)
        self.run_mqctl('-y', 'queue', 'delete', name)
        self.run_mqctl('queue', 'get', name, code=66)

    def test_list_shows_every_queue_of_the_prefix(self):
        names = [self.queue() + suffix for suffix in ('-a', '-b')]
        for name in names:
            self.run_mqctl('queue', 'create', name)
        listed = self.json('queue', 'list', '--prefix', names[0][:-1])
        self.assertEqual([queue['name'] for queue in listed], ['default/' + n for n in names])

    def test_node_status_names_the_version(self):
        version = self.run_mqctl('--version').stdout.split()[-1]
        self.assertEqual(self.json('node', 'status')['version'], version)

    def test_bench_reports_the_agreed_names_and_leaves_no_queue(self):
        result = self.json('bench', '--duration', '2s', '--producers', '2', '--consumers', '2',
                           '--queues', '2', '--idempotent')
        for name in ('published_per_second', 'consumed_per_second'):
            self.assertGreater(result[name], 0)
        for name in ('confirm_us', 'end_to_end_us'):
            self.assertEqual(set(result[name]), {'p50', 'p99', 'p999'})
        self.assertEqual((result['missing'], result['errors']), (0, 0))
        self.assertEqual(self.json('queue', 'list', '--prefix', 'bench-'), [])


if __name__ == '__main__':
    unittest.main()
