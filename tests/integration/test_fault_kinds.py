# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a run, the training ends with the right weights and its run directory opens."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import faulty_training
import pytest
from faulty_training import EVERY, KINDS, QUOTA_STEPS, STEPS
from noisy_process import analyzer_pids

from lightning_interp.analysis.worker.heartbeat import HEARTBEAT_S
from lightning_interp.capture.recorder import QUEUE_DEPTH
from lightning_interp.store.analysis_state import read_state
from lightning_interp.store.heartbeat import read_heartbeat

SNAPSHOTS = STEPS // EVERY + 1
MANY = 30
AT_ONCE = ("raises", "nan", "clock", "wandb")
"""Faults that cost no record, and so can happen to one training. The others come one after the other, what hangs first."""
PLAYS = ("hangs", "memory", "oom-killed", "deleted", "quota", "disk", "+".join(AT_ONCE))

pytestmark = pytest.mark.timeout(900)


def play(root: Path, *plays: str) -> list[dict]:
    """Trainings with these faults, one after the other in a process of their own."""
    command = [sys.executable, faulty_training.__file__, str(root), *plays]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240 + 60 * len(plays))
    end_analyzers(root)
    assert result.returncode == 0, result.stderr[-3000:]
    played = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [row["play"] for row in played] == list(plays)
    return played


def end_analyzers(root: Path) -> None:
    """Analyzers that hang as arranged are not waited for."""
    for run_dir in root.glob("*/run*"):
        for pid in analyzer_pids(run_dir):
            with suppress(ProcessLookupError):  # it may end by itself just now
                os.kill(pid, signal.SIGKILL)


def check(kind: str, row: dict) -> None:
    """What must hold after every kind of fault, and what after this one."""
    assert "broke" not in row, row["broke"]
    assert row["same"], "the training was disturbed"
    if kind == "deleted":
        return
    assert row["opens"], row
    if kind == "disk":  # the health log cannot grow on it, either: what was due before the disk was full is there
        assert row["snapshots"] + row["dropped"] >= row["step"] // EVERY + 1 - QUEUE_DEPTH
    else:
        assert row["snapshots"] + row["dropped"] >= SNAPSHOTS, "a step is neither on disk nor recorded as dropped"
    if kind in AT_ONCE:
        assert row["records"] == row["snapshots"] and row["missing"] == []
    if kind in ("raises", "nan"):
        costs = [int(step) for step, skipped in row["skipped"].items() if kind in skipped]
        assert costs == [step for step in map(int, row["skipped"]) if step >= row["steps"][kind]], "it costs its own values"
    if kind == "quota":  # it also keeps from being written what was waiting when it came
        assert row["records"] == row["snapshots"]
        assert row["dropped"] - row["behind"] <= QUOTA_STEPS // EVERY + QUEUE_DEPTH
        assert row["dropped"] or row["step"] > STEPS - 2 * EVERY, "the quota kept nothing from being written"
    if kind in ("memory", "oom-killed"):  # without memory it can die again, and the second death is final
        assert 1 <= row["records"] <= SNAPSHOTS
        assert row["records"] == row["snapshots"] or row["notices"], "nothing says why records are missing"


@contextmanager
def small_disk(root: Path) -> Iterator[bool]:
    """A disk of 3 MB of its own for the fault that fills it; whether there is one: it needs the right to mount."""
    folder = root / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings of `played` are."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def played(root: Path) -> dict[str, dict]:
    """What a training with each kind of fault left, by kind."""
    with small_disk(root) as mounted:
        plays = [f"{kinds}:0" for kinds in PLAYS if mounted or kinds != "disk"]
        rows = play(root, *plays)
    return {kind: row for row in rows for kind in row["play"].partition(":")[0].split("+")}


@pytest.mark.parametrize("kind", KINDS)
def test_training_survives(kind: str, played: dict[str, dict]) -> None:
    if kind not in played:
        pytest.skip("a disk of one's own needs the right to mount")
    check(kind, played[kind])


def test_an_analyzer_that_hangs_still_gives_signs_of_life(root: Path, played: dict[str, dict]) -> None:
    assert played["hangs"]["opens"]
    run_dir = root / "hangs" / "run0"
    state, beat = read_state(run_dir), read_heartbeat(run_dir)
    assert state.busy_since is not None and beat is not None
    assert beat.at - state.busy_since > HEARTBEAT_S, "the other trainings took longer than that"


@pytest.mark.verify
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_training_survives_at_random_times(kind: str, tmp_path: Path) -> None:
    for first in range(1, MANY + 1, 5):  # a disk that was full is empty again for each five
        (tmp_path / str(first)).mkdir()
        with small_disk(tmp_path / str(first)) as mounted:
            if kind == "disk" and not mounted:
                pytest.skip("a disk of one's own needs the right to mount")
            for row in play(tmp_path / str(first), *(f"{kind}:{seed}" for seed in range(first, first + 5))):
                check(kind, row)
