# SPDX-License-Identifier: Apache-2.0
"""The early warning on made-up runs: what it rests on, and that it never looks ahead."""

import math

import pytest

from lightning_interp.phases import PhaseDetector, detect_phases
from lightning_interp.phases.coefficients import PERCENTILE_THRESHOLD
from lightning_interp.phases.detector import fold
from lightning_interp.phases.linear_score import LinearScore, logistic

GROK = 6000


@pytest.fixture
def run(histories):
    """A run that memorizes at 150; margins and rank move when it groks, or stay."""

    def run(*, groks, percentile=False):
        rise = (lambda s: 1 - histories.fall(s, GROK / 3, 0.3)) if groks else (lambda _: 0.0)
        given = {
            "train_loss": histories.train_curve(150),
            "train_accuracy": lambda s: 1 - 0.99 * histories.fall(s, 120, 0.05),
            "weight_norm": lambda s: 40.0 + 5 * rise(s),
            "effective_rank": lambda s: 45 - 15 * rise(s),
            "train_margin": lambda s: 0.4 + 1.6 * (1 - histories.fall(s, 150)) + rise(s),
            "heldout_margin": lambda s: 0.3 + 2 * rise(s),
        }
        if percentile:
            given["heldout_percentile_z"] = lambda s: 20 * (1 - histories.fall(s, GROK / 4, 0.4)) if groks else 1.0
        return histories.build(histories.log_steps(20_000), **given)

    return run


def warned(table):
    return next((alarm.step for alarm in detect_phases(table).alarms if alarm.name == "early_warning"), None)


@pytest.mark.parametrize("percentile", [False, True])
def test_a_run_that_groks_is_warned_of_before_it_does(run, percentile):
    assert warned(run(groks=True, percentile=percentile)) < GROK


@pytest.mark.parametrize("percentile", [False, True])
def test_a_run_that_only_memorizes_is_not_warned_of(run, percentile):
    assert warned(run(groks=False, percentile=percentile)) is None


def test_the_percentile_decides_where_it_is_known(run):
    table = run(groks=True)
    table["heldout_percentile_z"] = [1.0] * len(table["step"])
    assert warned(table) is None


def test_the_score_is_one_half_at_the_threshold():
    detector = PhaseDetector()
    detector.update(0, {"heldout_percentile_z": PERCENTILE_THRESHOLD})
    assert detector.warning.score == 0.5


def test_nothing_tells_before_the_training_set_is_fitted(run):
    table = run(groks=True)
    table["train_accuracy"] = [0.5] * len(table["step"])
    table["train_loss"] = [3.0] * len(table["step"])
    assert {value for _, value in detect_phases(table).intensities["generalization"]} == {0.0}


def test_a_missing_series_leaves_the_warning_to_the_losses(run, histories):
    table = run(groks=True)
    del table["heldout_margin"]
    assert set(dict(detect_phases(table).intensities["generalization"]).values()) == {0.0}


@pytest.mark.parametrize("percentile", [False, True])
def test_the_past_does_not_change_when_the_future_comes(run, percentile):
    table = run(groks=True, percentile=percentile)
    whole = [timeline.intensities["generalization"] for _, timeline in fold(table)]
    for end in range(9, len(table["step"]), 10):
        cut = {name: column[: end + 1] for name, column in table.items()}
        assert detect_phases(cut).intensities["generalization"] == whole[end]


def test_values_that_have_no_logarithm_tell_nothing(run):
    table = run(groks=True)
    table["heldout_margin"] = [0.0] * len(table["step"])
    assert warned(table) is None


def test_log_odds_are_linear_up_to_five_deviations():
    score = LinearScore(-1.0, {"a": (2.0, 0.5, 3.0)})
    assert [score.log_odds({"a": a}) for a in (2.0, 2.5, 100.0)] == [-1.0, 2.0, 14.0]


def test_a_probability_is_never_certain():
    assert 0 < logistic(-math.inf) < 1e-12 and 1 - 1e-12 < logistic(math.inf) < 1
