# SPDX-License-Identifier: Apache-2.0
"""The state of a verdict as the run directory has it now, whatever the analyzer wrote last."""

import json
import os
import time
from dataclasses import replace

import pytest

from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.phases.verdict_state import in_state
from lightning_interp.store import append_record, open_run, resume_run, write_manifest
from lightning_interp.store.heartbeat import Heartbeat, write_heartbeat
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, MANIFEST, PHASES, SNAPSHOTS, step_file
from lightning_interp.store.standing import SILENT_S

FOUND = Timeline("memorization_only", evidence={"reason": "The network fitted the training set."})


@pytest.fixture
def watched(run_dir, manifest):
    """A run of four snapshots, of which two are analyzed."""
    for step in (0, 10, 20, 30):
        step_file(run_dir / SNAPSHOTS, step).touch()
    for step in (0, 10):
        append_record(run_dir, Record(step, 0, {"train_loss": 1.0}))
    write(run_dir, in_state(FOUND, "provisional", (2, 2)))
    return run_dir


def write(run_dir, timeline):
    (run_dir / PHASES).write_text(json.dumps(timeline.to_dict()))


def analyze(run_dir, *steps, **skipped):
    for step in steps:
        append_record(run_dir, Record(step, 0, {"train_loss": 1.0}, {}, skipped))


def status(run_dir, manifest, name):
    write_manifest(run_dir, replace(manifest, status=name))


def age(run_dir, seconds):
    """Nothing has happened for so long."""
    then = time.time() - seconds
    os.utime(run_dir / MANIFEST, (then, then))


def stands(run_dir):
    """State and counts, which a page shows as well."""
    timeline, shown = open_run(run_dir).timeline, view_run(run_dir).timeline
    assert timeline == shown
    return timeline.state, timeline.analyzed


def test_snapshots_that_came_after_the_last_word_of_the_analyzer_are_pending(watched):
    assert stands(watched) == ("pending", (2, 4))
    reason = open_run(watched).timeline.evidence["reason"]
    assert reason == "So far, 2 of 4 snapshots analyzed: the network fitted the training set."


@pytest.mark.parametrize(("ended", "state"), [("training", "provisional"), ("finished", "final")])
def test_with_everything_analyzed_the_training_decides(watched, manifest, ended, state):
    analyze(watched, 20, 30)
    status(watched, manifest, ended)
    assert stands(watched) == (state, (4, 4))


@pytest.mark.parametrize("ended", ["failed", "interrupted"])
def test_a_training_that_did_not_come_to_its_end_has_a_final_verdict_that_says_so(watched, manifest, ended):
    analyze(watched, 20, 30)
    status(watched, manifest, ended)
    assert stands(watched) == ("final", (4, 4))
    assert open_run(watched).timeline.evidence["reason"].endswith("Training was broken off after step 30.")


def test_a_training_that_fell_silent_was_broken_off(watched):
    analyze(watched, 20, 30)
    age(watched, SILENT_S + 10)
    assert stands(watched) == ("final", (4, 4))
    assert open_run(watched).timeline.evidence["broken_off_at"] == 30


def test_signs_of_life_of_training_or_analyzer_keep_it_provisional(watched):
    analyze(watched, 20, 30)
    age(watched, SILENT_S + 10)
    write_heartbeat(watched, Heartbeat(1, "host", "start", time.time() - 20))
    assert stands(watched) == ("provisional", (4, 4))
    write_heartbeat(watched, Heartbeat(1, "host", "start", 0.0))
    append_line(watched / HEALTH, {"event": "overhead", "attempt": 0, "time": time.time() - 20})
    assert stands(watched) == ("provisional", (4, 4))


def test_a_snapshot_that_was_left_out_is_not_pending(watched, manifest):
    """A damaged one, or one an analyzer died of: without it the run can be final."""
    append_record(watched, Record(20, 0, {}, {}, {"snapshot": "damaged"}))
    analyze(watched, 30)
    status(watched, manifest, "finished")
    assert stands(watched) == ("final", (3, 3))


def test_a_snapshot_that_retention_removed_after_its_analysis_counts(watched, manifest):
    analyze(watched, 20, 30)
    step_file(watched / SNAPSHOTS, 10).unlink()
    status(watched, manifest, "finished")
    assert stands(watched) == ("final", (4, 4))


def test_what_a_resume_set_aside_is_not_pending(watched):
    resume_run(watched, 10)
    write(watched, in_state(FOUND, "provisional", (2, 2)))
    assert stands(watched) == ("provisional", (2, 2))


def test_what_the_analyzer_saw_end_has_ended(watched):
    analyze(watched, 20, 30)
    write(watched, in_state(FOUND, "final", (4, 4), broken_off_at=30))
    assert stands(watched) == ("final", (4, 4))
    assert open_run(watched).timeline.evidence["broken_off_at"] == 30


def test_with_nothing_analyzed_there_is_no_verdict_yet(run_dir):
    assert open_run(run_dir).timeline is None
    step_file(run_dir / SNAPSHOTS, 0).touch()
    assert stands(run_dir) == ("pending", (0, 1))
    assert open_run(run_dir).timeline.evidence["reason"] == "No verdict yet (0 of 1 snapshots analyzed)."


def test_a_timeline_without_a_state_is_judged_by_its_run(watched, manifest):
    """As version 0.1 wrote it."""
    old = {
        "schema": 1,
        "verdict": "grokking",
        "phases": [],
        "alarms": [],
        "intensities": {},
        "evidence": {"reason": "It is."},
    }
    (watched / PHASES).write_text(json.dumps(old))
    status(watched, manifest, "finished")
    assert stands(watched) == ("pending", (2, 4))
    analyze(watched, 20, 30)
    assert stands(watched) == ("final", (4, 4))


def test_only_the_analyzer_of_checkpoints_knows_how_many_there_are(run_dir, manifest):
    configuration = {**manifest.configuration, "checkpoints": ["folder"]}
    write_manifest(run_dir, replace(manifest, status="finished", configuration=configuration))
    analyze(run_dir, 0, 10)
    write(run_dir, in_state(FOUND, "pending", (2, 9)))
    assert stands(run_dir) == ("pending", (2, 9))
