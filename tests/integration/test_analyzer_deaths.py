# SPDX-License-Identifier: Apache-2.0
"""The analyzer and its training: one is killed, both are told to end. What each death does alone: test_process_engine.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import noisy_training
import pytest
from noisy_process import ENDS_S, EVERY, STARTS_S, analyzer_pids, training, wait_for_step
from waiting import until

from lightning_interp import Run, open_run
from lightning_interp.store.layout import RECORDS

MAX_STEPS = 240
SCHEDULED = {*range(0, MAX_STEPS + 1, EVERY), MAX_STEPS}
ENDLESS = ("--max-steps", "100000", "--slow-after", "25")
"""More steps than a training takes before its test ends it, slow ones once there is something to observe."""


def kill_analyzer_and_finish(root: Path, seed: int, *, times: int) -> None:
    """Kill the analyzer once, which costs one snapshot at most, or also the one that takes its place, which is final."""
    with training(root, "--max-steps", str(MAX_STEPS)) as process:
        wait_for_step(root, EVERY * (2 + seed), process)
        killed: set[int] = set()
        while len(killed) < times:
            (pid,) = new_analyzer(root / "run", killed, process)
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        output, errors = process.communicate(timeout=ENDS_S)
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
    deadline = time.monotonic() + STARTS_S
    while not (found := analyzer_pids(run_dir) - killed):
        assert process.poll() is None and time.monotonic() < deadline, "no analyzer took the place of the one killed"
        time.sleep(0.01)
    return found


def finish_analysis(run_dir: Path) -> None:
    command = [sys.executable, "-m", "lightning_interp.cli.main", "analyze", str(run_dir)]
    result = subprocess.run(
        [*command, "--module", "noisy_training:build", "--json"],
        capture_output=True,
        text=True,
        timeout=ENDS_S,
        cwd=Path(noisy_training.__file__).parent,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == json.loads((run_dir / "phases.json").read_text())


def test_analyzer_killed_twice_is_started_again_once_and_analyze_finishes(tmp_path: Path) -> None:
    kill_analyzer_and_finish(tmp_path, seed=0, times=2)


@pytest.mark.verify
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(31))
def test_analyzer_killed_at_other_times(tmp_path: Path, seed: int) -> None:
    kill_analyzer_and_finish(tmp_path, seed, times=1 + seed % 2)


def end_while_the_analyzer_works(root: Path, sent: signal.Signals, *, analyzer_too: bool = False) -> tuple[Run, str]:
    """The run of a training that was sent a signal once its analyzer had written a record, and what it printed."""
    with training(root, *ENDLESS) as process:
        wait_for_step(root, EVERY * 3, process)
        until(lambda: recorded(root / "run"), seconds=STARTS_S)
        (pid,) = analyzer_pids(root / "run")
        if analyzer_too:
            os.kill(pid, sent)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=ENDS_S)
    until(lambda: analyzer_pids(root / "run") == set())
    run = open_run(root / "run")
    assert all(run.snapshot(step).step == step for step in run.steps), "a committed snapshot is torn"
    assert {record.step for record in run.all_records} <= set(run.steps)
    return run, errors


def recorded(run_dir: Path) -> bool:
    """Whether a whole line is on disk: the file is there before its first."""
    return (run_dir / RECORDS).exists() and b"\n" in (run_dir / RECORDS).read_bytes()


def test_ctrl_c_ends_training_and_analyzer_with_everything_analyzed(tmp_path: Path) -> None:
    run, _ = end_while_the_analyzer_works(tmp_path, signal.SIGINT)
    assert (run.manifest.status, run.analysis["stage"]) == ("interrupted", "finished")
    assert [record.step for record in run.all_records] == run.steps


def test_a_scheduler_that_ends_training_and_analyzer_leaves_no_new_analyzer_and_a_run_that_opens(tmp_path: Path) -> None:
    """As before a requeue: SIGTERM to every process of the job."""
    run, errors = end_while_the_analyzer_works(tmp_path, signal.SIGTERM, analyzer_too=True)
    assert "it was started again" not in errors
    assert run.all_records and run.steps


@pytest.mark.verify
@pytest.mark.parametrize(("sent", "stage"), [(signal.SIGKILL, "stopped"), (signal.SIGTERM, "finished")])
def test_no_analyzer_is_left_behind(tmp_path: Path, sent: signal.Signals, stage: str) -> None:
    run, _ = end_while_the_analyzer_works(tmp_path, sent)
    assert run.analysis["stage"] == stage
