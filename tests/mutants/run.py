#!/usr/bin/env python3
"""Plants each bug of proto/base/mutant.h in turn and sees whether the tests notice.

Usage: run.py --build DIR [--only NAME...]
       run.py --check BINARY

DIR is a build of the target tests_mutants of the preset `mutants`. The tests of the table run once
without a bug, and all of them must pass; then, for each mutant, those that are expected to catch
it. Prints a Markdown table and ends with 1 when a mutant escapes. Only a test that ran and failed
is a catch: one that could not start, or that ran out of time, is none. --check only sees that
header, sources and table name the same mutants, and that BINARY, of an ordinary build, holds
nothing of them.
"""
import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

from table import MUTANTS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / 'tests' / 'support'))
import figures

# Fewer histories and crash points than the suite runs: a bug shows in the first few.
SMALL = {'MQD_MODEL_SEEDS': '160', 'MQD_CRASH_STRIDE': '6'}


@dataclasses.dataclass
class Run:
    passed: list
    failed: list
    broken: list  # could not start, timed out
    seconds: float


def names_of_the_header():
    text = (ROOT / 'proto' / 'base' / 'mutant.h').read_text(encoding='utf-8')
    body = text.split('#define MQD_MUTANT_LIST(M)')[1].split('// clang-format on')[0]
    return re.findall(r'M\((\w+)\)', body)


def names_that_are_planted():
    names = set()
    for folder in ('storage', 'server', 'client', 'proto/wire'):
        for path in (ROOT / folder).rglob('*'):
            if path.suffix in ('.h', '.cc'):
                names.update(re.findall(r'MQD_MUTANT\((\w+)\)', path.read_text(encoding='utf-8')))
    return names


def check_table():
    """The header, the sources and the table must name the same mutants."""
    listed = names_of_the_header()
    table = [mutant.name for mutant in MUTANTS]
    for what, names in (('the table', table), ('the sources', names_that_are_planted())):
        odd = set(listed) ^ set(names)
        if odd or len(names) != len(set(names)):
            sys.exit(f'proto/base/mutant.h and {what} differ in: {", ".join(sorted(odd))}')


def check_binary(path):
    if b'MQD_MUTANT' not in pathlib.Path(path).read_bytes():
        return 0
    print(f'{path} reads MQD_MUTANT: it is no ordinary build')
    return 1


def run_tests(build, expression, mutant=None):
    environment = {**os.environ, **SMALL}
    environment.pop('MQD_MUTANT', None)
    environment.pop('MQD_FIGURES', None)  # what a mutated test counts is no figure
    if mutant:
        environment['MQD_MUTANT'] = mutant
    with tempfile.TemporaryDirectory() as directory:
        report = os.path.join(directory, 'report.xml')
        begun = time.monotonic()
        log = subprocess.run(
            ['ctest', '--test-dir', build, '-R', expression, '--output-junit', report,
             '--no-tests=error', '--parallel', str(os.cpu_count()), '--timeout', '60'],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False)
        seconds = time.monotonic() - begun
        if not os.path.exists(report):
            sys.exit(f'ctest has left no report:\n{log.stdout}')
        return read_report(report, seconds)


def read_report(path, seconds):
    run = Run([], [], [], seconds)
    for case in xml.etree.ElementTree.parse(path).getroot().iter('testcase'):
        name = case.get('name').split('  # ')[0]  # behind it is the parameter's value
        failure = case.find('failure')
        why = '' if failure is None else failure.get('message', '')
        output = case.findtext('system-out', '')
        if case.get('status') == 'run':
            run.passed.append(name)
        elif case.get('status') != 'fail' or 'imeout' in why or 'MQD_MUTANT is no' in output:
            run.broken.append(f'{name} ({why or case.get("status")})')
        else:
            run.failed.append(name)
    return run


def try_mutant(build, mutant):
    """A row of the table, and whether the mutant was caught."""
    run = run_tests(build, mutant.tests, mutant.name)
    caught = bool(run.failed)
    by = '<br>'.join(run.failed[:2]) if caught else '**ESCAPED**'
    if len(run.failed) > 2:
        by += f' and {len(run.failed) - 2} more'
    if not caught and run.broken:
        by += f' ({run.broken[0]})'
    print(f'| `{mutant.name}` | {mutant.promise} | {mutant.bug} | {by} | {run.seconds:.1f} |',
          flush=True)
    return caught


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build')
    parser.add_argument('--only', nargs='+', metavar='NAME', default=[])
    parser.add_argument('--check', metavar='BINARY')
    options = parser.parse_args()
    check_table()
    if options.check:
        return check_binary(options.check)
    if not options.build:
        parser.error('--build is missing')
    unknown = set(options.only) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f'no such mutant: {", ".join(sorted(unknown))}')
    mutants = [one for one in MUTANTS if not options.only or one.name in options.only]

    plain = run_tests(options.build, '|'.join(one.tests for one in mutants))
    if plain.failed or plain.broken:
        print('without any bug these fail:', *plain.failed, *plain.broken, sep='\n  ')
        return 1
    for one in mutants:
        if not any(re.search(one.tests, name) for name in plain.passed):
            print(f'{one.name}: no test of the build matches {one.tests}')
            return 1
    print(f'{len(plain.passed)} tests pass without a bug ({plain.seconds:.0f} s).\n')
    print('| mutant | promise | what is broken | caught by | s |\n|---|---|---|---|---|')
    escaped = sum(not try_mutant(options.build, mutant) for mutant in mutants)
    print(f'\n{len(mutants) - escaped} of {len(mutants)} mutants are caught.')
    figures.add('R23', trials=len(mutants), violations=escaped)
    return 1 if escaped else 0


if __name__ == '__main__':
    sys.exit(main())
