# SPDX-License-Identifier: Apache-2.0
"""Records folded as they come and records folded at once are judged alike, of an outcome and of every loader."""

import math

import pytest

from lightning_interp.analysis.record_history import RecordHistory
from lightning_interp.core.judged import facts_for, facts_of_loader, judged_series, of_loader
from lightning_interp.core.logged_curves import LoggedAs, step_record, value_record
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.outcome import OUTCOME, OUTCOME_STEP, Outcome
from lightning_interp.core.records import Record
from lightning_interp.core.series import series_of
from lightning_interp.phases import detect_phases

STEPS = [*range(12), *range(12, 600, 9)]
CLASSES = NullPredictor(n_classes=5)
LATE_FROM = 40
"""Step from which on the second loader has a value: its first batches may have failed."""


def record(step: int) -> Record:
    """Train data fitted by step 60, the outcome solved at step 300, the second loader at no time."""
    validated = step // 20 * 20
    values = {
        "train_loss": 2 * math.exp(-step / 10) + 1e-4,
        "heldout_loss": 2.2,
        "heldout_accuracy": 0.25,
        OUTCOME: 0.99 if validated >= 300 else 0.2,
        OUTCOME_STEP: float(validated),
    }
    return Record(step, 0, values | ({"heldout_loss/night": 2.2 + step / 200} if step >= LATE_FROM else {}))


@pytest.mark.parametrize(
    "outcome", [None, Outcome("val/f1", "max", null_value=0.2), Outcome("val/wer", "min", null_value=0.9)]
)
def test_online_is_post_hoc(outcome):
    online = RecordHistory([], null=CLASSES, outcome=outcome)
    for step in STEPS:
        online.add(record(step))
    at_once = RecordHistory([record(step) for step in STEPS], null=CLASSES, outcome=outcome)
    series = series_of((step, record(step).values) for step in STEPS)
    judged = detect_phases(judged_series(series, outcome), **facts_for(outcome, {"n_classes": 5}))
    night = detect_phases(of_loader(series, "night"), **facts_of_loader({"n_classes": 5}))
    assert online.finished_timeline.to_dict() == at_once.finished_timeline.to_dict()
    found = online.finished_timeline
    assert (found.verdict, found.phases, found.alarms) == (judged.verdict, judged.phases, judged.alarms)
    assert found.loaders["night"].to_dict() == night.to_dict()


def logged(step: int) -> Record:
    """The same as the training logs it, an accuracy in percent once a validation; without a loss of the probe."""
    of = record(step).values
    validated = step // 20 * 20
    found = {"weight_norm": 3.0, value_record("train_loss"): of["train_loss"], step_record("train_loss"): float(step)}
    if validated and validated > max((other for other in STEPS if other < step), default=-1):
        found[value_record("heldout_accuracy")] = 99.0 if validated >= 300 else 0.9
        found[step_record("heldout_accuracy")] = float(validated)
    return Record(step, 0, found)


def test_logged_curves_are_judged_alike_online_and_post_hoc_and_without_the_probe_s_null():
    named = {"train_loss": LoggedAs("loss", "batch"), "heldout_accuracy": LoggedAs("val_acc", "average")}
    online = RecordHistory([], null=CLASSES, logged=named)
    for step in STEPS:
        online.add(logged(step))
    at_once = RecordHistory(map(logged, STEPS), null=CLASSES, logged=named)
    assert online.finished_timeline.to_dict() == at_once.finished_timeline.to_dict()
    found = online.finished_timeline
    judged = detect_phases(judged_series(series_of((step, logged(step).values) for step in STEPS), None))
    assert (found.verdict, found.phases, found.alarms) == (judged.verdict, judged.phases, judged.alarms)
    assert found.evidence["t_gen"] == 300 and found.evidence["source"] == "logged"
    assert not found.evidence["null"]["loss"]["known"]


def test_a_loss_on_the_probe_ends_the_judging_of_logged_ones():
    history = RecordHistory([], null=CLASSES)
    for step in STEPS[:20]:
        history.add(logged(step))
    assert history.timeline.evidence["source"] == "logged"
    for step in STEPS:
        history.add(record(step))
    plain = RecordHistory(map(record, STEPS), null=CLASSES)
    assert history.finished_timeline.to_dict() == plain.finished_timeline.to_dict()


def test_an_outcome_of_another_kind_changes_what_is_found():
    plain, by_f1 = (
        RecordHistory(map(record, STEPS), null=CLASSES, outcome=outcome).timeline
        for outcome in (None, Outcome("val/f1", "max"))
    )
    assert (plain.evidence["t_gen"], by_f1.evidence["t_gen"]) == (None, 300)
