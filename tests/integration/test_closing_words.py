# SPDX-License-Identifier: Apache-2.0
"""What the end of a training and `status` say where the analysis cannot be done now: real processes, in real trouble."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from slot_holders import slot_holders

from lightning_interp.analysis.worker.slots import slot_folder
from lightning_interp.cli.main import main
from lightning_interp.store.analysis_state import read_state
from lightning_interp.store.heartbeat import read_heartbeat, write_heartbeat
from lightning_interp.store.snapshots import snapshot_steps

SUPPORT = Path(__file__).parents[1] / "support"
TRAINING = SUPPORT / "troubled_training.py"
PATIENCE_S = 60.0
"""Longest a training of some steps and its analyzer may take to import torch and to end, on a machine that is busy."""


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """What `status` shows, in one line."""
    monkeypatch.setenv("COLUMNS", "400")

    def show(run_dir: Path) -> str:
        capsys.readouterr()
        assert main(["status", str(run_dir)]) == 0
        return " ".join(capsys.readouterr().out.split())

    return show


def start(run_dir: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    command: Sequence[str] = [sys.executable, str(TRAINING), str(run_dir), *words]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]), **environment}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which a test may fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here; the test with a stand-in for it runs")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("way", ["ends", "breaks"])
def test_an_analyzer_in_the_queue_is_said_to_wait_and_for_whom(tmp_path, shown, way):
    folder, run_dir = tmp_path / slot_folder().name, tmp_path / "run"
    with slot_holders(folder, 3) as holders:
        pids = ", ".join(str(pid) for pid in sorted(holder.pid for holder in holders))
        waits = f"waits for 3 other analyzers of yours (pids {pids})"
        with start(run_dir, way, LIGHTNING_INTERP_ANALYZERS="3", TMPDIR=str(tmp_path)) as training:
            said = training.communicate(timeout=PATIENCE_S)[1]
        assert (
            f"the analysis goes on in the background when its turn comes: it {waits}; "
            f"`lightning-interp status {run_dir}` shows when it goes on" in said
        )
        assert (f"waiting for the analysis: in the queue; it {waits}" in said) == (way == "ends")
        assert f"The analyzer {waits}; it goes on when one of them ends or hands its turn on" in shown(run_dir)
        holders[1].kill()
        until(lambda: read_state(run_dir).stage == "finished")
    assert "waits for" not in shown(run_dir)


@pytest.mark.parametrize("way", ["dies", "dies early", "breaks and dies"])
def test_an_analyzer_that_died_is_said_to_be_dead_and_how_its_work_is_finished(tmp_path, way):
    run_dir = tmp_path / "run"
    with start(run_dir, way) as training:
        said = training.communicate(timeout=PATIENCE_S)[1]
    last = [line for line in said.splitlines() if "the analyzer process was ended by signal 9" in line][-1]
    assert "while observing step 6 for the second time" in last
    assert (
        f"the last step analyzed is 5; snapshots are kept, finish the analysis with `lightning-interp analyze {run_dir}"
        in last
    )
    assert "Training goes on" not in last
    assert said.count("Training goes on") == (way == "dies early")
    assert "in the background" not in said


def test_an_analyzer_that_was_killed_after_its_training_is_said_to_be_gone(tmp_path, shown):
    run_dir = tmp_path / "run"
    with start(run_dir, "leaves work") as training:
        said = training.communicate(timeout=PATIENCE_S)[1]
    assert "the analysis goes on in the background; `lightning-interp status" in said
    beat = read_heartbeat(run_dir)
    assert "gone" not in shown(run_dir)
    os.kill(beat.pid, signal.SIGKILL)
    write_heartbeat(run_dir, replace(beat, at=time.time() - 20))  # in place of a wait
    until(lambda: "is gone since" in shown(run_dir))
    assert f"The analyzer (process {beat.pid}) is gone since" in shown(run_dir)
    assert f"`lightning-interp analyze {run_dir} --module pkg.mod:build` finishes its work." in shown(run_dir)


def test_a_full_disk_is_said_to_be_full_from_which_step_and_what_to_do(small_disk, shown):
    run_dir = small_disk / "run"
    with start(run_dir, "fills the disk") as training:
        said = training.communicate(timeout=PATIENCE_S)[1]
        assert training.returncode == 0
    (last,) = (line for line in said.splitlines() if "The disk that holds" in line)
    words = re.compile(
        rf"The disk that holds {run_dir} is full \(0 bytes left\): nothing since step (\d+) is on it\. "
        rf"Free space, then run `lightning-interp analyze {run_dir}`$"
    )
    assert int(words.search(last)[1]) == max(snapshot_steps(run_dir)) + 1
    assert f"The disk that holds {run_dir} is full (0 bytes left). Free space, then run" in shown(run_dir)
    (small_disk / "filler").unlink()
    assert main(["analyze", str(run_dir)]) == 0
    assert "is full" not in shown(run_dir)


@pytest.mark.skipif(shutil.disk_usage(".").free < 2**20, reason="the disk is full here")
def test_a_full_disk_is_known_by_the_number_that_the_system_gave(tmp_path, shown):
    """The same with a stand-in for the disk, for where no small one can be mounted."""
    run_dir = tmp_path / "run"
    with start(run_dir, "writes nothing more") as training:
        said = training.communicate(timeout=PATIENCE_S)[1]
        assert training.returncode == 0
    since = max(snapshot_steps(run_dir)) + 1
    assert re.search(rf"The disk .* is full \([\d,]+ bytes left\): nothing since step {since} is on it", said)
    assert "is full" not in shown(run_dir)
