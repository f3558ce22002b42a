#!/usr/bin/env python3
"""The suite's random tests with new seeds, one after the other, for as long as is asked.

Usage: long.py --build DIR --minutes N [--seed S]
       long.py --build DIR --again FILE..

Beside them one daemon carries a steady load, and its memory is watched. A step that fails is kept
as tests/regress/STEP-SEED.json; --again runs such files, or says that there are none. "variables"
may be added to such a file by hand, to make its run smaller. Ends with 1 when a step failed, or the
memory has grown.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import report
from promises import PROMISES
from soak import Soak
from steps import STEPS

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
REGRESS = os.path.join(ROOT, 'tests', 'regress')
OUTPUT_KEPT = 4000  # characters of a failed run


def run(step, build, seed, figures, smaller=()):
    """Whether it passed; prints the end of its output when it did not."""
    words, variables = step.command(build, seed)
    variables.update(smaller, MQD_FIGURES=figures)
    begin = time.monotonic()
    with tempfile.TemporaryFile('w+', errors='replace') as output:
        process = subprocess.Popen(words, env=variables, cwd=ROOT, stdout=output,
                                   stderr=subprocess.STDOUT)
        try:
            code = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            code = f'not done after {step.limit_s} s; {process.wait()}'
        seconds = time.monotonic() - begin
        print(f'{step.name:20} seed {seed:<12} {seconds:6.1f} s  '
              f'{"passed" if code == 0 else f"FAILED: {code}"}', flush=True)
        if code != 0:
            output.seek(0)
            print(output.read()[-OUTPUT_KEPT:], flush=True)
    return code == 0


def keep(step, seed):
    path = os.path.join(REGRESS, f'{step.name}-{seed}.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'step': step.name, 'seed': seed}, file)
        file.write('\n')
    print(f'kept as {os.path.relpath(path, ROOT)}', flush=True)


def again(build, paths):
    failed = 0
    for path in paths:
        with open(path, encoding='utf-8') as file:
            kept = json.load(file)
        failed += not run(STEPS[kept['step']], build, kept['seed'], os.devnull,
                          kept.get('variables', {}))
    print(f'{len(paths)} kept seeds, {failed} failed')
    return 1 if failed else 0


def print_sums(figures):
    sums = report.add_up(figures)
    tried = [promise for promise in PROMISES if promise.name in sums]
    report.print_table(list(report.rows(sums, tried)), markdown=True)
    return any(violations for _, _, violations, _ in sums.values())


def go_on(options):
    draw = random.Random(options.seed)
    names = [step.name for step in STEPS.values() for _ in range(step.weight)]
    figures = tempfile.NamedTemporaryFile('w', suffix='.jsonl', delete=False).name
    end = time.monotonic() + 60 * options.minutes
    runs = failed = 0
    soak = Soak(options.build)
    try:
        order = list(STEPS)  # each once, before chance has its way
        draw.shuffle(order)
        while time.monotonic() < end:
            step = STEPS[order.pop() if order else draw.choice(names)]
            seed = draw.randrange(1, 1 << 31)
            runs += 1
            if not run(step, options.build, seed, figures):
                failed += 1
                keep(step, seed)
    finally:
        steady = soak.stop()
    print(f'\n{runs} runs, {failed} failed, seed {options.seed}\n')
    violated = print_sums(figures)
    print()
    print(soak.summary())
    return 1 if failed or violated or not steady else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', required=True)
    parser.add_argument('--minutes', type=float)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument('--again', nargs='*')
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    if options.again is not None:
        return again(options.build, options.again)
    if not options.minutes:
        parser.error('give --minutes or --again')
    return go_on(options)


if __name__ == '__main__':
    sys.exit(main())
