# SPDX-License-Identifier: Apache-2.0
"""Records folded as they come and records folded at once are judged alike, of an outcome and of every loader."""

import math

import pytest

from lightning_interp.analysis.record_history import RecordHistory
from lightning_interp.core.judged import facts_for, facts_of_loader, judged_series, of_loader
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


def test_an_outcome_of_another_kind_changes_what_is_found():
    plain, by_f1 = (
        RecordHistory(map(record, STEPS), null=CLASSES, outcome=outcome).timeline
        for outcome in (None, Outcome("val/f1", "max"))
    )
    assert (plain.evidence["t_gen"], by_f1.evidence["t_gen"]) == (None, 300)
