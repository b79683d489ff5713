# SPDX-License-Identifier: Apache-2.0
"""What the detector judges in place of the probe's held-out curves, record by record and of a history as a whole."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.core.judged import OutcomeRows, facts_for, facts_of_loader, judged_series, loader_names, of_loader
from lightning_interp.core.outcome import OUTCOME, OUTCOME_STEP, Outcome, StandIn
from lightning_interp.core.series import series_of

F1 = Outcome("val/f1", "max")
WER = Outcome("val/wer", "min", null_value=0.9)
PROBE = {"n_classes": 4, "null_loss": 1.3, "null_error": 0.6, "null_source": "of the probe", "heldout_examples": 200}


def fold(records, outcome):
    rows = OutcomeRows(outcome)
    return [row for step, values in records for row in rows.rows(step, values)]


def carried(*records):
    """Records of which each is (step, outcome, step of its validation or None)."""
    found = []
    for step, value, told in records:
        of_told = {} if told is None else {OUTCOME_STEP: float(told)}
        found.append((step, {"train_loss": 1.0, OUTCOME: value, **of_told}))
    return found


def evaluations(rows, name="heldout_accuracy"):
    return [(step, values[name]) for step, values in rows if name in values]


def test_a_carried_value_counts_once_at_the_step_of_its_validation():
    rows = fold(carried((5, 0.1, 4), (8, 0.1, 4), (12, 0.1, 4)), F1)
    assert evaluations(rows) == [(4, 0.1)]
    assert [step for step, _ in rows] == [4, 5, 8, 12]


def test_equal_values_of_several_validations_all_count():
    assert evaluations(fold(carried((5, 1.0, 4), (9, 1.0, 8), (13, 1.0, 12)), F1)) == [(4, 1.0), (8, 1.0), (12, 1.0)]


def test_without_steps_of_validations_another_value_is_another_evaluation():
    assert evaluations(fold(carried((5, 0.1, None), (8, 0.1, None), (9, 0.3, None)), F1)) == [(5, 0.1), (9, 0.3)]


def test_a_validation_right_after_a_snapshot_comes_after_it():
    rows = fold([(4, {"train_loss": 1.0}), *carried((9, 0.2, 4))], F1)
    assert [step for step, _ in rows] == [4, 5, 9] and evaluations(rows) == [(5, 0.2)]


def test_an_outcome_stands_in_for_the_curve_of_its_kind():
    values = {"heldout_loss": 1.0, "heldout_accuracy": 0.5, "shuffled_loss": 2.0, OUTCOME: 0.25}
    assert fold([(1, values)], F1) == [(1, {"heldout_loss": 1.0, "shuffled_loss": 2.0, "heldout_accuracy": 0.25})]
    assert fold([(1, values)], WER) == [(1, {"heldout_loss": 0.25})]
    assert fold([(1, values)], None) == [(1, values)]


def test_a_percentage_is_a_share_of_its_best():
    rows = fold(carried((1, 30.0, 1), (2, 130.0, 2)), Outcome("val/bleu", "max", best=100.0))
    assert evaluations(rows) == [(1, 0.3)]


def test_a_loss_that_is_no_number_stays_one():
    assert math.isnan(evaluations(fold(carried((1, math.nan, 1)), WER), "heldout_loss")[0][1])
    assert evaluations(fold(carried((1, math.nan, 1)), F1)) == []


values = st.sampled_from([0.0, 0.25, 0.5, 1.0])
gaps = st.lists(st.tuples(st.integers(1, 9), values | st.none(), st.integers(0, 12) | st.none()), min_size=1, max_size=12)


@given(gaps, st.sampled_from([F1, WER]))
def test_a_history_is_judged_as_its_records_are(drawn, outcome):
    records, step, told = [], 0, 0
    for gap, value, delay in drawn:
        step += gap
        told = told if delay is None else max(told, step - delay)
        own = {} if value is None else {OUTCOME: value} | ({} if delay is None else {OUTCOME_STEP: float(told)})
        records.append((step, {"train_loss": float(step), **own}))
    assert judged_series(series_of(records), outcome) == series_of(fold(records, outcome))


def test_levels_of_the_probe_stand_for_an_outcome_of_the_same_kind_only():
    assert facts_for(None, PROBE) == PROBE
    assert facts_for(Outcome("val_acc", "max"), PROBE) == PROBE | {
        "heldout_examples": None,
        "outcome": StandIn("val_acc", "accuracy"),
    }
    f1 = facts_for(F1, PROBE)
    assert (f1["null_error"], f1["null_loss"], f1["n_classes"]) == (None, 1.3, 4)
    wer = facts_for(WER, PROBE)
    assert (wer["null_loss"], wer["null_error"], wer["n_classes"]) == (0.9, 0.6, None)
    assert wer["null_source"] == {"loss": "given as the null of val/wer", "error": "of the probe"}
    assert [facts_for(each, PROBE)["outcome"].role for each in (WER, Outcome("val/loss", "min"))] == ["own_loss", "loss"]
    assert facts_for(Outcome("val/loss", "min"), PROBE)["null_loss"] == 1.3


@pytest.mark.parametrize(("null", "best", "error"), [(0.2, 1.0, 0.8), (20.0, 100.0, 0.8)])
def test_the_null_of_an_outcome_is_an_error_of_its_best(null, best, error):
    assert facts_for(Outcome("val/f1", "max", null_value=null, best=best), PROBE)["null_error"] == pytest.approx(error)


def test_a_loader_keeps_the_train_curves_and_has_its_own_held_out_ones():
    found = {"train_loss": 1, "heldout_loss": 2, "heldout_percentile_z": 3, "shuffled_loss": 4, "hoyer/act": 5, OUTCOME: 6}
    found |= {"heldout_loss/night": 7, "heldout_accuracy/night": 8, "heldout_loss/rain": 9}
    assert loader_names(found) == ("night", "rain")
    assert of_loader(found, "night") == {"train_loss": 1, "heldout_loss": 7, "heldout_accuracy": 8}
    assert of_loader(found, "rain") == {"train_loss": 1, "heldout_loss": 9}
    assert facts_of_loader(PROBE) == {"n_classes": 4}
