# SPDX-License-Identifier: Apache-2.0
"""Killed trainings resume their run directory."""

import random
import signal
import time
from pathlib import Path

import pytest
from noisy_process import ENDS_S, EVERY, training, wait_for_step

from lightning_interp import Run, open_run
from lightning_interp.store.layout import ABANDONED, SNAPSHOTS, committed_steps
from lightning_interp.store.tensor_file import read_tensors

MAX_STEPS = 240
SCHEDULED = {*range(0, MAX_STEPS + 1, EVERY), MAX_STEPS}


def kill_training_and_resume(root: Path, seed: int) -> None:
    draw = random.Random(seed)
    # Late enough for a checkpoint: without one there is nothing to resume.
    step = draw.randrange(80, MAX_STEPS - 60)
    # Held some steps later: however late the kill comes, it does not come after the training.
    with training(root, "--max-steps", str(MAX_STEPS), "--hold-at", str(step + 40)) as process:
        wait_for_step(root, step, process)
        time.sleep(draw.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    run = open_run(root / "run")
    committed = set(run.steps)
    assert all(run.snapshot(step).step == step for step in committed), "a committed snapshot is torn"
    with training(root, "--max-steps", str(MAX_STEPS), "--resume") as process:
        _, errors = process.communicate(timeout=ENDS_S)
    assert process.returncode == 0, errors[-3000:]
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
