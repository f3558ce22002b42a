"""What is measured: a workload is one command line of the drivers, for several systems in turn."""
from dataclasses import dataclass, field

PEERS = ['redis streams', 'rabbitmq quorum', 'rabbitmq classic', 'beanstalkd', 'nats jetstream']
DURABLE = ['mqd'] + PEERS
ALL = ['mqd', 'null broker'] + PEERS

SIZES = {10: '10 B', 100: '100 B', 1024: '1 KiB', 10240: '10 KiB', 102400: '100 KiB',
         1048576: '1 MiB'}
# With a publish stream for each, and consume streams: the broker takes 10,000 streams.
MANY_QUEUES = 9_800


@dataclass
class Workload:
    key: str
    goal: str  # of the list of goals: 'S1'
    title: str
    systems: list
    arguments: dict = field(default_factory=dict)
    series: str = ''  # the plot that it is a point of
    at: float = 0  # where on the plot's axis
    needs_rate: float = 0  # left out for a system that did less than this in needs_of
    needs_of: str = ''
    seconds: float = 0  # 0: as asked for
    rounds: int = 0
    with_disk: bool = False  # raw_fsync is measured beside them
    special: str = ''  # the function of special.py that runs it
    idle_queues: int = 0
    idle_streams: int = 0


def clients(producers, consumers, queues, size, **more):
    return {'producers': producers, 'consumers': consumers, 'queues': queues, 'size': size, **more}


def main_workloads():
    return [
        Workload('S1', 'S1', '1 producer, 1 consumer, 100 B', ALL, clients(1, 1, 1, 100),
                 series='size', at=100, with_disk=True),
        Workload('S2', 'S2', '1 producer, 1 consumer, 1 KiB', ALL, clients(1, 1, 1, 1024),
                 series='size', at=1024, with_disk=True),
        Workload('S3-one', 'S3', '8 producers, 8 consumers, 1 queue, 100 B', ALL,
                 clients(8, 8, 1, 100)),
        Workload('S3-eight', 'S3', '8 producers, 8 consumers, 8 queues, 100 B', ALL,
                 clients(8, 8, 8, 100)),
        Workload('S4', 'S4', '1,000 messages a second of 1 KiB', ALL,
                 clients(1, 1, 1, 1024, rate=1000), series='load', at=1000, with_disk=True),
        Workload('S10', 'S10', 'nothing on disk, 100 B', ['mqd memory', 'null broker'],
                 clients(1, 1, 1, 100)),
    ]


def size_workloads(sizes):
    return [Workload(f'S12-size-{size}', 'S12', f'1 producer, 1 consumer, {SIZES[size]}', ALL,
                     clients(1, 1, 1, size), series='size', at=size) for size in sizes]


def load_workloads(rates):
    return [Workload(f'S4-{rate}', 'S4', f'{rate:,} messages a second of 1 KiB', ALL,
                     clients(1, 1, 1, 1024, rate=rate), series='load', at=rate,
                     needs_rate=rate / 0.8, needs_of='S2') for rate in rates]


def queue_workloads(counts, peers_most):
    return [Workload(f'S12-queues-{count}', 'S12',
                     f'1 producer, 1 consumer, {count:,} queues, 100 B',
                     DURABLE if count <= peers_most else ['mqd'],
                     {**clients(1, 1, count, 100), **({'warm-up': 5} if count > 1000 else {})},
                     series='queues', at=count) for count in counts]


def backlog_workloads(backlogs):
    return [Workload(f'S12-backlog-{count}', 'S12', f'1 producer, 1 consumer, 100 B, '
                     f'{count:,} messages in front', DURABLE,
                     {**clients(1, 1, 1, 100, fill=count), 'warm-up': 0}, series='backlog',
                     at=count, needs_rate=count / 15, needs_of='S1') for count in backlogs]


def feature_workloads(live_keys):
    """The goals that no other system has a match for."""
    return [
        Workload('S5', 'S5', f'idempotency keys on every message, {live_keys:,} live ones, 100 B',
                 ['mqd'], {**clients(1, 1, 1, 100, fill=live_keys), 'idempotent': True,
                           'consume-fill': True}, rounds=1),
        Workload('S6', 'S6', 'KEYED: 1,000 keys, 4 producers, 16 consumers, 100 B', ['mqd'],
                 {**clients(4, 16, 1, 100), 'ordering-keys': 1000}),
    ]


def special_workloads(backlog, queues, idle_queues, idle_streams):
    return [
        Workload('S7', 'S7', f'{backlog:,} messages of 100 B in, a restart, and out', ['mqd'],
                 clients(1, 1, 1, 100, fill=backlog), special='backlog'),
        Workload('S8', 'S8', f'{queues:,} queues with one message a second each; '
                 f'{idle_queues:,} idle queues; {idle_streams:,} idle streams', ['mqd'],
                 {**clients(4, 4, queues, 100, rate=queues), 'warm-up': 5}, special='idle',
                 idle_queues=idle_queues, idle_streams=idle_streams),
        Workload('S11', 'S11', 'Python clients: a call with 1 message, and with 100, 100 B',
                 ['mqd', 'redis streams', 'rabbitmq quorum', 'rabbitmq classic'],
                 clients(1, 0, 1, 100), special='python_clients'),
    ]


def quick():
    return (main_workloads() + size_workloads([10, 10240, 1048576]) + load_workloads([10000])
            + queue_workloads([100], 1) + backlog_workloads([100000]))


def full():
    return (main_workloads() + size_workloads([10, 10240, 102400, 1048576])
            + load_workloads([5000, 20000, 50000, 100000, 200000])
            + queue_workloads([10, 100, MANY_QUEUES], 100)
            + backlog_workloads([10000, 1000000, 10000000]) + feature_workloads(10_000_000)
            + special_workloads(10_000_000, MANY_QUEUES, 10_000, 1_000))


def everything(is_quick):
    """What --only chooses from; what is quick is less of the same."""
    if is_quick:
        more = feature_workloads(100_000) + special_workloads(200_000, 500, 1_000, 100)
        return quick() + more
    return full()
