# SPDX-License-Identifier: Apache-2.0
"""Budgets of real trainings: wall time, disk, and what is said about them at the end."""

import logging
from pathlib import Path

import pytest
from prompt_delivery import deliver_at_every_step
from small_training import Classifier, fit

from lightning_interp import InterpMonitor, open_run


def events(run_dir: Path, kind: str) -> list[dict]:
    return [row for row in open_run(run_dir).health if row["event"] == kind]


def test_a_run_keeps_its_disk_cap_and_all_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of 2.2 kB and activations of 8.7 kB a step: 60 of them would take ten times the cap."""
    deliver_at_every_step(monkeypatch)  # what is delivered may be removed
    fit(tmp_path, InterpMonitor(tmp_path / "run", every_n_steps=1, max_disk="60kB", background="inline"), max_steps=60)
    run = open_run(tmp_path / "run")
    removed = {row["step"] for row in events(run.path, "removed")}
    assert removed and {*run.steps, *removed} == set(range(61)) and 0 in run.steps
    size = sum(path.stat().st_size for path in (run.path / "snapshots").iterdir())
    assert size < 60_000
    assert [record.step for record in run.all_records] == list(range(61))


def test_the_last_few_stay_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver_at_every_step(monkeypatch)
    fit(tmp_path, InterpMonitor(tmp_path / "run", every_n_steps=1, retention="last:5", background="inline"), max_steps=20)
    run = open_run(tmp_path / "run")
    # Room is made before a snapshot is written: the five of then, the first and the latest of then, and the new one.
    assert run.steps == [0, *range(14, 21)]
    assert [record.step for record in run.all_records] == list(range(21)), "records stay"


class DearState(Classifier):
    """Asking it for its state takes 20 ms, as a module of thousands of tensors might."""

    def state_dict(self, *arguments, **options):
        import time

        time.sleep(0.02)
        return super().state_dict(*arguments, **options)


def test_dear_snapshots_thin_the_schedule_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = InterpMonitor(tmp_path / "run", every_n_steps=1, max_overhead=0.01)
    with caplog.at_level(logging.INFO, logger="lightning_interp"):
        fit(tmp_path, monitor, DearState(), max_steps=150)
    run = open_run(tmp_path / "run")
    dropped = {row["step"] for row in events(run.path, "dropped")}
    assert events(run.path, "thinned")
    assert len(run.steps) < 75
    assert {0, 150} <= set(run.steps)
    assert any("max_overhead" in row["reason"] for row in events(run.path, "dropped")) and dropped
    summary = next(text for text in caplog.messages if text.startswith("monitor: "))
    assert "of wall time in hooks" in summary and "schedule thinned to" in summary and "analyzer finished" in summary


def test_the_end_of_the_health_log_says_what_the_monitor_cost(default_run: Path) -> None:
    (closed,) = events(default_run, "closed")
    assert closed["analyzer_finished"] is True
    assert 0 < closed["hook_share"] <= 1
