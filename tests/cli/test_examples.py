"""Each example against a real daemon: it ends by itself and says what it proved."""
import os
import subprocess
import unittest

from daemon import DaemonTest


class ExamplesTest(DaemonTest):
    def run_example(self, name, *arguments):
        binary = os.path.join(os.environ['EXAMPLES_DIR'], name)
        done = subprocess.run([binary, *(arguments or (self.address,))], capture_output=True,
                              text=True, timeout=90, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        last = done.stdout.strip().split('\n')[-1]
        self.assertTrue(last.startswith(name + ': '), done.stdout)
        self.assertEqual(self.json('queue', 'list', '--prefix', 'example-'), [])
        return done.stdout

    def test_rendezvous_hands_every_message_over(self):
        self.run_example('rendezvous')

    def test_overflow_shows_every_policy(self):
        output = self.run_example('overflow')
        for section in ('fail:', 'block:', 'drop newest:', 'drop oldest:', 'divert:', 'throttle:'):
            self.assertIn(section, output)

    def test_etl_pipeline_is_held_up_by_its_slowest_stage(self):
        self.run_example('etl_pipeline')

    def test_telemetry_aggregator_counts_what_was_dropped(self):
        self.run_example('telemetry_aggregator')

    def test_task_client_does_each_task_once(self):
        self.run_example('task_client')

    def test_graceful_shutdown_loses_and_doubles_nothing(self):
        self.run_example('graceful_shutdown')

    def test_select_takes_urgent_work_first(self):
        self.run_example('select')

    def test_the_address_may_be_a_flag(self):
        self.run_example('task_client', '--addr', self.address)

    def test_no_broker_is_a_failure(self):
        binary = os.path.join(os.environ['EXAMPLES_DIR'], 'task_client')
        done = subprocess.run([binary, '127.0.0.1:1'], capture_output=True, text=True, timeout=60,
                              check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('failed:', done.stderr)


if __name__ == '__main__':
    unittest.main()
