# SPDX-License-Identifier: Apache-2.0
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lightning_interp.capture import CopySet, RawSnapshot, Recorder
from lightning_interp.capture.recorder import QUEUE_DEPTH
from lightning_interp.store import read_snapshot, snapshot_steps
from lightning_interp.store.health_log import HealthLog, read_health
from lightning_interp.store.health_log import events as events_of
from lightning_interp.store.layout import HEALTH, SNAPSHOTS

SOON = 60.0
"""Seconds within which a writer thread must have done a few small writes, on a machine that is busy with other work."""


def raw(step: int, *, kilobytes: int = 1, scalars: dict[str, object] | None = None) -> RawSnapshot:
    return made(step, {"w": torch.full((256 * kilobytes,), float(step))}, scalars or {})


def made(step: int, tensors: dict[str, torch.Tensor], scalars: dict[str, object]) -> RawSnapshot:
    copies = CopySet(tensors)
    copies.copy(tensors, scalars)
    return RawSnapshot(step, 0, copies, {})


def events(run_dir: Path, kind: str) -> list[dict[str, object]]:
    return events_of(read_health(run_dir)[0], kind)


@pytest.fixture
def start() -> Iterator[Callable[..., Recorder]]:
    """Start recorders that end with the test."""
    started: list[Recorder] = []

    def make(run_dir: Path, *, warn: Callable[[str], None] = lambda _: None) -> Recorder:
        started.append(Recorder(run_dir, HealthLog(run_dir, 0), warn=warn))
        return started[-1]

    yield make
    for recorder in started:
        recorder.close(0.0)


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that does not answer until the event is set: writes wait for it, then happen for real."""
    from lightning_interp.capture import recorder as module

    answer, write = threading.Event(), module.write_snapshot

    def slow(*args: object, **kwargs: object) -> int:
        answer.wait(SOON)
        return write(*args, **kwargs)

    monkeypatch.setattr(module, "write_snapshot", slow)
    yield answer
    answer.set()


def test_recorder_writes_what_it_is_given(tmp_path, start):
    recorder = start(tmp_path)
    recorder.submit(raw(7))
    assert recorder.flush(SOON)
    assert read_snapshot(tmp_path, 7).weights["w"][0] == 7.0


def test_recorder_writes_in_order(tmp_path, start):
    recorder = start(tmp_path)
    for step in range(QUEUE_DEPTH):
        recorder.submit(raw(step))
    recorder.flush(SOON)
    assert [event["step"] for event in events(tmp_path, "snapshot")] == list(range(QUEUE_DEPTH))


def test_recorder_reads_logged_scalars(tmp_path, start):
    recorder = start(tmp_path)
    recorder.submit(raw(1, scalars={"loss": torch.tensor([2.5]), "lr": 0.1, "per_class": torch.ones(3)}))
    recorder.flush(SOON)
    assert read_snapshot(tmp_path, 1).scalars == {"loss": 2.5, "lr": 0.1}


def test_recorder_notes_finite_scalars_in_the_health_log(tmp_path, start):
    recorder = start(tmp_path)
    recorder.submit(raw(1, scalars={"interp/lr": torch.tensor(0.5), "loss": float("nan"), "top": float("inf")}))
    recorder.submit(raw(2, scalars={f"metric_{index}": float(index) for index in range(70)}))
    recorder.flush(SOON)
    first, second = (event["scalars"] for event in events(tmp_path, "snapshot"))
    assert first == {"interp/lr": 0.5}
    assert list(second) == [f"metric_{index}" for index in range(64)]


def test_recorder_counts_what_it_wrote(tmp_path, start):
    recorder = start(tmp_path)
    recorder.submit(raw(1))
    recorder.flush(SOON)
    assert (recorder.written, recorder.bytes_written) == (
        1,
        (tmp_path / SNAPSHOTS / "step_000000001.safetensors").stat().st_size,
    )


def test_recorder_drops_what_the_queue_does_not_hold(tmp_path, start, held_up):
    recorder = start(tmp_path)
    accepted = [recorder.submit(raw(step)) for step in range(QUEUE_DEPTH + 3)]
    # One snapshot may already be with the writer, beside those in the queue.
    assert accepted.count(False) in (2, 3)
    assert recorder.dropped == [step for step, kept in enumerate(accepted) if not kept]


def test_recorder_notes_a_drop_in_the_health_log(tmp_path, start, held_up):
    recorder = start(tmp_path)
    for step in range(QUEUE_DEPTH + 3):
        recorder.submit(raw(step))
    held_up.set()
    recorder.flush(SOON)
    noted = events(tmp_path, "dropped")
    assert [event["step"] for event in noted] == recorder.dropped
    assert "writer is behind" in noted[0]["reason"]


def test_recorder_submit_never_waits(tmp_path, start, held_up):
    recorder = start(tmp_path)
    started = time.monotonic()
    for step in range(20):
        recorder.submit(raw(step))
    # The writer is stuck for so long since the first of them; 20 hand-overs take microseconds.
    assert time.monotonic() - started < SOON


def test_flush_gives_up_after_its_timeout(tmp_path, start, held_up):
    recorder = start(tmp_path)
    recorder.submit(raw(3))
    assert not recorder.flush(0.05)
    assert recorder.unwritten == [3]


def test_close_is_idempotent(tmp_path, start):
    recorder = start(tmp_path)
    recorder.submit(raw(1))
    assert recorder.close(SOON)
    assert recorder.close(SOON)


def test_close_writes_the_last_notes(tmp_path, start):
    recorder = start(tmp_path)
    recorder._health.note("closed", status="finished")
    recorder.close(SOON)
    assert [event["status"] for event in events(tmp_path, "closed")] == ["finished"]


def test_close_ends_the_writer_thread(tmp_path, start):
    recorder = start(tmp_path)
    recorder.close(SOON)
    assert not recorder._thread.is_alive()


def test_recorder_sweeps_what_a_killed_writer_left(tmp_path, start):
    (tmp_path / SNAPSHOTS).mkdir()
    leftover = tmp_path / SNAPSHOTS / ".step_000000001.safetensors.77.tmp"
    leftover.write_bytes(b"half")
    start(tmp_path)
    assert not leftover.exists()


def test_recorder_cuts_a_torn_health_line(tmp_path, start):
    (tmp_path / HEALTH).write_text('{"event":"a"}\n{"eve')
    start(tmp_path)
    assert (tmp_path / HEALTH).read_text() == '{"event":"a"}\n'


def test_recorder_drops_a_tensor_that_cannot_be_written(tmp_path, start):
    warnings: list[str] = []
    recorder = start(tmp_path, warn=warnings.append)
    recorder.submit(made(1, {"w": torch.empty(2, device="meta")}, {}))
    recorder.submit(raw(2))
    recorder.flush(SOON)
    assert (recorder.dropped, snapshot_steps(tmp_path)) == ([1], [2])


def fill(disk: Path) -> Path:
    """A file that takes what space is left."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            return disk / "filler"
    raise AssertionError("the disk did not fill")


