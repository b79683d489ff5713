# SPDX-License-Identifier: Apache-2.0
"""The early warning on made-up runs: what it rests on, and that it never looks ahead."""

import math

import pytest

from lightning_interp.phases import PhaseDetector, detect_phases
from lightning_interp.phases.coefficients import PERCENTILE_THRESHOLD
from lightning_interp.phases.detector import fold
from lightning_interp.phases.early_warning import logistic

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
            "heldout_accuracy": lambda s: 0.01 + 0.98 * (1 - histories.fall(s, GROK, 0.3)) * groks,
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


def test_losses_alone_raise_no_warning(histories):
    table = histories.grokking(accuracy=False)
    assert warned(table) is None
    assert set(dict(detect_phases(table).intensities["generalization"]).values()) == {0.0}


def test_a_network_that_learned_as_it_fitted_has_nothing_to_be_warned_of(run, histories):
    table = run(groks=True, percentile=True)
    table["heldout_accuracy"] = [0.01 + 0.7 * (1 - histories.fall(s, 120, 0.1)) for s in table["step"]]
    assert warned(table) is None


def test_a_sign_before_the_fit_warns_of_nothing_until_then(run):
    table = run(groks=True, percentile=True)
    table["heldout_percentile_z"] = [20.0] * len(table["step"])
    assert warned(table) >= 120


def test_no_warning_comes_once_heldout_data_is_solved(run):
    table = run(groks=True)
    table["heldout_accuracy"] = [0.01 if s < GROK else 0.99 for s in table["step"]]
    assert warned(table) is None


def test_without_heldout_answers_nothing_is_raised(run):
    table = run(groks=True)
    del table["heldout_accuracy"]
    table["heldout_margin"] = table["train_margin"] = [1.0 + s for s in table["step"]]
    assert warned(table) is None


@pytest.mark.parametrize("percentile", [False, True])
def test_the_past_does_not_change_when_the_future_comes(run, percentile):
    table = run(groks=True, percentile=percentile)
    whole = [timeline.intensities["generalization"] for _, timeline in fold(table)]
    for end in range(9, len(table["step"]), 10):
        cut = {name: column[: end + 1] for name, column in table.items()}
        assert detect_phases(cut).intensities["generalization"] == whole[end]


def test_a_probability_is_never_certain():
    assert 0 < logistic(-math.inf) < 1e-12 and 1 - 1e-12 < logistic(math.inf) < 1
