"""The witness: traffic of another process, with the time that each of its rounds took."""
import os
import subprocess
import sys
import threading
import time

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'witness_process.py')
WAIT_S = 60


class Witness:
    """Runs until stop() or until something goes wrong, which `failure` then says."""

    def __init__(self, address, first=0):
        self.changed = threading.Condition()
        self.rounds = []  # (begin, end) on the monotonic clock, which all processes share
        self.first = first
        self.failure = ''
        self._process = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'KILL', sys.executable, PROGRAM, address, str(first)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            kind, _, rest = line.strip().partition(' ')
            with self.changed:
                if kind == 'round':
                    begin, end, _ = rest.split()
                    self.rounds.append((float(begin), float(end)))
                else:
                    self.failure = rest
                self.changed.notify_all()
        with self.changed:
            self.failure = self.failure or 'it ended'
            self.changed.notify_all()

    @property
    def next_number(self):
        """Of the first message of `kept` that was not confirmed."""
        return self.first + len(self.rounds)

    def wait_rounds(self, count, after=0.0):
        """So many more rounds that began after this moment; False when it ended before."""
        with self.changed:
            return self.changed.wait_for(
                lambda: self.failure or sum(begin >= after for begin, _ in self.rounds) >= count,
                WAIT_S) and not self.failure

    def p99(self, begin, end=float('inf')):
        """Of the rounds that were under way at some time between the two."""
        with self.changed:
            times = sorted(last - first for first, last in self.rounds
                           if last >= begin and first <= end)
        return times[min(len(times) - 1, len(times) * 99 // 100)] if times else float('inf')

    def count(self, begin, end):
        with self.changed:
            return sum(last >= begin and first <= end for first, last in self.rounds)

    def stop(self):
        self._process.terminate()
        self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        self._process.stdout.close()
