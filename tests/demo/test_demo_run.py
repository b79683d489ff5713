# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: exit codes, JSON, interruption, no traces in the process; to its end under `verify`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hostile_folder import fill
from patient_monitor import make_patient

from lightning_interp.cli.main import main

COMMAND = [sys.executable, "-c", "import sys; from lightning_interp.cli.main import main; sys.exit(main())", "demo"]


def test_demo_help_loads_no_torch() -> None:
    code = "import argparse, sys; from lightning_interp.cli import demo; demo.add_arguments(argparse.ArgumentParser())"
    code += "; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_demo_refuses_a_folder_that_holds_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "is not an empty folder. Name another one with --out." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_demo_without_steps_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), "--max-steps", "0"]) == 2
    assert "`max_steps` must be 1 or more, got 0" in capsys.readouterr().err


def test_demo_that_does_not_grok_exits_1_and_leaves_files_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_patient(monkeypatch)  # the picture needs a record, however long the analyzer takes to start
    environment, state = dict(os.environ), torch.get_rng_state()
    assert main(["demo", "--out", str(tmp_path / "out"), "--max-steps", "3", "--json"]) == 1
    output = capsys.readouterr()
    summary = json.loads(output.out)  # nothing but the object on stdout
    assert not summary["grokked"]
    assert "did not grok" in output.err
    assert all(Path(summary[name]).exists() for name in ("run_dir", "picture", "wandb_dir"))
    assert list(Path(summary["wandb_dir"]).glob("*.wandb"))
    assert dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, subprocess.Popen[str], str]":
    """A demo in a folder that somebody else filled, after Ctrl-C at its first snapshot; what it said on standard error."""
    folder = tmp_path_factory.mktemp("interrupted")
    fill(folder / "downloaded", folder / "marker")
    out = folder / "out"
    # As the installed program starts: the folder it runs in is not on its import path.
    command = [COMMAND[0], "-P", *COMMAND[1:], "--out", str(out)]
    with subprocess.Popen(
        command, cwd=folder / "downloaded", stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not list(out.glob("run/snapshots/step_*.safetensors")) and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    return folder, process, errors


def test_demo_ends_cleanly_on_ctrl_c(interrupted: "tuple[Path, subprocess.Popen[str], str]") -> None:
    folder, process, errors = interrupted
    assert process.returncode == 130, errors
    assert f"Stopped. What was captured is in {folder / 'out' / 'run'}." in errors
    assert "Traceback" not in errors


def test_demo_runs_nothing_of_the_folder_it_is_run_in(interrupted: "tuple[Path, subprocess.Popen[str], str]") -> None:
    folder, _, errors = interrupted
    assert (folder / "out" / "run" / "analyzer.log").exists(), "its analyzer was not started"
    assert not (folder / "marker").exists(), errors


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_demo_groks(tmp_path: Path) -> None:
    command = [*COMMAND, "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    names = [phase["name"] for phase in json.loads(done.stdout)["timeline"]["phases"]]
    assert names[-3:] == ["circuit_formation", "cleanup", "converged"]
    assert "memorization" in names
