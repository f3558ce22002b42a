"""Writes what was measured as Markdown and SVG."""
import os
import subprocess

import goals
import plot

FIGURES = [('published_per_second', 'published/s'), ('consumed_per_second', 'consumed/s'),
           ('confirm_us.p50', 'confirm p50'), ('confirm_us.p99', 'p99'),
           ('confirm_us.p999', 'p99.9'), ('end_to_end_us.p50', 'end to end p50'),
           ('end_to_end_us.p99', 'p99'), ('end_to_end_us.p999', 'p99.9')]
SERIES = {'size': ('Throughput by size', 'messages a second, 1 producer and 1 consumer'),
          'load': ('Latency by load', 'publish to confirm in microseconds, 1 KiB'),
          'queues': ('Throughput by number of queues', 'messages a second, 100 B'),
          'backlog': ('Throughput by backlog', 'messages a second, 100 B')}


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ''


def disk_of(path):
    words = output_of(['findmnt', '--noheadings', '--output', 'FSTYPE,OPTIONS', '--target', path])
    return ' '.join(words.split())


def version_of(system):
    if system.broker.package:
        return output_of(['dpkg-query', '-W', '-f=${Version}', system.broker.package])
    program = system.broker.command()[0]
    words = output_of([program, '--version']).split() if system.broker.name == 'mqd' else []
    return words[-1] if words else 'this commit'


def number(value):
    if value is None:
        return ''
    if value >= 100:
        return f'{value:,.0f}'
    return f'{value:.3g}'


def row(cells):
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def table(head, rows):
    rule = row(['---'] + ['---:'] * (len(head) - 1))
    return [row(head), rule] + [row(one) for one in rows] + ['']


def measured(run):
    return {(record['workload'], record['system']) for record in run.records}


def machine_lines(run):
    about = run.machine
    return [f'`{about["command"].strip()}` at {about["commit"]}: medians of {about["rounds"]} '
            f'rounds of {about["seconds"]:g} s each, taken in turn.', '',
            f'{about["cores"]} cores of {about["model"]}, {about["memory_gib"]} GiB, Linux '
            f'{about["kernel"]}, disk {about["disk"]}. Broker and clients share the cores.', '']


def system_lines(run):
    seen = {name for _, name in measured(run)}
    rows = [(name, version_of(system), system.durability,
             'yes' if system.durable and name != 'mqd' else '')
            for name, system in run.systems.items() if name in seen]
    head = row(['system', 'version', 'what a confirm says', 'durable peer'])
    return ['## Systems', '', head, row(['---'] * 4)] + [row(one) for one in rows] + ['']


def goal_lines(run, listed):
    rows = goals.Goals(run).all(listed)
    if not rows:
        return []
    lines = ['## Goals', '', row(['goal', 'wanted', 'measured', '']), row(['---'] * 4)]
    return lines + [row([goal, wanted, value, 'reached' if reached else '**missed**'])
                    for goal, wanted, value, reached in rows] + ['']


def workload_lines(run, workload):
    names = [name for name in list(run.systems) + ['raw fsync']
             if (workload.key, name) in measured(run)]
    if not names or workload.special:
        return []
    ours = run.median(workload.key, names[0], goals.E2E) if names[0] == 'mqd' else None
    rows = []
    for name in names:
        figures = [number(run.median(workload.key, name, path)) for path, _ in FIGURES]
        value = run.median(workload.key, name, goals.E2E)
        fast = not workload.arguments.get('rate')
        ratio = f'{ours / value:.3g}' if ours and value and fast else ''
        written = run.median(workload.key, name, 'written_per_payload_byte')
        resident = run.median(workload.key, name, 'resident_bytes_max')
        rows.append([name] + figures + [ratio, '' if written is None else f'{written:.2f}',
                                        '' if resident is None else f'{resident / (1 << 20):.0f}'])
    head = (['system'] + [title for _, title in FIGURES]
            + ['mqd is ... times', 'written per byte', 'MiB'])
    return [f'### {workload.key}: {workload.title}', ''] + table(head, rows)


def special_lines(run, listed):
    lines = []
    for workload in listed:
        records = [one for one in run.records if one['workload'] == workload.key]
        if not workload.special or not records:
            continue
        lines += [f'### {workload.key}: {workload.title}', '']
        rows = []
        for name in dict.fromkeys(record['system'] for record in records):
            for figure in records[0]['result']:
                value = run.median(workload.key, name, figure)
                rows.append([name, figure.replace('_', ' '), number(value)])
        lines += table(['system', 'what', 'measured'], rows)
    return lines


def points_of(run, listed, series):
    """By system: (label of x, x, workload key), in the order of x."""
    places = [(one.at, one.key) for one in listed if one.series == series]
    if series in ('queues', 'backlog') and ('S1', 'mqd') in measured(run):
        places.append((1 if series == 'queues' else 0, 'S1'))
    return sorted(places)


def plot_lines(run, listed, out):
    lines = []
    for series, (title, unit) in SERIES.items():
        places = points_of(run, listed, series)
        curves = []
        for name in run.systems:
            for path, style in ([('confirm_us.p50', 'p50'), ('confirm_us.p99', 'p99')]
                                if series == 'load' else [(goals.E2E, '')]):
                values = [run.median(key, name, path) for _, key in places]
                if sum(value is not None for value in values) > 0:
                    curves.append((name, style, values))
        if len(places) < 2 or not curves:
            continue
        with open(os.path.join(out, f'{series}.svg'), 'w', encoding='utf-8') as file:
            file.write(plot.chart(title, unit, [short(at) for at, _ in places], curves))
        lines += [f'![{title}]({series}.svg)', '']
    return lines


def short(value):
    for size, unit in ((10 ** 6, 'M'), (10 ** 3, 'k')):
        if value >= size and value % size == 0:
            return f'{value // size:g}{unit}'
    return f'{value:g}'


def write(run, listed, out):
    lines = ['# What was measured', ''] + machine_lines(run) + system_lines(run)
    lines += goal_lines(run, listed)
    lines += ['## Workloads', '', 'Latencies in microseconds. Every confirmed message arrived, '
              'unless it is said below.', '']
    for workload in listed:
        lines += workload_lines(run, workload)
    lines += special_lines(run, listed)
    plots = plot_lines(run, listed, out)
    if plots:
        lines += ['## Plots', ''] + plots
    if run.failures:
        lines += ['## Failures', ''] + [f'- {failure}' for failure in run.failures] + ['']
    with open(os.path.join(out, 'RESULTS.md'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines).rstrip() + '\n')
