# SPDX-License-Identifier: Apache-2.0
"""Labels of runs whose course is made up, so that what they must be is known."""

import math

import numpy as np
import pytest
from phase_histories import build, fall, overfit
from scoring.labels import label
from scoring.runs import ScoredRun

STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 20_000, 200).round()])).astype(int)
CLASSES = 100
MEM, GROK = 150, 6000


@pytest.fixture
def metrics():
    """Columns of a grokking run, some of its curves replaced."""

    def metrics(**curves):
        given = {
            "train_loss": lambda s: 1e-6 + math.log(CLASSES) * fall(s, MEM, 0.1),
            "train_accuracy": lambda s: 1 - 0.99 * fall(s, MEM, 0.05),
            "heldout_loss": lambda s: overfit(s, MEM, 15.0) * fall(s, GROK, 0.07) + 1e-4,
            "heldout_accuracy": lambda s: 1 - 0.99 * fall(s, GROK, 0.05),
        } | curves
        table = build(STEPS.tolist(), **given)
        return {name: np.asarray(values, dtype=float) for name, values in table.items()}

    return metrics


@pytest.fixture
def labelled(metrics):
    def labelled(shuffled=0.0, **curves):
        return label(metrics(**curves), classes=CLASSES, answers_shuffled=shuffled)

    return labelled


def near(step, expected):
    """Within four records of what the formula says."""
    at = int(np.searchsorted(STEPS, expected))
    return step is not None and STEPS[max(at - 4, 0)] <= step <= STEPS[min(at + 4, len(STEPS) - 1)]


def test_memorizing_first_and_generalizing_later_is_grokking(labelled):
    found = labelled()
    # Accuracy passes .99 where the logistic is at 1/99: 4.6 widths of .05 after its middle; .95 at 2.9 widths.
    assert found.kind == "grokking"
    assert near(found.t_mem, MEM * math.exp(4.6 * 0.05)) and near(found.t_grok, GROK * math.exp(2.9 * 0.05))


def test_memorization_ends_at_the_peak_of_the_heldout_loss(labelled, metrics):
    found, table = labelled(), metrics()
    after = found.t_mem <= STEPS
    assert found.t_formation == STEPS[after][np.argmax(table["heldout_loss"][after])]


def test_memorization_ends_at_the_least_excluded_loss_where_that_is_known(labelled):
    found = labelled(excluded_loss=lambda s: 1e-3 + abs(math.log((s + 1) / 900)))
    assert near(found.t_formation, 900) and found.formation_by == "excluded_loss"


def test_an_excluded_loss_that_only_falls_has_no_minimum(labelled):
    falling = labelled(excluded_loss=lambda s: 1 / (s + 1))
    assert (falling.t_formation, falling.formation_by) == (labelled().t_formation, "heldout_loss")


def test_losses_mark_no_boundary_where_no_cross_entropy_is_trained(metrics):
    found = label(metrics(), classes=CLASSES, answers_shuffled=0.0, cross_entropy=False)
    assert (found.kind, found.t_formation, found.t_cleanup) == ("grokking", None, None)


def test_cleanup_begins_where_the_heldout_loss_is_under_chance(labelled):
    # 15 nats fall to ln 100 = 4.6 where the logistic is at .307: .81 widths of .07 after its middle.
    assert near(labelled().t_cleanup, GROK * math.exp(0.81 * 0.07))


def test_shuffled_answers_whose_loss_shrinks_are_not_partly_learned(labelled):
    shrinking = {"heldout_accuracy": lambda _: 0.01, "heldout_loss": lambda s: 5 + 10 * fall(s, 3000)}
    found = labelled(0.99, **shrinking)
    assert (found.kind, found.censored) == ("memorization_only", False)


def test_half_of_two_classes_is_a_full_shuffle(metrics):
    flat = metrics(heldout_accuracy=lambda _: 0.5)
    assert not label(flat, classes=2, answers_shuffled=0.5).censored


def test_values_that_were_not_recorded_are_passed_over(metrics):
    table = metrics(heldout_accuracy=lambda s: 1 - 0.99 * fall(s, GROK, 0.05) - 0.5 * (s > 15_000))
    table["heldout_accuracy"][[20, -1]] = math.nan
    assert label(table, classes=CLASSES, answers_shuffled=0.0).kind == "collapse"


@pytest.mark.parametrize(("shuffled", "censored"), [(0.0, True), (0.99, False)])
def test_no_generalization_is_censored_only_where_there_is_something_to_learn(labelled, shuffled, censored):
    curves = {"heldout_accuracy": lambda _: 0.01, "heldout_loss": lambda s: overfit(s, MEM, 15.0)}
    found = labelled(shuffled, **curves)
    assert (found.kind, found.censored) == ("memorization_only", censored)


def test_solving_held_out_data_with_the_training_set_is_early(labelled):
    found = labelled(heldout_accuracy=lambda s: 1 - 0.99 * fall(s, MEM * 1.1, 0.05))
    assert found.kind == "early_generalization"


def test_losing_what_was_solved_is_collapse(labelled):
    found = labelled(heldout_accuracy=lambda s: 1 - 0.99 * fall(s, GROK, 0.05) - 0.5 * (s > 15_000))
    assert found.kind == "collapse"


def test_never_fitting_is_not_fitted(labelled):
    assert labelled(train_accuracy=lambda _: 0.5, heldout_accuracy=lambda _: 0.3).kind == "not_fitted"


@pytest.mark.parametrize("end", [10.0, math.nan])
def test_a_train_loss_that_ends_high_is_divergence(labelled, end):
    assert labelled(train_loss=lambda s: 4.0 if s < 19_000 else end).kind == "diverged"


def test_solving_half_is_partial(labelled):
    assert labelled(heldout_accuracy=lambda s: 0.5 - 0.49 * fall(s, GROK, 0.05)).kind == "partial"


@pytest.mark.parametrize(
    "lost",
    [
        {"heldout_accuracy": lambda s: 1 - 0.99 * fall(s, GROK, 0.05) - 0.5 * (s > 15_000)},
        {"train_loss": lambda s: 4.0 if s < 19_000 else 10.0},
    ],
    ids=["collapsed", "diverged"],
)
def test_a_late_generalizer_that_was_lost_counts_as_positive(metrics, lost):
    facts = {"name": "x", "part": "calibration", "classes": CLASSES, "weight_decay": 1.0}
    run = ScoredRun.of(facts | {"answers_shuffled": 0.0, "cross_entropy": True}, metrics(**lost))
    assert run.positive and not run.negative and run.budget == 20_000


def test_a_run_that_never_fitted_and_might_have_learned_is_no_negative(metrics):
    facts = {"name": "x", "part": "calibration", "classes": CLASSES, "weight_decay": 1.0}
    table = metrics(train_accuracy=lambda _: 0.5, heldout_accuracy=lambda _: 0.3)
    run = ScoredRun.of(facts | {"answers_shuffled": 0.0, "cross_entropy": True}, table)
    assert run.label.censored and not run.negative
