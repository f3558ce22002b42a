"""The table says what the figures say, and a failure cannot hide in it."""
import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

import report
import soak
from promises import PROMISES, Promise
from steps import STEPS

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
PROMISE = Promise('R1', 'kept', 'kills', 100, 1_000)


class VerdictTest(unittest.TestCase):
    def test_one_violation_outweighs_any_number_of_trials(self):
        self.assertEqual(report.verdict(PROMISE, 10**9, 10**9, 1), 'VIOLATED')

    def test_promise_that_nothing_tried_does_not_hold(self):
        self.assertEqual(report.verdict(PROMISE, 0, 0, 0), 'NOT RUN')

    def test_trials_and_confirmed_messages_must_both_be_enough(self):
        self.assertEqual(report.verdict(PROMISE, 99, 1_000, 0), 'TOO FEW')
        self.assertEqual(report.verdict(PROMISE, 100, 999, 0), 'TOO FEW')
        self.assertEqual(report.verdict(PROMISE, 100, 1_000, 0), 'holds')


class ReportTest(unittest.TestCase):
    def report(self, figures, *arguments):
        """The exit code and the table for these figures."""
        with tempfile.NamedTemporaryFile('w', suffix='.jsonl') as file:
            for promise, trials, violations in figures:
                file.write(json.dumps({'promise': promise, 'trials': trials, 'confirmed': 10**6,
                                       'violations': violations, 'note': ''}) + '\n')
            file.flush()
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                sys.argv = ['report.py', file.name, *arguments]
                return report.main(), out.getvalue()

    def test_figures_of_several_runs_are_added(self):
        _, table = self.report([('R14', 10, 0), ('R14', 25, 0)])
        self.assertIn('35 kills', table)

    def test_all_of_the_promises_must_hold(self):
        enough = [(each.name, each.gate, 0) for each in PROMISES]
        options = ['--with=' + each.option for each in PROMISES if each.option]
        self.assertEqual(self.report(enough, *options)[0], 0)
        for i in range(len(enough)):
            self.assertEqual(self.report(enough[:i] + enough[i + 1:], *options)[0], 1, enough[i])

    def test_promise_of_an_option_may_be_missing_without_it_and_not_be_violated(self):
        usual = [(each.name, each.gate, 0) for each in PROMISES if not each.option]
        self.assertEqual(self.report(usual)[0], 0)
        self.assertEqual(self.report([*usual, ('R18', 1_000, 1)])[0], 1)

    def test_figure_of_an_unknown_promise_is_an_error(self):
        usual = [(each.name, each.gate, 0) for each in PROMISES if not each.option]
        self.assertEqual(self.report([*usual, ('R99', 1, 0)])[0], 1)


class SlopeTest(unittest.TestCase):
    def test_growth_of_a_byte_a_second_is_3600_an_hour(self):
        self.assertAlmostEqual(soak.slope([(t, 5 + t) for t in range(100)]), 3600)

    def test_flat_is_zero(self):
        self.assertEqual(soak.slope([(t, 7) for t in range(10)]), 0)


class StepsTest(unittest.TestCase):
    def test_every_corpus_of_a_step_is_there(self):
        for step in STEPS.values():
            for word in step.words:
                if word.startswith('tests/'):
                    self.assertTrue(os.path.isdir(os.path.join(ROOT, word)), word)

    def test_seed_and_build_are_filled_in(self):
        words, variables = STEPS['model'].command('/b', 17)
        self.assertEqual(words[0], '/b/tests/model/queue_model_test')
        self.assertEqual(variables['MQD_MODEL_FIRST_SEED'], '17')


if __name__ == '__main__':
    unittest.main()
