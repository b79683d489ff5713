# SPDX-License-Identifier: Apache-2.0
"""Sentences follow from what was compared: another number gives another sentence."""

import ordinary_histories as ordinary
import pytest

from lightning_interp.core.outcome import StandIn
from lightning_interp.core.timeline import VERDICTS
from lightning_interp.phases import because_text, detect_phases
from lightning_interp.phases.wording import MEANINGS, SENTENCES, reason


@pytest.fixture(scope="module")
def runs(histories):
    """A run of every verdict that needs no special pleading."""
    tables = {
        "grokking": histories.grokking(),
        "memorization_only": histories.random_labels(),
        "early_generalization": histories.early(),
        "collapse": histories.collapsing(),
        "not_fitted": histories.underfit(),
        "diverged": histories.diverging(),
        "partial_generalization": histories.partial(),
        "overfitting": ordinary.overfit(accuracies=True),
    }
    return {name: detect_phases(table, n_classes=100 if name != "overfitting" else 10) for name, table in tables.items()}


@pytest.mark.parametrize("verdict", [name for name in VERDICTS if name != "unknown"])
def test_another_deciding_number_gives_another_sentence(runs, verdict):
    timeline = runs[verdict]
    assert timeline.verdict == verdict
    evidence = timeline.evidence
    told = reason(verdict, evidence["why"], evidence)
    assert told == evidence["reason"]
    changed = []
    for index, clause in enumerate(evidence["because"]):
        other = [*evidence["because"]]
        other[index] = {**clause, "value": clause["value"] * 1.5 + 1}
        changed.append(reason(verdict, evidence["why"], {**evidence, "because": other}) != told)
    assert any(changed)


@pytest.mark.parametrize("verdict", [name for name in VERDICTS if name != "unknown"])
def test_every_number_of_a_verdict_is_on_the_side_it_says(runs, verdict):
    holds = {">=": lambda value, limit: value >= limit, "<=": lambda value, limit: value <= limit}
    clauses = [*runs[verdict].evidence["because"], *(c for phase in runs[verdict].phases for c in phase.because)]
    assert clauses
    assert all(holds[c["relation"]](c["value"], c["limit"]) is c["holds"] for c in clauses if "examples" not in c)


def test_every_phase_and_alarm_says_why(runs):
    for timeline in runs.values():
        assert all(phase.because for phase in timeline.phases)
        assert all(alarm.because for alarm in timeline.alarms)


def test_circuit_formation_by_the_excluded_loss_says_so(histories):
    timeline = detect_phases(histories.reference(), n_classes=113)
    formation = next(phase for phase in timeline.phases if phase.name == "circuit_formation")
    assert because_text(formation.because).startswith("excluded loss")


def test_circuit_formation_by_the_heldout_loss_says_so(histories):
    timeline = detect_phases(histories.reference(("train_loss", "heldout_loss")), n_classes=113)
    formation = next(phase for phase in timeline.phases if phase.name == "circuit_formation")
    assert because_text(formation.because).startswith("averaged held-out loss")


def test_every_verdict_has_a_sentence_and_every_phase_a_meaning():
    assert {name.split("/")[0] for name in SENTENCES} == set(VERDICTS)
    assert len(MEANINGS) == 8


@pytest.mark.parametrize("role", ["loss", "own_loss"])
def test_an_outcome_that_is_a_loss_is_called_by_its_name(role):
    timeline = detect_phases(ordinary.overfit(), outcome=StandIn("val/Distance", role))
    assert timeline.evidence["reason"].startswith("val/Distance was least at step")
    assert "held-out loss" not in timeline.evidence["reason"].lower()
    assert "give the null of the outcome" in timeline.evidence["reason"]


def test_the_loss_beside_an_outcome_that_is_an_accuracy_keeps_its_own_name():
    timeline = detect_phases(ordinary.overfit(accuracies=True), n_classes=10, outcome=StandIn("val/F1", "accuracy"))
    told = {clause["of"] for clause in timeline.evidence["because"]}
    assert {"held-out loss", "val/F1"} <= told
    assert timeline.evidence["reason"].startswith("Held-out loss was least")


def test_a_name_at_the_start_of_a_sentence_keeps_its_letters(histories):
    table = histories.underfit() | {"heldout_accuracy": [0.395] * len(histories.underfit()["step"])}
    assert "val/F1 0.395" in detect_phases(table, outcome=StandIn("val/F1", "accuracy")).evidence["reason"]
