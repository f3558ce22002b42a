"""One daemon under a steady load for as long as the rest takes, and what its memory does."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20
SAMPLE_S = 5
SETTLE_S = 300           # memory that comes in the first minutes is that of the load
SLOPE_MAX = 24 * MIB     # an hour, and only when there are enough samples to tell
SAMPLES_MIN = 120
LOAD = ['--rate', '1000', '--size', '256B', '--producers', '2', '--consumers', '2', '--queues', '2']
LOAD_S = 60              # one bench; then the next, with new streams and queues
READY_S = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def slope(samples):
    """Least squares over (seconds, bytes): bytes an hour."""
    count = len(samples)
    mean_t = sum(t for t, _ in samples) / count
    mean_b = sum(b for _, b in samples) / count
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    return 3600 * sum((t - mean_t) * (b - mean_b) for t, b in samples) / spread if spread else 0


class Soak:
    def __init__(self, build):
        self._directory = tempfile.mkdtemp(prefix='mqd-soak-')
        self._address = f'127.0.0.1:{free_port()}'
        self._mqctl = [os.path.join(build, 'client/mqctl/mqctl'), '--addr', self._address]
        self._log = open(os.path.join(self._directory, 'log'), 'w', encoding='utf-8')
        self._daemon = subprocess.Popen(
            [os.path.join(build, 'server/mqd'), '--data', os.path.join(self._directory, 'data'),
             '--listen', self._address, '--http-listen', 'off'],
            stdout=self._log, stderr=subprocess.STDOUT)
        self._begin = time.monotonic()
        self._stopping = threading.Event()
        self._samples = []
        self._benches = self._lost = self._messages = 0
        self._threads = [threading.Thread(target=self._load), threading.Thread(target=self._watch)]
        self._wait_ready()
        for thread in self._threads:
            thread.start()

    def _wait_ready(self):
        while subprocess.run([*self._mqctl, 'node', 'status'], capture_output=True,
                             check=False).returncode:
            if time.monotonic() - self._begin > READY_S:
                raise RuntimeError('the daemon of the soak does not answer')
            self._stopping.wait(0.2)

    def _load(self):
        while not self._stopping.is_set():
            bench = subprocess.run([*self._mqctl, '-o', 'json', 'bench', *LOAD, '--duration',
                                    f'{LOAD_S}s'], capture_output=True, text=True, check=False)
            self._benches += 1
            if bench.returncode:
                self._lost += 1
                print(f'soak: {bench.stderr}', flush=True)
                continue
            result = json.loads(bench.stdout)
            self._lost += result['missing']
            self._messages += round(result['published_per_second'] * LOAD_S)

    def _watch(self):
        while not self._stopping.wait(SAMPLE_S):
            with open(f'/proc/{self._daemon.pid}/statm', encoding='ascii') as statm:
                pages = int(statm.read().split()[1])
            seconds = time.monotonic() - self._begin
            self._samples.append((seconds, pages * os.sysconf('SC_PAGESIZE')))

    def _settled(self):
        return [sample for sample in self._samples if sample[0] >= SETTLE_S]

    def stop(self):
        """Ends it; whether nothing was lost, it ended well, and its memory was flat."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._daemon.send_signal(signal.SIGTERM)
        self._code = self._daemon.wait(60)
        self._log.close()
        shutil.rmtree(self._directory)
        settled = self._settled()
        flat = len(settled) < SAMPLES_MIN or slope(settled) <= SLOPE_MAX
        return flat and self._lost == 0 and self._code == 0

    def summary(self):
        settled = self._settled() or self._samples or [(0, 0)]
        return (f'soak: {self._messages:,} messages in {self._benches} loads, {self._lost} lost, '
                f'exit {self._code}; memory {settled[0][1] / MIB:.1f} MiB after '
                f'{settled[0][0]:.0f} s, {settled[-1][1] / MIB:.1f} MiB at the end, '
                f'{slope(settled) / MIB:+.1f} MiB an hour over {len(settled)} samples')
