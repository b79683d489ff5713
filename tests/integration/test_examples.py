# SPDX-License-Identifier: Apache-2.0
"""The gallery runs as a reader would run it, on sizes that take seconds."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_interp import Run, open_run
from lightning_interp.dashboards.report import write_report

pytestmark = pytest.mark.timeout(600)
PATIENCE = 200.0
"""Seconds an analyzer may go on after the script, which waits for it as long as a user's would."""
EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def analyzed(run_dir: Path) -> Run:
    """The run once its analyzer has finished."""
    run, deadline = open_run(run_dir), time.monotonic() + PATIENCE
    while (stage := run.analysis.get("stage")) != "finished":
        assert stage not in ("stopped", "failed") and time.monotonic() < deadline, f"the analysis did not finish: {stage}"
        time.sleep(0.1)
    return run


def test_modular_addition_example_runs(tmp_path: Path) -> None:
    small = ("--p", "13", "--d-model", "16", "--fraction", ".5", "--max-steps", "60", "--logger", "none")
    run_example("modular_addition.py", *small, "--dirpath", str(tmp_path / "run"))
    assert {"excluded_loss_max", "gini_embedding", "heldout_loss"} <= set(analyzed(tmp_path / "run").series)


@pytest.mark.verify
def test_plain_digits_example_runs(tmp_path: Path) -> None:
    run_example("plain_digits.py")
    (run_dir,) = tmp_path.glob("**/interp_runs/*")
    timeline = analyzed(run_dir).timeline
    assert timeline is not None and timeline.verdict == "early_generalization"


def test_self_supervised_example_gets_a_report_that_makes_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_INTERP_REPORT", "1")
    printed = run_example("self_supervised_digits.py", "--max-steps", "200", "--dirpath", str(tmp_path / "run"))
    assert "report.html" in printed
    analyzed(tmp_path / "run")
    text = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    for words in ("Shape of the curve", "val loss pixels", "learning rate", "Trajectory of the weights", "own unit"):
        assert words in text


def test_digits_by_tasks_example_describes_components(tmp_path: Path) -> None:
    small = ("--epochs-per-task", "3", "--width", "16", "--max-rank", "3", "--dirpath", str(tmp_path / "run"))
    printed = run_example("digits_by_tasks.py", *small)
    assert "held-out error" in printed
    assert "component 0 (" in printed
