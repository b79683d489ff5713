# SPDX-License-Identifier: Apache-2.0
"""What is said of a verdict that can still change."""

from dataclasses import replace

import pytest

from lightning_interp.core.timeline import Alarm, Timeline
from lightning_interp.phases.alarm_words import alarm_sentence
from lightning_interp.phases.verdict_state import in_state, said_in_state, state_of, verdict_words
from lightning_interp.phases.wording import reason

FOUND = Timeline("memorization_only", evidence={"reason": "The network fitted the training set.", "t_mem": 30})
CLAUSE = {
    "rule": "fitted",
    "of": "train accuracy",
    "value": 0.88,
    "relation": ">=",
    "limit": 0.99,
    "holds": False,
    "step": 35,
}

REASONS = [
    (FOUND, ("final", (9, 9)), "The network fitted the training set."),
    (FOUND, ("provisional", (9, 9)), "So far: the network fitted the training set."),
    (FOUND, ("pending", (10, 1064)), "So far, 10 of 1,064 snapshots analyzed: the network fitted the training set."),
    (Timeline("unknown"), ("pending", (0, 48)), "No verdict yet (0 of 48 snapshots analyzed)."),
    (Timeline("unknown"), ("provisional", (0, 0)), "No verdict yet (no snapshot analyzed)."),
]


@pytest.mark.parametrize(("timeline", "state", "said"), REASONS)
def test_in_state_says_in_the_reason_how_far_the_verdict_goes(timeline, state, said):
    found = in_state(timeline, *state)
    assert found.evidence["reason"] == said
    assert (found.state, found.analyzed) == state


@pytest.mark.parametrize("state", [("final", (9, 9)), ("provisional", (9, 9)), ("pending", (3, 9)), ("pending", (0, 9))])
def test_in_state_forgets_the_state_before(state):
    once = in_state(FOUND, *state, broken_off_at=80)
    assert in_state(once, *state, broken_off_at=80) == once
    for before in (("provisional", (9, 9)), ("pending", (3, 9))):
        assert in_state(in_state(FOUND, *before), *state, broken_off_at=80) == once
    assert in_state(once, "final", (9, 9)).evidence["reason"] == FOUND.evidence["reason"]


def test_a_timeline_keeps_its_state_in_json():
    found = in_state(FOUND, "pending", (10, 64), broken_off_at=800)
    assert Timeline.from_dict(found.to_dict()) == found


def test_not_fitted_is_still_fitting_while_that_can_change():
    evidence = {"because": [CLAUSE], "null": {}, "judged_by": "accuracy", "heldout_now": {}}
    timeline = Timeline("not_fitted", evidence={**evidence, "reason": reason("not_fitted", "", evidence)})
    assert timeline.evidence["reason"].startswith("The training set is not fitted: train accuracy 0.88, under 0.99")
    said = in_state(timeline, "pending", (10, 64)).evidence["reason"]
    assert said.startswith("So far, 10 of 64 snapshots analyzed: still fitting at step 35: train accuracy 0.88, under 0.99")
    assert in_state(timeline, "final", (64, 64)).evidence["reason"] == timeline.evidence["reason"]


def test_a_fit_that_was_lost_is_not_still_fitting():
    evidence = {"because": [CLAUSE], "null": {}, "judged_by": "accuracy", "heldout_now": {}, "fit_from": 20, "fit_to": 30}
    lost = Timeline("not_fitted", evidence={**evidence, "reason": reason("not_fitted", "fit_lost", evidence)})
    assert in_state(lost, "provisional", (9, 9)).evidence["reason"].startswith("So far: the training set is not fitted any")


def test_a_training_that_was_broken_off_is_said_to_be():
    found = in_state(FOUND, "final", (9, 9), broken_off_at=8000)
    assert found.evidence["reason"].endswith("Training was broken off after step 8,000.")
    assert verdict_words(found) == "memorization only (final, broken off after step 8,000)"
    assert "broken" not in in_state(FOUND, "provisional", (9, 9), broken_off_at=8000).evidence["reason"]


def test_without_an_analyzed_snapshot_there_is_no_verdict():
    found = in_state(FOUND, "pending", (0, 48))
    assert (found.verdict, verdict_words(found)) == ("unknown", "none yet (0 of 48 snapshots analyzed)")


@pytest.mark.parametrize(
    ("analyzed", "over", "state"),
    [((3, 4), True, "pending"), ((3, 4), False, "pending"), ((4, 4), False, "provisional"), ((4, 4), True, "final")],
)
def test_pending_wins_over_provisional(analyzed, over, state):
    assert state_of(analyzed, over=over) == state


@pytest.mark.parametrize("sentence", ["R² is .9.", "SGD lost it."])
def test_names_keep_their_capital_after_the_colon(sentence):
    assert said_in_state(sentence, replace(FOUND, state="provisional", analyzed=(9, 9))) == f"So far: {sentence}"


def test_alarm_sentence_says_how_far_an_early_warning_can_be_trusted():
    evidence = {"early_warning": {"score": 1.0, "source": "percentile", "measured": "41 of 41"}}
    said = alarm_sentence(Alarm("early_warning", 3800), Timeline("unknown", evidence=evidence))
    assert said == "Alarm at step 3,800: early warning (on unseen small networks: 41 of 41)"
    assert alarm_sentence(Alarm("divergence", 20), Timeline("unknown", evidence=evidence)) == "Alarm at step 20: divergence"
