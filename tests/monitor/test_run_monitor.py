# SPDX-License-Identifier: Apache-2.0
"""Which step is due next, which was handled last, and what a start that fails leaves behind."""

import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_interp.capture import recorder
from lightning_interp.capture.weight_marks import WeightMarks
from lightning_interp.core.errors import InterpError
from lightning_interp.monitor.last_snapshot import LastSnapshot
from lightning_interp.monitor.run_monitor import RunMonitor
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store import open_run
from lightning_interp.store.health_log import events
from lightning_interp.store.snapshots import write_snapshot


def monitor_in(folder: Path) -> RunMonitor:
    return RunMonitor(folder / "run", every_n_steps=5, background="inline", report=False)


def test_a_step_that_is_given_up_is_due_no_more_and_is_made_up_for_at_the_end(tmp_path, monkeypatch):
    monitor, module = monitor_in(tmp_path), nn.Linear(2, 2)
    monitor.start(module, TrainingContext(tmp_path))
    monkeypatch.setattr(monitor, "_next_look", math.inf)
    assert not monitor.is_due(4, 0.0) and monitor.is_due(5, 0.0)
    monkeypatch.setattr(monitor._throttle, "may_take", lambda *_, **__: False)
    monitor.after_step(module, step=6, epoch=0, scalars=dict)
    assert not monitor.is_due(9, 0.0) and monitor.is_due(10, 0.0)
    assert monitor.progress().last_step == 6
    for _ in range(2):
        monitor.last_snapshot(module, WeightMarks(), step=6, epoch=0, scalars={})
    monitor.close()
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 6]
    assert [row["event"] for row in events(run.health, "dropped", "snapshot")] == ["snapshot", "dropped", "snapshot"]


def test_the_last_snapshot_waits_a_little_for_a_writer_that_holds_all_buffers(tmp_path, monkeypatch):
    def slow(*given, **named):
        time.sleep(0.1)
        return write_snapshot(*given, **named)

    monkeypatch.setattr(recorder, "write_snapshot", slow)
    monitor, module = monitor_in(tmp_path), nn.Linear(2, 2)
    monitor.start(module, TrainingContext(tmp_path))
    monkeypatch.setattr(monitor._engine, "snapshot_taken", lambda: None)  # which waits for the writer, inline
    for step in range(1, 9):  # more than there are buffers, faster than they are written
        monitor.snapshot(module, step=step, epoch=0, scalars={})
    monitor.last_snapshot(module, WeightMarks(), step=9, epoch=0, scalars={})
    monitor.close()
    run = open_run(tmp_path / "run")
    assert run.steps[-1] == 9
    assert events(run.health, "dropped")  # some of the others were given up


def test_tensors_that_snapshots_do_not_follow_are_told_in_the_health_log(tmp_path):
    monitor, module = monitor_in(tmp_path), nn.Linear(2, 2)
    module.register_buffer("queue", torch.zeros(2), persistent=False)
    monitor.start(module, TrainingContext(tmp_path))
    module.queue.add_(1)
    monitor.close(module=module)
    (told,) = events(open_run(tmp_path / "run").health, "not_followed")
    assert told["text"] == "tensors outside the state_dict changed and were not followed: queue"


def test_a_start_that_fails_late_lets_go_of_everything(tmp_path, monkeypatch):
    def fail(*_):
        raise InterpError("late")

    monkeypatch.setattr(RunMonitor, "_announce", fail)
    monitor = monitor_in(tmp_path)
    with pytest.raises(InterpError, match="late"):
        monitor.start(nn.Linear(2, 2), TrainingContext(tmp_path))
    assert open_run(tmp_path / "run").manifest.status == "failed"
    assert not monitor._recorder._thread.is_alive()


def test_marking_the_weights_counts_as_time_in_hooks(tmp_path):
    monitor, module = monitor_in(tmp_path), nn.Linear(2, 2)
    monitor.start(module, TrainingContext(tmp_path))
    before = monitor._throttle.overhead.in_hooks
    monitor.mark(module, WeightMarks(), step=1)
    assert monitor._throttle.overhead.in_hooks > before
    monitor.abandon()


def test_copies_that_are_held_over_others_give_their_memory_back(tmp_path):
    monitor, module = monitor_in(tmp_path), nn.Linear(2, 2)
    monitor.start(module, TrainingContext(tmp_path))
    trainer = SimpleNamespace(callbacks=[], current_epoch=0)
    last = LastSnapshot(trainer, Callback(), monitor, waits=False)
    assert all(last._hold(trainer, module, step) for step in range(1, 9))
    monitor.abandon()
