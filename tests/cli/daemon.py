"""A real mqd for the tests of this directory, and a shell's view of mqctl."""
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import unittest

DEADLINE_S = 30


def start_daemon(directory):
    """Starts mqd on a free port and returns the process and its address."""
    port_file = os.path.join(directory, 'port')
    process = subprocess.Popen(
        [os.environ['MQD_BIN'], '--data', os.path.join(directory, 'data'), '--listen',
         '127.0.0.1:0', '--http-listen', 'off', '--port-file', port_file],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = b''
    end = time.monotonic() + DEADLINE_S
    while b'ready:' not in log:
        readable, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 65536) if readable else b''
        if not piece:
            raise RuntimeError('mqd did not start: ' + log.decode(errors='replace'))
        log += piece
    with open(port_file, encoding='ascii') as file:
        return process, '127.0.0.1:' + file.read().strip()


class DaemonTest(unittest.TestCase):
    """Tests of one class share a daemon; each has a queue of its own, named after it."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix='mqd-cli-')
        cls.process, cls.address = start_daemon(cls.directory)

    @classmethod
    def tearDownClass(cls):
        cls.process.terminate()
        cls.process.wait(DEADLINE_S)
        cls.process.stdout.close()
        shutil.rmtree(cls.directory)

    def mqctl(self, *arguments):
        return [os.environ['MQCTL_BIN'], '--addr', self.address, *arguments]

    def run_mqctl(self, *arguments, stdin='', code=0):
        done = subprocess.run(self.mqctl(*arguments), input=stdin, capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def json(self, *arguments, **kwargs):
        return json.loads(self.run_mqctl('-o', 'json', *arguments, **kwargs).stdout)

    def stats(self, queue):
        return self.json('queue', 'get', queue)['stats']

    def queue(self, *flags, suffix=''):
        name = self.id().rsplit('.', 1)[-1] + suffix
        self.run_mqctl('queue', 'create', name, *flags)
        return name

    def publish(self, queue, *arguments):
        """Publishes one message and returns its sequence."""
        return self.json('publish', queue, *arguments)['first_sequence']

    def dead_letter(self, queue, reason='boom'):
        """Fails the next message of a queue with max_attempts 1."""
        self.run_mqctl('consume', queue, '--exec', f'echo {reason} >/dev/null; exit 3', '--count',
                       '1', '--wait', '20s', '--name', 'billing-3')

    def wait_for(self, what, probe):
        """Asks `probe` until it answers something true, which is returned."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            answer = probe()
            if answer:
                return answer
        return self.fail(f'in {DEADLINE_S} s: {what}')
