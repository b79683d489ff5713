# SPDX-License-Identifier: Apache-2.0
"""Whatever becomes of a training, its analyzer is not left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import noisy_training
import pytest

from lightning_interp import open_run
from lightning_interp.store.heartbeat import read_heartbeat
from lightning_interp.store.layout import RECORDS, SNAPSHOTS, committed_steps

MAX_STEPS = 100_000
"""More than a training reaches before its test ends it."""
PATIENCE = 200.0
CLOSING = 240.0
"""Seconds a training may take to end: it waits up to 200 for its analyzer."""


@contextmanager
def training(root: Path, tmp: Path) -> "Iterator[subprocess.Popen[str]]":
    """A training in a process of its own, which does not outlive its test."""
    command = [sys.executable, noisy_training.__file__, str(root), "--max-steps", str(MAX_STEPS), "--slow-after", "60"]
    environment = os.environ | {"TMPDIR": str(tmp)}  # slots of its own
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def analyzer_of(root: Path, process: "subprocess.Popen[str]") -> int:
    """Process id of the analyzer, once it has written a record."""
    deadline = time.monotonic() + PATIENCE
    while not recorded(root / "run") or max(committed_steps(root / "run" / SNAPSHOTS), default=0) < 60:
        assert process.poll() is None and time.monotonic() < deadline, "the training ended or did not start"
        time.sleep(0.02)
    beat = read_heartbeat(root / "run")
    assert beat is not None
    return beat.pid


def recorded(run_dir: Path) -> bool:
    """Whether a whole line is on disk: the file is there before its first."""
    return (run_dir / RECORDS).exists() and b"\n" in (run_dir / RECORDS).read_bytes()


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_no_analyzer_is_left_behind(tmp_path: Path, sent: signal.Signals) -> None:
    with training(tmp_path, tmp_path) as process:
        pid = analyzer_of(tmp_path, process)
        process.send_signal(sent)
        process.communicate(timeout=CLOSING)
    deadline = time.monotonic() + PATIENCE
    while not has_ended(pid):
        assert time.monotonic() < deadline, "the analyzer was left behind"
        time.sleep(0.05)
    run = open_run(tmp_path / "run")
    assert set(run.steps) >= {record.step for record in run.all_records}
    assert run.analysis["stage"] == ("stopped" if sent == signal.SIGKILL else "finished")


def test_the_scheduler_that_ends_training_and_analyzer_leaves_a_run_that_opens(tmp_path: Path) -> None:
    """As before a requeue: SIGTERM to every process of the job."""
    with training(tmp_path, tmp_path) as process:
        pid = analyzer_of(tmp_path, process)
        os.kill(pid, signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=CLOSING)
    assert has_ended(pid)
    assert "it was started again" not in errors
    run = open_run(tmp_path / "run")
    assert run.all_records and run.steps
