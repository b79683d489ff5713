# SPDX-License-Identifier: Apache-2.0
import torch

from lightning_interp.core.records import Record, Snapshot
from lightning_interp.store import (
    append_record,
    open_run,
    read_manifest,
    read_records,
    resume_run,
    snapshot_steps,
    write_snapshot,
)
from lightning_interp.store.layout import ABANDONED, HEALTH, OBSERVATIONS, PHASES, RECORDS, SNAPSHOTS, step_file
from lightning_interp.store.tensor_file import write_tensors


def capture(run_dir, *steps, attempt=0):
    """Snapshots, observations and records of these steps; the value of a record is its attempt."""
    for step in steps:
        write_snapshot(run_dir, Snapshot(step, 0, {"w": torch.ones(1)}), aliases={})
        write_tensors(step_file(run_dir / OBSERVATIONS, step), {"act": torch.zeros(2, 3)}, {})
        append_record(run_dir, Record(step, attempt, {"x": float(attempt)}))


def test_resume_run_moves_later_snapshots_and_observations_aside(run_dir):
    capture(run_dir, 0, 10, 20, 30)
    resume_run(run_dir, 10)
    assert snapshot_steps(run_dir) == open_run(run_dir).observed_steps == [0, 10]
    for folder in (SNAPSHOTS, OBSERVATIONS):
        moved = sorted(path.name for path in (run_dir / ABANDONED / "attempt_0" / folder).iterdir())
        assert moved == ["step_000000020.safetensors", "step_000000030.safetensors"]


def test_resume_run_keeps_each_attempt_it_set_aside(run_dir):
    capture(run_dir, 0, 10, 20)
    resume_run(run_dir, 10)
    capture(run_dir, 15, attempt=1)
    resume_run(run_dir, 10)
    assert sorted(path.name for path in (run_dir / ABANDONED).iterdir()) == ["attempt_0", "attempt_1"]


def test_resume_run_writes_the_attempt_down(run_dir):
    resume_run(run_dir, 10)
    assert read_manifest(run_dir).attempts[-1].resumed_at == 10
    assert open_run(run_dir).health == [{"event": "resumed", "attempt": 1, "resumed_at": 10}]


def test_resume_run_sets_nothing_aside_where_nothing_is_later(run_dir):
    capture(run_dir, 0, 10)
    resume_run(run_dir, 10)
    assert not (run_dir / ABANDONED).exists()


def test_resume_run_mends_what_a_kill_left(run_dir):
    (run_dir / HEALTH).write_text('{"event":"a"}\n{"ev')
    leftover = run_dir / SNAPSHOTS / ".step_000000001.safetensors.9.tmp"
    leftover.write_bytes(b"")
    resume_run(run_dir, 0)
    assert not leftover.exists()
    assert [row["event"] for row in open_run(run_dir).health] == ["a", "resumed"]


def test_resume_run_forgets_a_timeline_that_may_rest_on_later_steps(run_dir):
    (run_dir / PHASES).write_text("{}")
    resume_run(run_dir, 0)
    assert open_run(run_dir).timeline is None


def test_read_records_drops_rows_an_earlier_attempt_wrote_beyond_the_resume(run_dir):
    capture(run_dir, 0, 10, 20, 30)
    resume_run(run_dir, 10)
    capture(run_dir, 20, attempt=1)
    records = read_records(run_dir, read_manifest(run_dir))
    assert [(record.step, record.attempt) for record in records] == [(0, 0), (10, 0), (20, 1)]


def test_read_records_drops_rows_of_every_attempt_taken_back(run_dir):
    capture(run_dir, 0, 10, 20)
    resume_run(run_dir, 10)
    capture(run_dir, 15, attempt=1)
    resume_run(run_dir, 0)
    assert [record.step for record in read_records(run_dir, read_manifest(run_dir))] == [0]


def test_read_records_round_trips_a_record(run_dir, manifest):
    record = Record(3, 0, {"x": 0.1}, {"hoyer": (0.5, None)}, {"y": "no held-out data"})
    append_record(run_dir, record)
    assert read_records(run_dir, manifest) == [record]


def test_read_records_ignores_a_torn_tail(run_dir, manifest):
    append_record(run_dir, Record(1, 0, {"x": 1.0}))
    with (run_dir / RECORDS).open("a") as handle:
        handle.write('{"step":2,"att')
    assert [record.step for record in read_records(run_dir, manifest)] == [1]


def test_read_records_takes_the_last_row_of_a_step_and_sorts(run_dir, manifest):
    for step, value in ((5, 1.0), (3, 1.0), (5, 2.0)):
        append_record(run_dir, Record(step, 0, {"x": value}))
    assert [(record.step, record.values["x"]) for record in read_records(run_dir, manifest)] == [(3, 1.0), (5, 2.0)]


def test_record_with_vectors_is_read_back_and_one_without_has_no_such_key(run_dir):
    records = [Record(3, 0, {"x": 0.1}, vectors={"sketch": (0.5, -1.0)}), Record(4, 0, {"x": 0.2})]
    for record in records:
        append_record(run_dir, record)
    assert open_run(run_dir).all_records == records
    assert ["vectors" in line for line in (run_dir / RECORDS).read_text().splitlines()] == [True, False]
