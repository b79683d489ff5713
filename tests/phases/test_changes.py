# SPDX-License-Identifier: Apache-2.0
"""What is new between two timelines."""

from lightning_interp.core.timeline import Phase, Timeline
from lightning_interp.phases import PhaseChange, describe, phase_changes

FITTING = Phase("fitting", 0, None, 0.8, (0, 0))
FITTED = Phase("fitting", 0, 100, 0.8, (0, 0), (90, 110))
MEMORIZED = Phase("memorization", 100, None, 0.9, (90, 110))


def timeline(*phases):
    return Timeline("unknown", phases)


def test_phase_changes_from_nothing_reports_the_first_phase():
    assert phase_changes(None, timeline(FITTING)) == (PhaseChange("fitting", "began", 0, 0.8),)


def test_phase_changes_reports_the_end_before_the_beginning():
    found = phase_changes(timeline(FITTING), timeline(FITTED, MEMORIZED))
    assert found == (PhaseChange("fitting", "ended", 100, 0.8), PhaseChange("memorization", "began", 100, 0.9))


def test_phase_changes_of_equal_timelines_is_empty():
    assert phase_changes(timeline(FITTED, MEMORIZED), timeline(FITTED, MEMORIZED)) == ()


def test_phase_changes_over_a_history_reports_each_beginning_once(histories):
    from lightning_interp.phases import fold

    previous, found = None, []
    for _, now in fold(histories.grokking()):
        found += [change.name for change in phase_changes(previous, now) if change.kind == "began"]
        previous = now
    assert found == histories.phase_names(previous)


def test_describe_names_step_and_meaning():
    assert "memorization began at step 100: the training set is fitted" in describe(
        PhaseChange("memorization", "began", 100, 0.9)
    )
