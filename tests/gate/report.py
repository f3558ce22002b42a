#!/usr/bin/env python3
"""Adds up the figures of a run of the suite and prints them beside what the gate asks for.

Usage: report.py FIGURES [--with --sanitize] [--markdown]

FIGURES has one JSON object a line (tests/support/figures.h writes them). Ends with 1 when a promise
was violated, or was tried less often than the gate asks. What needs an option of deploy/test.sh
may be missing unless --with says that the option was given.
"""
import argparse
import json
import sys

from promises import PROMISES

FAILED = ('VIOLATED', 'NOT RUN', 'TOO FEW')
HEADER = ['', 'promise', 'trials', 'gate', 'confirmed', 'violations', '', 'note']


def add_up(path):
    """The sums of a file by promise: [trials, confirmed, violations, notes]."""
    sums = {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            figure = json.loads(line)
            own = sums.setdefault(figure['promise'], [0, 0, 0, []])
            for i, name in enumerate(('trials', 'confirmed', 'violations')):
                own[i] += figure[name]
            if figure['note'] and figure['note'] not in own[3]:
                own[3].append(figure['note'])
    return sums


def verdict(promise, trials, confirmed, violations, options=()):
    if violations:
        return 'VIOLATED'
    if trials == 0:
        asked = not promise.option or promise.option in options
        return 'NOT RUN' if asked else f'only {promise.option}'
    if trials < promise.gate or confirmed < promise.confirmed:
        return 'TOO FEW'
    return 'holds'


def rows(sums, promises, options=()):
    for promise in promises:
        trials, confirmed, violations, notes = sums.get(promise.name, (0, 0, 0, []))
        yield [promise.name, promise.text, f'{trials:,} {promise.trial}', f'{promise.gate:,}',
               f'{confirmed:,}' if confirmed else '', f'{violations:,}',
               verdict(promise, trials, confirmed, violations, options), '; '.join(notes)]


def print_table(table, markdown):
    if markdown:
        print('| ' + ' | '.join(HEADER) + ' |')
        print('|---' * len(HEADER) + '|')
        for row in table:
            print('| ' + ' | '.join(row) + ' |')
        return
    widths = [max(len(row[i]) for row in [HEADER, *table]) for i in range(len(HEADER))]
    for row in [HEADER, *table]:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('figures')
    parser.add_argument('--with', dest='options', action='append', default=[],
                        help='an option of deploy/test.sh')
    parser.add_argument('--markdown', action='store_true')
    options = parser.parse_args()
    sums = add_up(options.figures)
    table = list(rows(sums, PROMISES, options.options))
    print_table(table, options.markdown)
    unknown = sorted(set(sums) - {each.name for each in PROMISES})
    if unknown:
        print(f'figures of unknown promises: {", ".join(unknown)}', file=sys.stderr)
    return 1 if unknown or any(row[-2] in FAILED for row in table) else 0


if __name__ == '__main__':
    sys.exit(main())