def test_full_disk_drops_snapshots_with_one_warning_and_works_again(small_disk, start):
    warnings: list[str] = []
    recorder = start(small_disk, warn=warnings.append)
    filler = fill(small_disk)
    for step in (1, 2):
        recorder.submit(raw(step, kilobytes=100))
    recorder.flush(SOON)
    assert recorder.dropped == [1, 2]
    assert len(warnings) == 1
    assert "snapshot of step 1 was not written" in warnings[0]
    filler.unlink()
    recorder.submit(raw(3))
    recorder.close(SOON)
    assert snapshot_steps(small_disk) == [3]
    assert [event["step"] for event in events(small_disk, "dropped")] == [1, 2]


def test_full_disk_leaves_no_partial_file(small_disk, start):
    recorder = start(small_disk)
    fill(small_disk)
    recorder.submit(raw(1, kilobytes=100))
    recorder.flush(SOON)
    assert list((small_disk / SNAPSHOTS).iterdir()) == []


def test_full_disk_does_not_hold_up_flush_for_notes_it_cannot_take(small_disk, start):
    recorder = start(small_disk)
    fill(small_disk)
    recorder.submit(raw(1, kilobytes=100))
    started = time.monotonic()
    assert recorder.flush(2 * SOON)  # nothing is pending: the snapshot was dropped
    assert time.monotonic() - started < SOON


def test_read_only_directory_drops_snapshots_and_training_goes_on(tmp_path, start):
    warnings: list[str] = []
    recorder = start(tmp_path, warn=warnings.append)
    (tmp_path / SNAPSHOTS).rmdir()
    (tmp_path / SNAPSHOTS).write_text("")  # a file in the folder's place refuses writers, the superuser too
    recorder.submit(raw(1))
    recorder.flush(SOON)
    assert recorder.dropped == [1]
    assert str(tmp_path) in warnings[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to read-only folders")
def test_read_only_snapshot_folder_drops_snapshots(tmp_path, start):
    recorder = start(tmp_path)
    (tmp_path / SNAPSHOTS).chmod(0o500)
    recorder.submit(raw(1))
    recorder.flush(SOON)
    (tmp_path / SNAPSHOTS).chmod(0o700)
    assert recorder.dropped == [1]
