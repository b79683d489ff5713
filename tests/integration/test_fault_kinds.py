# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a run, the training ends with the right weights and its run directory opens."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import faulty_training
import pytest
from faulty_training import EVERY, KINDS, QUOTA_STEPS, STEPS

from lightning_interp.capture.recorder import QUEUE_DEPTH
from lightning_interp.store.heartbeat import read_heartbeat

SNAPSHOTS = STEPS // EVERY + 1
MANY = 30


def play(kind: str, root: Path, seeds: range) -> list[dict]:
    """Trainings with this fault, one for each seed, in a process of their own."""
    command = [sys.executable, faulty_training.__file__, kind, str(root), *map(str, seeds)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240 + 30 * len(seeds))
    assert result.returncode == 0, result.stderr[-3000:]
    played = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    end_analyzers(root)
    assert [row["seed"] for row in played] == list(seeds)
    return played


def end_analyzers(root: Path) -> None:
    """Analyzers that hang as arranged are not waited for."""
    for run_dir in root.glob("run*"):
        beat = read_heartbeat(run_dir)
        if beat is not None and str(run_dir).encode() in _command(beat.pid):
            with suppress(ProcessLookupError):  # it may end by itself just now
                os.kill(beat.pid, signal.SIGKILL)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def check(kind: str, played: list[dict]) -> None:
    """What must hold after every kind of fault, and what after this one."""
    assert [row for row in played if not row["same"]] == [], "the training was disturbed"
    if kind == "deleted":
        return
    assert [row for row in played if not row["opens"]] == []
    for row in played:
        if kind == "disk":  # the health log cannot grow on it, either: what was due before the disk was full is there
            assert row["snapshots"] + row["dropped"] >= row["step"] // EVERY + 1 - QUEUE_DEPTH
        else:
            assert row["snapshots"] + row["dropped"] >= SNAPSHOTS, "a step is neither on disk nor recorded as dropped"
        if kind in ("raises", "nan", "wandb", "clock"):
            assert row["records"] == row["snapshots"] and row["missing"] == []
        if kind == "quota":  # it also keeps from being written what was waiting when it came
            assert row["records"] == row["snapshots"]
            assert row["dropped"] - row["behind"] <= QUOTA_STEPS // EVERY + QUEUE_DEPTH
            assert row["dropped"] or row["step"] > STEPS - 2 * EVERY, "the quota kept nothing from being written"
        if kind in ("memory", "oom-killed"):  # without memory it can die again, and the second death is final
            assert 1 <= row["records"] <= SNAPSHOTS
            assert row["records"] == row["snapshots"] or row["notices"], "nothing says why records are missing"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the trainings run; a disk of 3 MB of its own where it is to fill up."""
    if request.node.callspec.params["kind"] != "disk":
        yield tmp_path
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a disk of one's own needs the right to mount")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_training_survives(kind: str, place: Path) -> None:
    check(kind, play(kind, place, range(1)))


@pytest.mark.verify
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_training_survives_at_random_times(kind: str, place: Path) -> None:
    for first in range(1, MANY + 1, 5):  # a disk that was full is empty again for each five
        check(kind, play(kind, place, range(first, first + 5)))
