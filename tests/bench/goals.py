"""What mqd is to reach, held against the medians of a run."""

E2E = 'end_to_end_per_second'


def best_peer(run, key, path, least=False):
    """The best durable peer's figure: (name, value), or None."""
    found = [(run.median(key, name, path), name) for name, system in run.systems.items()
             if system.durable and name != 'mqd']
    found = [one for one in found if one[0]]
    if not found:
        return None
    value, name = min(found) if least else max(found)
    return name, value


class Goals:
    """Rows of: goal, what was wanted, what came out, whether it was reached."""

    def __init__(self, run):
        self.run = run
        self.rows = []

    def mqd(self, key, path=E2E, system='mqd'):
        return self.run.median(key, system, path)

    def least(self, goal, value, wanted, unit, text=''):
        if value is not None:
            self.rows.append((goal, f'at least {wanted:,.4g} {unit} {text}'.strip(),
                              f'{value:,.4g} {unit}', value >= wanted))

    def most(self, goal, value, wanted, unit, text=''):
        if value is not None:
            self.rows.append((goal, f'at most {wanted:,.4g} {unit} {text}'.strip(),
                              f'{value:,.4g} {unit}', value <= wanted))

    def throughput(self):
        for key, wanted, ratio in (('S1', 1e6, 12), ('S2', 200e3, 8)):
            value = self.mqd(key)
            self.least(key, value, wanted, 'msg/s')
            peer = best_peer(self.run, key, E2E)
            if value and peer:
                self.least(key, value / peer[1], ratio, 'times',
                           f'the best durable peer ({peer[0]})')
        one = self.mqd('S1')
        for key, share in (('S3-one', 0.8), ('S3-eight', 1.0)):
            if one and self.mqd(key):
                self.least(key, self.mqd(key) / one, share, 'times', 'S1')
        self.least('S5', self.mqd('S5'), 300e3, 'msg/s')
        self.most('S5', self.mqd('S5', 'false_answers'), 0, 'false answers')
        self.least('S6', self.mqd('S6'), 400e3, 'msg/s')
        memory = self.mqd('S10', system='mqd memory')
        null = self.mqd('S10', system='null broker')
        self.least('S10', memory, 2e6, 'msg/s')
        if memory and null:
            self.least('S10', memory / null, 0.6, 'times', 'the null broker')

    def latency(self):
        for share in ('p50', 'p99'):
            value = self.mqd('S4', f'confirm_us.{share}')
            peer = best_peer(self.run, 'S4', f'confirm_us.{share}', least=True)
            if value and peer:
                self.most('S4', value, peer[1], 'us',
                          f'publish to confirm {share}: the best durable peer ({peer[0]})')
        disk = self.run.median('S4', 'raw fsync', 'confirm_us.p50')
        for path, what in (('confirm_us', 'confirm'), ('end_to_end_us', 'handler')):
            value = self.mqd('S4', f'{path}.p50')
            if value and disk:
                self.most('S4', value, disk + 200, 'us',
                          f'publish to {what} p50: fdatasync alone and 200 us')

    def resources(self):
        self.most('S9', self.mqd('S2', 'written_per_payload_byte'), 1.3,
                  'bytes written', 'a payload byte, 1 KiB')
        one = self.mqd('S1')
        self.most('S7', self.mqd('S7', 'resident_mib_max'), 400, 'MiB resident')
        if one and self.mqd('S7', 'drain_per_second'):
            self.least('S7', self.mqd('S7', 'drain_per_second') / one, 0.7, 'times', 'S1, drained')
        self.most('S7', self.mqd('S7', 'restart_seconds'), 5, 's', 'to restart')
        self.most('S8', self.mqd('S8', 'kib_per_queue'), 8, 'KiB', 'an idle queue')
        self.most('S8', self.mqd('S8', 'kib_per_stream'), 64, 'KiB', 'an idle consumer stream')
        self.most('S8', self.mqd('S8', 'cpu_cores'), 0.6, 'cores', 'at 10,000 queues')

    def growth(self, listed):
        one = self.mqd('S1')
        for workload in listed:
            value = self.mqd(workload.key)
            if one and value and workload.series in ('queues', 'backlog'):
                self.least(workload.key, value / one, 0.75, 'times', 'S1')

    def all(self, listed):
        self.throughput()
        self.latency()
        self.resources()
        self.growth(listed)
        return self.rows
