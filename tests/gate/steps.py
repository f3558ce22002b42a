"""What the long form runs: each step with a seed, and how it is run again with the same one."""
import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """A program of the build tree; `{seed}` and `{build}` in words and variables are filled in."""
    name: str
    words: list
    variables: dict = field(default_factory=dict)
    weight: int = 1      # how often it is drawn
    limit_s: int = 900   # a run that takes longer has failed

    def command(self, build, seed):
        fill = {'build': build, 'seed': seed}
        words = [word.format(**fill) for word in self.words]
        return words, {**os.environ,
                       **{key: value.format(**fill) for key, value in self.variables.items()}}


def crash(fault, weight=1):
    words = ['{build}/tests/crash/crash_test', '--mqd', '{build}/server/mqd', '--fault', fault,
             '--seed', '{seed}']
    if fault in ('power', 'all'):
        words += ['--test-daemon', '{build}/tests/crash/mqd_test_daemon']
    if fault in ('clock', 'all'):
        words += ['--clock-shim', '{build}/tests/crash/libmqd_clock_shim.so']
    if fault == 'all':
        words += ['--strikes', '12', '--messages', '40000']
    return Step(f'crash-{fault}', words, weight=weight)


def fuzz(target, runs):
    return Step(f'fuzz-{target}',
                [f'{{build}}/tests/fuzz/fuzz_{target}', f'tests/fuzz/corpus/{target}', str(runs)],
                {'MQD_FUZZ_SEED': '{seed}'})


STEPS = {step.name: step for step in [
    Step('model', ['{build}/tests/model/queue_model_test', '--gtest_brief=1'],
         {'MQD_MODEL_FIRST_SEED': '{seed}', 'MQD_MODEL_SEEDS': '800'}, weight=4),
    Step('simulation', ['{build}/tests/simulation/simulation_test', '--gtest_brief=1'],
         {'MQD_SIMULATION_FIRST_SEED': '{seed}', 'MQD_SIMULATION_SEEDS': '48'}, weight=2),
    Step('crash-points', ['{build}/tests/conformance/crash_points_test', '--gtest_brief=1'],
         {'MQD_CRASH_SEED': '{seed}'}, weight=2),
    Step('power-cuts', ['{build}/tests/conformance/power_cut_test', '--gtest_brief=1',
                        '--gtest_filter=*PowerCutTest*'], {'MQD_CRASH_SEED': '{seed}'}, weight=2),
    crash('kill', 4),
    *map(crash, ['network', 'pause', 'recovery', 'shutdown', 'consumers', 'descriptors', 'clock',
                 'power', 'all']),
    Step('keyed', ['{build}/tests/crash/keyed_test', '--mqd', '{build}/server/mqd']),
    *(fuzz(target, 200_000) for target in [
        'publish_frame', 'deliveries_frame', 'body', 'chunk_record', 'settle_record',
        'attempt_record', 'dedup_record', 'meta_record', 'node_row', 'settle_ranges', 'settings',
        'name', 'units']),
    fuzz('session', 30_000),
    fuzz('config', 5_000),
]}
