# SPDX-License-Identifier: Apache-2.0
"""The report at the end of a training: there however it ended, never in its way, and left out where that is asked for."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Classifier, fit
from waiting import until_closed

from lightning_interp import InterpMonitor, open_run

SUPPORT = Path(__file__).parents[1] / "support"
LEFT_OPEN = """
import sys
import torch
from torch.utils.data import DataLoader
from three_classes import data
from lightning_interp import Monitor

monitor = Monitor(sys.argv[1], background="inline", every_n_steps=5)
watching = monitor.watch(torch.nn.Linear(10, 3), train_data=DataLoader(data(), batch_size=32))
watching.__enter__()
monitor.step(5)
print("left open", flush=True)
"""


@pytest.fixture(autouse=True)
def reports(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Reports are written in this file."""
    monkeypatch.setenv("LIGHTNING_INTERP_REPORT", "1")
    caplog.set_level(logging.INFO, logger="lightning_interp")


def monitor(root: Path, **options: Any) -> InterpMonitor:
    return InterpMonitor(root / "run", **{"background": "inline", "every_n_steps": 5, **options})


def said(caplog: pytest.LogCaptureFixture, root: Path) -> list[str]:
    """What the monitor said about reports, paths from the test's folder on."""
    ours = [record.message for record in caplog.records if record.name == "lightning_interp"]
    return [line for line in (line.replace(f"{root}/", "") for line in ours) if "report" in line]


def test_the_end_of_training_writes_a_report_and_says_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, monitor(tmp_path), max_steps=20)
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "finished" in text and "<title>" in text
    assert said(caplog, tmp_path) == ["report run/report.html"]


@pytest.mark.parametrize(("argument", "variable"), [(False, "1"), (True, "0")])
def test_argument_and_environment_switch_the_report_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, argument: bool, variable: str
) -> None:
    monkeypatch.setenv("LIGHTNING_INTERP_REPORT", variable)
    fit(tmp_path, monitor(tmp_path, report=argument), max_steps=10)
    assert not (tmp_path / "run" / "report.html").exists() and not said(caplog, tmp_path)


def test_a_report_that_cannot_be_written_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run" / "report.html").mkdir(parents=True)  # a folder stands in its way
    trainer = fit(tmp_path, monitor(tmp_path), max_steps=10)
    (line,) = said(caplog, tmp_path)
    assert line.startswith("warning: the report could not be written (") and "lightning-interp report" in line
    assert trainer.global_step == 10 and open_run(tmp_path / "run").manifest.status == "finished"


def test_strict_raises_what_a_report_meets(tmp_path: Path) -> None:
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    with pytest.raises(OSError, match=r"report\.html"):
        fit(tmp_path, monitor(tmp_path, strict=True), max_steps=10)


class Fails(Classifier):
    """Raises at step 15."""

    error: BaseException = RuntimeError("the user's own error")

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step >= 15:
            raise self.error
        return super().training_step(batch, batch_idx)


def test_a_training_that_failed_has_a_report(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the user's own error"):
        fit(tmp_path, monitor(tmp_path), Fails(), max_steps=20)
    until_closed(tmp_path / "run")
    assert open_run(tmp_path / "run").manifest.status == "failed"
    assert "failed" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_training_that_was_interrupted_has_a_report(tmp_path: Path, restored_sigint: None) -> None:
    module = Fails()
    module.error = KeyboardInterrupt()
    with pytest.raises(SystemExit):
        fit(tmp_path, monitor(tmp_path), module, max_steps=20)
    until_closed(tmp_path / "run")
    assert open_run(tmp_path / "run").manifest.status == "interrupted"
    assert (tmp_path / "run" / "report.html").exists()


def test_an_unfinished_analysis_has_a_report_that_says_how_to_renew_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path, monitor(tmp_path, background="process", close_timeout=0), max_steps=20)
    assert (tmp_path / "run" / "report.html").exists()
    _, renewal = said(caplog, tmp_path)
    assert renewal == "the report shows what is analyzed so far; `lightning-interp report run` renews it"


def test_ctrl_c_during_the_report_ends_cleanly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, restored_sigint: None
) -> None:
    """The signal comes while the page is being written, as from a keyboard."""
    replace = Path.replace

    def interrupted(self: Path, target: Any) -> Path:
        if Path(target).name == "report.html":
            signal.raise_signal(signal.SIGINT)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, monitor(tmp_path), max_steps=10)
    run = open_run(tmp_path / "run")
    assert run.manifest.status == "finished" and [record.step for record in run.all_records] == [0, 5, 10]
    assert not [path.name for path in run.path.iterdir() if "report" in path.name], "neither a page nor a part of one"
    assert said(caplog, tmp_path) == ["no report: interrupted; `lightning-interp report run` writes it"]


def test_a_process_that_ends_without_closing_writes_no_report(tmp_path: Path) -> None:
    """Only `atexit` closes the monitor, with little time."""
    command = [sys.executable, "-c", LEFT_OPEN, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0 and "left open" in done.stdout, done.stderr
    assert open_run(tmp_path / "run").manifest.status == "interrupted"
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.fixture
def restored_sigint() -> Iterator[None]:
    """Lightning ignores Ctrl-C from the first one on."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
