"""Workloads that are more than one command of a driver: S7, S8 and S11."""
import json
import os
import signal
import subprocess
import time

import runner
import systems

LIVE_SAMPLES = 5
PYTHON = '/usr/bin/python3'  # which has the clients that Debian packages


def fresh_mqd(run, name):
    """A broker of its own: what others left in its memory does not count."""
    broker = systems.Mqd(run.options.data, run.options.port + 9, run.build)
    broker.dir = os.path.join(run.options.data, name)
    broker.start()
    return broker


def words(workload, **more):
    arguments = {**workload.arguments, **more}
    return [word for key, value in arguments.items() for word in (f'--{key}', str(value))]


def backlog(run, workload):
    """Filled, ended as by a crash, started again, drained."""
    run.say(f'== {workload.key}: {workload.title}')
    fill = workload.arguments['fill']
    broker = fresh_mqd(run, 's7')
    try:
        with runner.ResidentMaximum(broker) as resident:
            filled = run.drive(broker, 'mqd', words(workload, phase='fill', name='s7'), fill / 2000)
        os.kill(broker.pid(), signal.SIGKILL)
        broker.process.wait()
        begin = time.monotonic()
        broker.launch()
        broker.wait_for(lambda: systems.port_open(broker.port))
        restart = time.monotonic() - begin
        with runner.ResidentMaximum(broker) as later:
            drained = run.drive(broker, 'mqd', words(workload, phase='drain', name='s7'),
                                fill / 2000)
        run.keep(workload.key, 'mqd', 0, {
            'messages_per_second': filled['fill_per_second'],
            'fill_per_second': filled['fill_per_second'],
            'restart_seconds': restart,
            'drain_per_second': drained['drain_per_second'],
            'resident_mib_max': max(resident.most, later.most) / (1 << 20)})
    finally:
        broker.stop()


def held(run, broker, arguments):
    """A driver that holds what it has opened, once it has opened everything."""
    command = [run.program('mqd_driver'), '--addr', broker.address, '--phase', 'hold'] + arguments
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = holder.stdout.readline()
    if not line:
        raise systems.BenchError('the driver that holds streams ended')
    json.loads(line)
    return holder


def growth(run, name, arguments, count):
    """KiB that each of `count` idle things costs the broker."""
    broker = fresh_mqd(run, name)
    try:
        held(run, broker, ['--producers', '1', '--consumers', '1']).communicate('', 60)
        before = broker.resident_bytes()
        holder = held(run, broker, arguments)
        most = 0
        for _ in range(LIVE_SAMPLES):
            most = max(most, broker.resident_bytes())
            systems.NOTHING.wait(0.2)
        holder.communicate('', 120)
        return (most - before) / 1024 / count
    finally:
        broker.stop()


def idle(run, workload):
    run.say(f'== {workload.key}: {workload.title}')
    queues, streams = workload.idle_queues, workload.idle_streams
    per_queue = growth(run, 's8-queues', ['--producers', '0', '--consumers', '0',
                                          '--queues', str(queues)], queues)
    run.say(f'S8: {per_queue:.1f} KiB an idle queue')
    per_stream = growth(run, 's8-streams', ['--producers', '0', '--consumers', str(streams)],
                        streams)
    run.say(f'S8: {per_stream:.1f} KiB an idle stream')
    broker = fresh_mqd(run, 's8-load')
    try:
        result = run.drive(broker, 'mqd', words(workload, seconds=max(3, run.options.seconds)), 60)
    finally:
        broker.stop()
    run.keep(workload.key, 'mqd', 0, {
        'messages_per_second': result['consumed_per_second'],
        'kib_per_queue': per_queue,
        'kib_per_stream': per_stream,
        'cpu_cores': result['broker_cpu_seconds'] / result['seconds'],
        'confirm_p50_us': result['confirm_us']['p50'],
        'confirm_p99_us': result['confirm_us']['p99']})


def python_clients(run, workload):
    """The calls that wait for their result; with 100 messages where the client has such a call."""
    run.say(f'== {workload.key}: {workload.title}')
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'python_clients.py')
    names = [name for name in workload.systems if run.wanted(workload, name)]
    for number in range(run.options.rounds):
        for name in names:
            system = run.systems[name]
            for batch in (1, 100):
                os.sync()
                system.broker.resume()
                done = subprocess.run(
                    [PYTHON, script, '--system', system.driver, '--kind',
                     ' '.join(system.arguments[1:]), '--addr', system.broker.address, '--batch',
                     str(batch), '--seconds', str(min(3, run.options.seconds)), '--protos',
                     os.path.join(run.build, 'tests/bench/python')],
                    capture_output=True, text=True, check=False)
                system.broker.suspend()
                if done.returncode != 0:
                    run.fail(f'{workload.key}, {name}: {done.stderr.strip()[-500:]}')
                    continue
                result = json.loads(done.stdout)
                run.keep(workload.key, f'{name}, {batch} a call', number, result)
