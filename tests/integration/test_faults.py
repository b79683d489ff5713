# SPDX-License-Identifier: Apache-2.0
"""Killed trainings resume their run directory; a killed analyzer costs its results and one warning."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import noisy_training
import pytest
from waiting import until

from lightning_interp import Run, open_run
from lightning_interp.store.layout import ABANDONED, SNAPSHOTS, committed_steps
from lightning_interp.store.tensor_file import read_tensors

MAX_STEPS = 400
EVERY = 7
SCHEDULED = {*range(0, MAX_STEPS + 1, EVERY), MAX_STEPS}


@contextmanager
def training(root: Path, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """A training in a process of its own, which does not outlive its test."""
    command = [sys.executable, noisy_training.__file__, str(root), "--max-steps", str(MAX_STEPS), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run_training(root: Path, *options: str) -> str:
    with training(root, *options) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    return errors


def wait_for_step(root: Path, step: int, process: "subprocess.Popen[str]") -> None:
    """Until there is a snapshot of this step or a later one, or the training is held, which it is later still."""
    deadline = time.monotonic() + 120
    while max(committed_steps(root / "run" / SNAPSHOTS), default=-1) < step and not (root / noisy_training.HELD).exists():
        assert process.poll() is None and time.monotonic() < deadline, "training ended too early or did not start"
        time.sleep(0.002)


def kill_training_and_resume(root: Path, seed: int) -> None:
    draw = random.Random(seed)
    # Late enough for a checkpoint: without one there is nothing to resume.
    step = draw.randrange(80, MAX_STEPS - 60)
    # Held some steps later: however late the kill comes, it does not come after the training.
    with training(root, "--hold-at", str(step + 40)) as process:
        wait_for_step(root, step, process)
        time.sleep(draw.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    run = open_run(root / "run")
    committed = set(run.steps)
    assert all(run.snapshot(step).step == step for step in committed), "a committed snapshot is torn"
    run_training(root, "--resume")
    check_resumed(open_run(root / "run"), committed)


def check_resumed(run: Run, committed: set[int]) -> None:
    attempts = run.manifest.attempts
    resumed_at = attempts[-1].resumed_at if len(attempts) > 1 else None
    present, dropped = set(run.steps), {row["step"] for row in run.health if row["event"] == "dropped"}
    assert SCHEDULED - present - dropped == set(), "a scheduled step is neither on disk nor recorded as dropped"
    if resumed_at is not None:
        assert {step for step in committed if step <= resumed_at} <= present
        aside = {step for folder in (run.path / ABANDONED).glob(f"*/{SNAPSHOTS}") for step in committed_steps(folder)}
        assert {step for step in committed if step > resumed_at} <= aside
    assert [record.step for record in run.all_records] == run.steps, "each snapshot has one standing record"
    assert run.manifest.status == "finished"
    for folder in (run.path / ABANDONED).glob(f"*/{SNAPSHOTS}"):
        for path in folder.glob("step_*"):
            read_tensors(path)  # set aside whole


def test_killed_training_resumes_its_run_directory(tmp_path: Path) -> None:
    kill_training_and_resume(tmp_path, seed=0)


@pytest.mark.verify
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 31))
def test_training_killed_at_random_times(tmp_path: Path, seed: int) -> None:
    kill_training_and_resume(tmp_path, seed)


def analyzer_pids(run_dir: Path) -> list[int]:
    """Analyzer processes of a run directory, from the process table."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"lightning_interp.analysis.worker" in words and str(run_dir).encode() in words:
                found.append(int(entry.name))
    return found


def kill_analyzer_and_finish(root: Path, seed: int, *, times: int) -> None:
    """Kill the analyzer once, which costs one snapshot at most, or also the one that takes its place, which is final."""
    with training(root) as process:
        wait_for_step(root, EVERY * (2 + seed), process)
        killed: set[int] = set()
        while len(killed) < times:
            (pid,) = new_analyzer(root / "run", killed, process)
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        output, errors = process.communicate(timeout=240)
    assert process.returncode == 0 and f"done {MAX_STEPS}" in output
    assert errors.count("it was started again") == 1 and errors.count("for the second time") == times - 1, errors
    run = open_run(root / "run")
    dropped = {row["step"] for row in run.health if row["event"] == "dropped"}
    assert run.manifest.status == "finished" and set(run.steps) | dropped == SCHEDULED
    left_out = [record.step for record in run.all_records if "snapshot" in record.skipped]
    if times == 1:
        assert len(left_out) <= 1 and [record.step for record in run.all_records] == run.steps
        assert run.analysis["stage"] == "finished"
    finish_analysis(root / "run")
    assert [record.step for record in run.all_records] == run.steps
    assert all("train_loss" in record.values for record in run.all_records)


def new_analyzer(run_dir: Path, killed: set[int], process: "subprocess.Popen[str]") -> set[int]:
    """The analyzer process that was not killed yet, once there is one."""
    deadline = time.monotonic() + 120
    while not (found := set(analyzer_pids(run_dir)) - killed):
        assert process.poll() is None and time.monotonic() < deadline, "no analyzer took the place of the one killed"
        time.sleep(0.01)
    return found


def finish_analysis(run_dir: Path) -> dict:
    command = [sys.executable, "-m", "lightning_interp.cli.main", "analyze", str(run_dir)]
    result = subprocess.run(
        [*command, "--module", "noisy_training:build", "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(noisy_training.__file__).parent,
    )
    assert result.returncode == 0, result.stderr
    timeline: dict = json.loads(result.stdout)
    assert timeline == json.loads((run_dir / "phases.json").read_text())
    return timeline


@pytest.mark.parametrize("times", [1, 2])
def test_killed_analyzer_is_started_again_once_and_analyze_finishes(tmp_path: Path, times: int) -> None:
    kill_analyzer_and_finish(tmp_path, seed=0, times=times)


@pytest.mark.verify
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 31))
def test_analyzer_killed_at_other_times(tmp_path: Path, seed: int) -> None:
    kill_analyzer_and_finish(tmp_path, seed, times=1 + seed % 2)


def test_interrupted_training_ends_cleanly(tmp_path: Path) -> None:
    """Ctrl-C: the run directory says so, what was captured is analyzed after the training, and then nothing is left."""
    with training(tmp_path, "--max-steps", "100000") as process:  # more than it reaches before it is interrupted
        wait_for_step(tmp_path, EVERY * 3, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=240)
    run = open_run(tmp_path / "run")
    assert run.manifest.status == "interrupted"
    until(lambda: [record.step for record in open_run(run.path).all_records] == run.steps)
    until(lambda: analyzer_pids(tmp_path / "run") == [])
