# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from scoring.courses import Course, threshold_at
from scoring.labels import Label, first_run
from scoring.runs import ScoredRun
from scoring.warning_scores import AlarmRule, calibrated_rule, score_warning


def course(*values, alarm=None):
    return Course(np.arange(len(values), dtype=float), np.array(values, dtype=float), alarm)


def scored(kind, level, *, decay=1.0, grok=None):
    """A run of 100 steps whose score climbs evenly to a level."""
    label = Label(kind, 10, grok, grok, None, None, None, None, censored=False)
    metrics = {"step": np.arange(101.0), "score": np.linspace(0, level, 101)}
    return ScoredRun("run", "calibration", 10, decay, metrics, label)


def climb(run):
    return Course(run.metrics["step"], run.metrics["score"])


RUNS = [scored("grokking", 10.0, grok=80), scored("grokking", 4.0, grok=90)]
RUNS += [scored("memorization_only", 1.0), scored("memorization_only", 3.0, decay=0.0)]


def test_the_level_is_the_least_of_three_values_known_by_then():
    assert course(5, 1, 4, 3, 9).level(3) == 1 and course(5, 1, 4, 3, 9).level(4) == 3


def test_there_is_no_level_before_three_values():
    assert course(5, 1, 4).level(1) == -math.inf


def test_the_level_does_not_see_the_future():
    assert course(1, 1, 1, 9, 9, 9).level(2.9) == 1


def test_values_that_were_not_measured_are_skipped():
    assert course(5, math.nan, 4, 3).level(3) == 3


def test_one_value_over_a_threshold_is_no_alarm():
    assert course(0, 9, 0, 0, 9, 9, 9).first_over(5) == 6


def test_a_threshold_lets_a_share_of_the_negatives_pass():
    negatives = [course(top, top, top) for top in (1, 2, 3, 4)]
    assert [threshold_at(share, negatives) for share in (0.0, 0.25, 0.5)] == [4, 3, 2]


def test_a_condition_must_hold_in_a_row():
    assert first_run(np.array([True, False, True, True, True]), 2) == 2
    assert first_run(np.array([True, False]), 2) is None


def test_scores_of_four_runs_are_what_the_hand_finds():
    rule = calibrated_rule(climb, RUNS, 0.5)
    found = score_warning("climb", climb, rule, RUNS)
    # Half of two negatives may pass: the threshold is the sustained top of the lower one, .98.
    assert rule.threshold == pytest.approx(0.98)
    assert (found.detected.counted, found.false_alarms.counted) == ("2 of 2", "1 of 2")
    assert found.false_alarms_decayed.counted == "0 of 1"
    # .98 is passed by three values from 9.9 and from 24.6 steps on: alarms at 12 and 27, leads 68 of 80 and 63 of 90.
    assert found.lead_steps == pytest.approx((68 + 63) / 2)
    assert found.lead_share == pytest.approx((68 / 80 + 63 / 90) / 2)
    assert found.areas[0.5].value == 1.0


def test_an_alarm_after_generalization_is_no_detection():
    late = AlarmRule("late", 8.5)
    assert score_warning("climb", climb, late, RUNS).detected.counted == "0 of 2"


def test_a_published_rule_is_used_as_it_is():
    own = score_warning("own", lambda run: course(1, 1, 1, alarm=50), AlarmRule("its own"), RUNS)
    assert (own.detected.counted, own.false_alarms.counted, own.lead_steps) == ("2 of 2", "2 of 2", 35)
