#!/usr/bin/env python3
"""Measures mqd and other queues side by side; run.sh builds what this needs."""
import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import sys

import report
import runner
import special
import systems
import workloads


def parse(arguments):
    parser = argparse.ArgumentParser(prog='tests/bench/run.sh', description=__doc__)
    parser.add_argument('--quick', action='store_true', help='less than ten minutes in all')
    parser.add_argument('--rounds', type=int, default=0, help='of every workload (5; quick: 3)')
    parser.add_argument('--seconds', type=float, default=0, help='of one run (5; quick: 1)')
    parser.add_argument('--only', default='', metavar='KEYS',
                        help='workloads by the begin of their key: S1,S12-size')
    parser.add_argument('--systems', default='', metavar='NAMES',
                        help='with commas between: mqd,redis streams')
    parser.add_argument('--out', default='build/bench', metavar='DIR', help='where results go')
    parser.add_argument('--data', default='build/bench/data', metavar='DIR',
                        help='where the systems keep their data; emptied before and after')
    parser.add_argument('--build', default='build/release', metavar='DIR')
    parser.add_argument('--port', type=int, default=16480, help='the first of ten')
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 5.0)
    options.warm_up = min(1.0, options.seconds / 2)
    options.data = os.path.abspath(options.data)
    options.systems = [name for name in options.systems.split(',') if name]
    return options


def chosen(options):
    if not options.only:
        return workloads.quick() if options.quick else workloads.full()
    listed = workloads.everything(options.quick)
    keys = options.only.split(',')
    found = [one for one in listed
             if any(one.key == key or one.key.startswith(key + '-') for key in keys)]
    if not found:
        sys.exit(f'run.sh: no workload begins with {options.only}; there are '
                 f'{", ".join(one.key for one in listed)}')
    return found


PLACES = ('--out', '--data', '--build')


def command(arguments):
    """As it was given, without where things lie: that says nothing about the figures."""
    words = iter(arguments)
    kept = []
    for word in words:
        if word in PLACES:
            next(words, None)
        elif not word.startswith(tuple(f'{place}=' for place in PLACES)):
            kept.append(word)
    return 'tests/bench/run.sh ' + shlex.join(kept)


def machine(options):
    with open('/proc/cpuinfo', encoding='ascii') as file:
        models = [line.split(':', 1)[1].strip() for line in file if line.startswith('model name')]
    with open('/proc/meminfo', encoding='ascii') as file:
        memory = int(file.readline().split()[1]) / (1 << 20)
    return {'command': command(sys.argv[1:]),
            'cores': len(models), 'model': models[0] if models else platform.machine(),
            'memory_gib': round(memory, 1), 'kernel': platform.release(),
            'disk': report.disk_of(options.data),
            'commit': report.output_of(['git', 'describe', '--always', '--dirty']),
            'rounds': options.rounds, 'seconds': options.seconds}


def run_all(run, listed):
    needed = []
    for workload in listed:
        for name in workload.systems:
            if name not in needed and (not run.options.systems or name in run.options.systems):
                needed.append(name)
    run.start(needed)
    for workload in listed:
        if workload.special:
            getattr(special, workload.special)(run, workload)
        else:
            run.run(workload)
        save(run, listed)


def save(run, listed):
    """After every workload, so that what is there survives what comes."""
    out = run.options.out
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, 'results.json'), 'w', encoding='utf-8') as file:
        json.dump({'machine': run.machine, 'records': run.records, 'failures': run.failures},
                  file, indent=1)
    report.write(run, listed, out)


def main():
    options = parse(sys.argv[1:])
    listed = chosen(options)
    shutil.rmtree(options.data, ignore_errors=True)
    os.makedirs(options.data)
    run = runner.Runner(options)
    run.machine = machine(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        run_all(run, listed)
    except systems.BenchError as error:
        run.fail(str(error))
    finally:
        run.stop()
        if not run.failures:
            shutil.rmtree(options.data, ignore_errors=True)
    run.say(f'written to {options.out}/RESULTS.md')
    with open(os.path.join(options.out, 'RESULTS.md'), encoding='utf-8') as file:
        print(file.read())
    for failure in run.failures:
        print(f'FAILED: {failure}', file=sys.stderr)
    return 1 if run.failures else 0


if __name__ == '__main__':
    sys.exit(main())
