"""The real daemon, on a directory and a port of its own."""
import os
import shutil
import signal
import subprocess
import tempfile
import time

import grpc

from mqd_client import CHANNEL_OPTIONS

WAIT_S = 60
HEALTH = '/grpc.health.v1.Health/Check'
SERVING = b'\x08\x01'  # HealthCheckResponse{status: SERVING}


def binary():
    path = os.environ.get('MQD_BIN', '')
    if not os.access(path, os.X_OK):
        raise RuntimeError(f'MQD_BIN must name the daemon to test, and is "{path}"')
    return path


# Whatever the machine's own disk has left: tests of a low one have a volume of their own.
CONFIG = '[storage]\ndisk_low_watermark = "64MiB"\n'


class Daemon:
    """Starts mqd and waits until it serves. It dies with this process, whatever happens."""

    def __init__(self, data=None, config=CONFIG, wrapper=()):
        self.directory = tempfile.mkdtemp(prefix='mqd-test-')
        self.data = data or os.path.join(self.directory, 'data')
        self.log_path = os.path.join(self.directory, 'log')
        self.config = os.path.join(self.directory, 'mqd.toml')
        with open(self.config, 'w', encoding='utf-8') as file:
            file.write(config)
        self.wrapper = list(wrapper)
        self.process = None
        self.address = ''

    def start(self):
        """Returns the seconds until the health service said SERVING."""
        port_file = os.path.join(self.directory, 'port')
        if os.path.exists(port_file):
            os.unlink(port_file)
        begin = time.monotonic()
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(
                [*self.wrapper, 'setpriv', '--pdeathsig', 'KILL', binary(),
                 '--data', self.data, '--config', self.config, '--listen', '127.0.0.1:0',
                 '--http-listen', 'off', '--port-file', port_file, '--shutdown-grace', '5s'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not os.path.exists(port_file):
            self.expect_running(begin, 'did not open its port')
        with open(port_file, encoding='ascii') as file:
            self.address = f'127.0.0.1:{int(file.read())}'
        while not self.serving():
            self.expect_running(begin, 'did not get healthy')
        return time.monotonic() - begin

    def expect_running(self, begin, what):
        """Waits a moment for the end of the process, which must not come."""
        try:
            code = self.process.wait(0.01)
        except subprocess.TimeoutExpired:
            if time.monotonic() - begin < WAIT_S:
                return
            code = None
        raise RuntimeError(f'mqd {what}: exit code {code}\n{self.log()}')

    def serving(self):
        """Asks the standard health service, with bytes instead of its stubs."""
        with grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS) as channel:
            try:
                return channel.unary_unary(HEALTH)(b'', timeout=5) == SERVING
            except grpc.RpcError:
                return False

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """SIGKILL: nothing is flushed or said."""
        self.process.kill()
        self.process.wait(WAIT_S)

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def log(self):
        with open(self.log_path, encoding='utf-8', errors='replace') as file:
            return file.read()[-20_000:]

    def resident_bytes(self):
        """VmRSS of the process."""
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as file:
            for line in file:
                if line.startswith('VmRSS:'):
                    return int(line.split()[1]) << 10
        raise RuntimeError('no VmRSS: the process is gone')

    def remove(self):
        if self.process is not None and self.alive():
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
