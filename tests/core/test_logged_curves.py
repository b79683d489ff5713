# SPDX-License-Identifier: Apache-2.0
"""Logged losses and accuracies as the detector takes them: each once, where it was logged, and never beside the probe's."""

import math

import pytest

from lightning_interp.core.judged import OutcomeRows, judged_series
from lightning_interp.core.logged_curves import (
    LoggedAs,
    LoggedSource,
    logged_series,
    plain_logged,
    read_logged,
    step_record,
    value_record,
)
from lightning_interp.core.outcome import OUTCOME, OUTCOME_STEP, Outcome
from lightning_interp.core.series import series_of

ONE = {"train_loss": 1.0, "heldout_loss": 1.0}


def logged(**curves):
    """Values of a record that holds curves as (step at which it was logged, value)."""
    found = {}
    for curve, (step, value) in curves.items():
        found |= {value_record(curve): value, step_record(curve): float(step)}
    return found


RECORDS = [
    (0, {"weight_norm": 9.0}),
    (5, {"weight_norm": 8.0, **logged(train_loss=(5, 2.0))}),
    (9, {"weight_norm": 7.0, **logged(train_loss=(9, 1.5), heldout_loss=(6, 2.2))}),
    (14, {"weight_norm": 6.0, **logged(train_loss=(14, 1.0), heldout_loss=(9, 2.1))}),
    (15, {"weight_norm": 6.0, **logged(train_loss=(15, math.nan))}),
]


def fold(records, outcome=None, units=ONE):
    rows = OutcomeRows(outcome, units)
    return [row for step, values in records for row in rows.rows(step, values)]


def test_values_count_where_they_were_logged_and_after_the_record_before():
    rows = dict(fold(RECORDS))
    assert list(rows) == [0, 5, 6, 9, 10, 14, 15]
    assert rows[6] == {"heldout_loss": 2.2} and rows[10] == {"heldout_loss": 2.1}
    assert rows[9] == {"weight_norm": 7.0, "train_loss": 1.5}
    assert math.isnan(rows[15]["train_loss"])


@pytest.mark.parametrize("outcome", [None, Outcome("val/f1", "max")])
def test_a_history_is_judged_as_its_records_are(outcome):
    records = [(step, values | {OUTCOME: step / 20, OUTCOME_STEP: float(step - 1)}) for step, values in RECORDS[:-1]]
    assert judged_series(series_of(records), outcome) == series_of(fold(records, outcome))


def test_an_outcome_takes_the_place_of_logged_held_out_curves():
    values = logged(train_loss=(4, 1.0), heldout_loss=(4, 2.0)) | {OUTCOME: 0.5, OUTCOME_STEP: 4.0}
    assert fold([(4, values)], Outcome("val/distance", "min")) == [(4, {"train_loss": 1.0, "heldout_loss": 0.5})]


def test_where_any_record_has_a_curve_of_the_probe_logged_ones_are_not_judged():
    series = series_of([*RECORDS[:3], (14, {"train_loss": 0.5})])
    assert LoggedSource.of(series).units is None and logged_series(series) == {}
    assert judged_series(series, None) is series


def test_an_accuracy_that_is_ever_over_one_was_a_percentage_from_the_start():
    records = [(step, logged(heldout_accuracy=(step, value))) for step, value in ((1, 0.5), (2, 45.0), (3, 99.0))]
    assert judged_series(series_of(records), None)["heldout_accuracy"] == ([1, 2, 3], [0.005, 0.45, 0.99])


def test_an_accuracy_that_is_no_share_and_no_percentage_is_left_out():
    records = [(1, logged(heldout_accuracy=(1, 250.0), train_loss=(1, 2.0)))]
    assert logged_series(series_of(records)) == {"train_loss": ([1], [2.0])}


def test_what_is_read_is_what_was_written_and_nothing_else():
    named = {"train_loss": LoggedAs("loss", "batch"), "heldout_loss": LoggedAs("val_loss", "average")}
    assert read_logged(plain_logged(named)) == named
    assert read_logged({"train_loss": "loss", "heldout_loss": {"name": 3, "kind": "batch"}, "other": {}}) == {}
    assert read_logged(["train_loss"]) == {}
