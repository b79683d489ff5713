# SPDX-License-Identifier: Apache-2.0
"""Labels of ordinary trainings whose courses are made up, so that what is right to say of them is known."""

import math

import numpy as np
import pytest
from scoring.ordinary_labels import MOVED, STANDARD, label_with, ordinary_label, smoothed

STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 3000, 80).round()]))
NULL = math.log(10)
FACTS = {"null_loss": NULL, "null_error": 0.9, "heldout_examples": 500, "learnable": True, "switched": False}


def falls(at, to=0.0, since=1.0):
    """From a level to another, half of the way at a step."""
    return to + (since - to) / (1 + (STEPS / at) ** 3)


def curves(*, train=None, heldout=None, train_loss=None, heldout_loss=None):
    """A run from its errors as shares of the constant answer's; losses follow the errors if they are not given."""
    found = {"step": STEPS}
    train_loss = train if train_loss is None else train_loss
    heldout_loss = heldout if heldout_loss is None else heldout_loss
    found |= {"train_loss": NULL * train_loss, "heldout_loss": NULL * heldout_loss}
    if train is not None:
        found |= {"train_accuracy": 1 - 0.9 * train, "heldout_accuracy": 1 - 0.9 * heldout}
    return found


def right(metrics, view="accuracies", **facts):
    return ordinary_label(metrics, FACTS | facts, view=view).right


FITS = falls(30)
RISES = falls(30, 0.3) + 2.0 * (1 - falls(600))
"""Held-out loss to a third of the constant answer's and up to over twice that."""


def test_what_is_learned_as_it_is_fitted_generalized_early():
    assert right(curves(train=FITS, heldout=falls(35, 0.02))) == {"early_generalization"}


def test_what_is_solved_long_after_a_fit_at_chance_grokked():
    found = ordinary_label(curves(train=FITS, heldout=1 / (1 + (STEPS / 900) ** 9)), FACTS, view="accuracies")
    assert found.right == {"grokking"} and found.late and found.forming and found.t_gen > 2 * found.t_fit


def test_what_was_half_learned_at_the_fit_did_not_grok():
    heldout = np.minimum(falls(35, 0.3), falls(1500, 0.0))
    assert right(curves(train=FITS, heldout=heldout)) == {"partial_generalization"}


def test_what_was_mostly_learned_at_the_fit_is_early_however_late_the_rest_comes():
    heldout = np.minimum(falls(35, 0.3), 1 / (1 + (STEPS / 900) ** 9))
    assert right(curves(train=FITS, heldout=heldout)) == {"early_generalization"}


def test_a_loss_that_comes_back_up_is_overfitting_whatever_the_accuracy_does():
    metrics = curves(train=FITS, heldout=falls(35, 0.3), heldout_loss=RISES)
    assert right(metrics) == right(metrics, "losses") == {"overfitting"}


def test_a_solved_run_whose_loss_rises_is_both_with_accuracies_and_overfitting_from_losses():
    metrics = curves(train=FITS, heldout=falls(35, 0.03), heldout_loss=RISES)
    assert right(metrics) == {"early_generalization", "overfitting"}
    assert right(metrics, "losses") == {"overfitting"}


def test_permuted_answers_are_memorized():
    assert right(curves(train=FITS, heldout=np.ones_like(STEPS), heldout_loss=1 + STEPS / 1000)) == {"memorization_only"}


def test_what_cannot_be_learned_is_memorized_even_if_the_held_out_side_is_lucky():
    assert right(curves(train=FITS, heldout=falls(35, 0.6)), learnable=False) == {"memorization_only"}


def test_what_is_never_fitted_is_not_fitted():
    assert right(curves(train=falls(30, 0.4), heldout=falls(30, 0.5))) == {"not_fitted"}


def test_a_task_that_is_switched_is_forgotten_and_does_not_diverge():
    lost = FITS + 4 * (STEPS > 1500)
    metrics = curves(train=np.minimum(lost, 1.1), heldout=np.minimum(lost, 1.1), train_loss=lost, heldout_loss=lost)
    assert right(metrics, switched=True) == {"collapse"}
    assert right(metrics) == {"collapse", "diverged"}  # the same of a network that blew up cannot be told from it


def test_a_loss_that_is_no_number_diverged():
    metrics = curves(train=FITS, heldout=FITS)
    metrics["train_loss"] = np.where(STEPS > 500, np.nan, metrics["train_loss"])
    assert right(metrics) == {"diverged"}


def test_a_run_of_few_records_says_nothing():
    assert right({name: column[:9] for name, column in curves(train=FITS, heldout=FITS).items()}) == {"unknown"}


def test_what_begins_to_be_learned_after_the_fit_is_forming_and_not_late():
    found = ordinary_label(curves(train=FITS, heldout=falls(2500)), FACTS, view="accuracies")
    assert found.forming and not found.late
    from_far_over_chance = ordinary_label(curves(train=FITS, heldout=1 + falls(900, since=50.0)), FACTS, view="losses")
    assert not from_far_over_chance.forming  # a loss that falls back to the constant answer's has formed nothing


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e6])
def test_a_label_does_not_depend_on_the_unit_of_the_target(unit):
    metrics = {"step": STEPS, "train_loss": unit * FITS, "heldout_loss": unit * falls(35, 0.3)}
    assert right(metrics, null_loss=unit, null_error=None) == {"partial_generalization"}


def test_a_constant_answer_to_a_rare_class_solves_nothing():
    rare = curves(train=np.ones_like(STEPS), heldout=np.ones_like(STEPS))
    rare |= {"train_accuracy": np.full_like(STEPS, 0.99), "heldout_accuracy": np.full_like(STEPS, 0.99)}
    assert right(rare, null_error=0.01) == {"not_fitted"}


def test_a_dozen_held_out_examples_cannot_tell_solved_from_nearly():
    metrics = curves(train=FITS, heldout=falls(35, 0.0))
    assert right(metrics, heldout_examples=12) == {"early_generalization", "partial_generalization"}


@pytest.mark.parametrize(("level", "borderline"), [(0.02, False), (0.05, True)])
def test_a_label_that_a_moved_threshold_makes_wrong_is_borderline(level, borderline):
    # 4.5 % of the held-out answers are wrong in the second: solved at .95, not at .98
    found = ordinary_label(curves(train=FITS, heldout=falls(35, level)), FACTS, view="accuracies")
    assert (found.right, found.borderline) == ({"early_generalization"}, borderline)


def test_every_threshold_is_moved_both_ways():
    for name in ("fitted", "solved", "at_fit", "rise"):
        values = sorted(getattr(each, name) for each in MOVED if getattr(each, name) != getattr(STANDARD, name))
        assert len(values) == 2 and values[0] < getattr(STANDARD, name) < values[1]


def test_a_label_uses_the_thresholds_it_is_given():
    metrics = curves(train=FITS, heldout=falls(35, 0.05))
    strict = next(each for each in MOVED if each.solved == 0.98)
    assert label_with(metrics, FACTS, view="accuracies", at=strict).right == {"partial_generalization"}


def test_smoothing_takes_out_a_single_record_and_fills_a_gap():
    assert smoothed(np.array([1.0, 1.0, 9.0, 1.0, 1.0])).tolist() == [1.0] * 5
    assert smoothed(np.array([1.0, np.nan, 1.0, 1.0])).tolist() == [1.0] * 4
