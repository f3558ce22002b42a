"""Runs one measurement after the other and keeps what came out."""
import json
import os
import subprocess
import sys
import threading
import time

import systems

DRIVER_SECONDS = 180  # beyond what was asked for


class ResidentMaximum:
    """The most memory that a process had, looked at five times a second."""

    def __init__(self, broker):
        self.broker = broker
        self.most = broker.resident_bytes()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over.wait(0.2):
            try:
                self.most = max(self.most, self.broker.resident_bytes())
            except OSError:
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Runner:
    def __init__(self, options):
        self.options = options
        self.build = os.path.abspath(options.build)
        self.brokers, self.systems = systems.all_systems(options.data, self.build, options.port)
        self.records = []
        self.failures = []
        self.begin = time.monotonic()
        self.names = 0

    def program(self, name):
        return os.path.join(self.build, 'tests/bench', name)

    def say(self, text):
        print(f'{time.monotonic() - self.begin:7.0f} s  {text}', flush=True)

    def start(self, names):
        """The brokers of these systems; each is suspended until it is measured."""
        for name in names:
            broker = self.systems[name].broker
            if broker.alive():
                continue
            self.say(f'starting {broker.name} on {broker.address}')
            broker.start()
            broker.suspend()

    def stop(self):
        for broker in self.brokers.values():
            try:
                broker.stop()
            except (OSError, systems.BenchError) as error:
                print(f'{broker.name}: {error}', file=sys.stderr)

    def drive(self, broker, driver, arguments, seconds):
        """One run of a driver; its JSON object."""
        command = [self.program(f'{driver}_driver'), '--addr', broker.address,
                   '--broker-pid', str(broker.pid())] + arguments
        with ResidentMaximum(broker) as resident:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=seconds + DRIVER_SECONDS)
        if not done.stdout.strip():
            raise systems.BenchError(done.stderr.strip() or f'exit status {done.returncode}')
        result = json.loads(done.stdout.strip().splitlines()[-1])
        result['resident_bytes_max'] = resident.most
        for what in ('lost', 'failed', 'unconfirmed', 'out_of_order', 'false_answers'):
            if result.get(what):
                words = [os.path.basename(command[0])] + command[1:]
                self.fail(f'{" ".join(words)}: {what} {result[what]}')
        return result

    def fail(self, text):
        self.failures.append(text)
        self.say(f'FAILED: {text}')

    def measure(self, workload, name, number):
        system = self.systems[name]
        seconds = workload.seconds or self.options.seconds
        arguments = {'seconds': seconds, 'warm-up': self.options.warm_up, **workload.arguments}
        self.names += 1
        words = ['--name', f'bench-{os.getpid()}-{self.names}'] + system.arguments
        for key, value in arguments.items():
            words += [f'--{key}'] if value is True else [f'--{key}', str(value)]
        os.sync()  # what others have left to be written is not written now
        system.broker.resume()
        try:
            before = system.broker.written_bytes()
            fill = workload.arguments.get('fill', 0)
            result = self.drive(system.broker, system.driver, words, seconds + fill / 2000)
            written = system.broker.written_bytes() - before
        except (systems.BenchError, subprocess.TimeoutExpired, OSError, ValueError) as error:
            return self.fail(f'{workload.key}, {name}: {error}')
        finally:
            if system.broker.alive():
                system.broker.suspend()
        result['written_per_payload_byte'] = written / max(
            1, result['confirmed'] * result['size_bytes'])
        result['end_to_end_per_second'] = min(result['published_per_second'],
                                              result['consumed_per_second'])
        return self.keep(workload.key, name, number, result)

    def keep(self, key, name, number, result):
        self.records.append({'workload': key, 'system': name, 'round': number, 'result': result})
        self.say(f'{key:14} {name:17} {describe(result)}')

    def raw(self, workload, number):
        """The disk by itself, with this size of message and batches as large as brokers make."""
        size = workload.arguments['size']
        batch = 1 if workload.arguments.get('rate') else max(1, min(1024, (256 << 10) // size))
        os.sync()
        done = subprocess.run([self.program('raw_fsync'), '--dir', self.options.data,
                               '--size', str(size), '--batch', str(batch),
                               '--seconds', str(min(2, self.options.seconds))],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return self.fail(f'{workload.key}, raw fsync: {done.stderr.strip()}')
        result = json.loads(done.stdout)
        result['end_to_end_per_second'] = result['published_per_second']
        return self.keep(workload.key, 'raw fsync', number, result)

    def median(self, key, name, path):
        """Of a figure over the rounds; None without one. 'confirm_us.p50' is a path."""
        values = []
        for record in self.records:
            if (record['workload'], record['system']) == (key, name):
                value = pick(record['result'], path)
                if value is not None:
                    values.append(value)
        values.sort()
        if not values:
            return None
        half = len(values) // 2
        return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2

    def run(self, workload):
        """Every system in turn, and that as many times as there are rounds."""
        names = [name for name in workload.systems if self.wanted(workload, name)]
        rounds = workload.rounds or self.options.rounds
        self.say(f'== {workload.key}: {workload.title}; {rounds} rounds of {len(names)} systems')
        for number in range(rounds):
            for name in names:
                self.measure(workload, name, number)
            if workload.with_disk:
                self.raw(workload, number)

    def wanted(self, workload, name):
        if self.options.systems and name not in self.options.systems:
            return False
        if not workload.needs_rate or (name == 'mqd' and workload.series == 'backlog'):
            return True
        rate = self.median(workload.needs_of, name, 'end_to_end_per_second')
        return name == 'mqd' if rate is None else rate >= workload.needs_rate


def pick(result, path):
    for part in path.split('.'):
        result = result.get(part) if isinstance(result, dict) else None
    return result


def describe(result):
    rate = result.get('end_to_end_per_second') or result.get('messages_per_second') or 0
    confirm = result.get('confirm_us') or {}
    text = f'{rate:12,.0f} msg/s  confirm p50 {confirm.get("p50", 0):9,.0f} us'
    if result.get('end_to_end_us'):
        text += f'  end to end p50 {result["end_to_end_us"]["p50"]:9,.0f} us'
    return text
