# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deadly_measure import Deadly
from torch import nn

from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.worker.engines import InlineEngine, ProcessEngine, ThreadEngine, start_engine
from lightning_interp.analysis.worker.pipe import encode_start
from lightning_interp.core.errors import RunError
from lightning_interp.core.tca_settings import TCA
from lightning_interp.measures import Measure
from lightning_interp.store import analyzer_lock, open_run
from lightning_interp.store.layout import COMPONENTS, RECORDS

PATIENCE = 200.0
"""Seconds a process may take to import torch and observe four small snapshots, on a machine that is busy otherwise."""


class Fails(Measure):
    name, names, needs = "fails", ("fails",), frozenset({"weights"})

    def __call__(self, observation):
        raise ArithmeticError("no such number")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def record_lines(path):
    return (path / RECORDS).read_text().splitlines() if (path / RECORDS).exists() else []


def reference(run) -> list[str]:
    """Records of an analyzer that ran in this process."""
    analyzer_for(run.path, run.order()).run_pending()
    return record_lines(run.path)


def inline(run, **changes) -> InlineEngine:
    engine = start_engine("inline", run.path, run.order(**changes), flush=lambda: None)
    assert isinstance(engine, InlineEngine)
    return engine


def test_inline_engine_observes_when_a_snapshot_is_taken(prepare):
    run = prepare(steps=(0,))
    engine = inline(run)
    engine.snapshot_taken()
    assert open_run(run.path).records("weight_norm")[0].tolist() == [0]
    engine.finish()
    assert open_run(run.path).analysis["stage"] == "finished"
    assert engine.failure is None


def test_inline_engine_waits_for_the_writer_first(prepare):
    run = prepare(steps=())
    engine = InlineEngine(run.path, run.order(), flush=lambda: run.commit(0))
    engine.snapshot_taken()
    assert open_run(run.path).records("weight_norm")[0].tolist() == [0]
    engine.finish()


def test_inline_engine_holds_the_lock_until_it_finishes(prepare):
    run = prepare()
    engine = inline(run)
    with pytest.raises(RunError), analyzer_lock(run.path):
        pass
    engine.finish()
    with analyzer_lock(run.path):
        pass


def test_inline_engine_tells_its_failure_and_does_not_raise(prepare):
    engine = inline(prepare(), measures=(Fails(),), strict=True)
    engine.snapshot_taken()
    engine.finish()
    assert engine.failure == "the inline analysis ended with ArithmeticError: no such number"


def no_room_for_components(prepare):
    """A run with a file where its folder of components belongs, which shows when they are first written: at the end."""
    run = prepare(module=nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    (run.path / COMPONENTS).write_text("in the way")
    return run, run.order(tca=TCA(layers=("1",), every=100), strict=True)


def test_inline_engine_tells_that_the_last_fit_of_components_failed(prepare):
    run, order = no_room_for_components(prepare)
    engine = InlineEngine(run.path, order, flush=lambda: None)
    engine.snapshot_taken()
    assert engine.failure is None
    engine.finish()
    assert engine.failure.startswith("the inline analysis ended with FileExistsError")


def test_process_engine_tells_that_the_last_fit_of_components_failed(prepare):
    run, order = no_room_for_components(prepare)
    engine = ProcessEngine(run.path, order)
    engine.finish()
    assert engine.wait(PATIENCE)
    assert "ended with status 1" in engine.failure
    assert open_run(run.path).analysis["stage"] == "failed"


def test_thread_engine_finishes_with_the_same_records(prepare):
    run, other = prepare(), prepare("other")
    engine = start_engine("thread", run.path, run.order(), flush=lambda: None)
    engine.finish()
    assert engine.wait(PATIENCE)
    assert engine.failure is None
    assert record_lines(run.path) == reference(other)


def test_thread_engine_takes_a_probe_kept_out_of_the_directory(prepare):
    run, other = prepare(stored_probe=False), prepare("other")
    engine = ThreadEngine(run.path, run.order(probe=run.probe))
    engine.finish()
    assert engine.wait(PATIENCE)
    assert record_lines(run.path) == reference(other)


def test_thread_engine_tells_its_failure(prepare):
    run = prepare()
    engine = ThreadEngine(run.path, run.order(measures=(Fails(),), strict=True))
    assert engine.wait(PATIENCE)
    assert engine.failure == "the analyzer thread ended with ArithmeticError: no such number"


def test_process_engine_finishes_on_order_with_the_same_records(prepare, monkeypatch):
    monkeypatch.setenv("RANK", "3")  # a training of several processes; the analyzer is no part of it
    run, other = prepare(), prepare("other")
    engine = start_engine("process", run.path, run.order(), flush=lambda: None)
    assert isinstance(engine, ProcessEngine)
    # In a process group of its own, so that Ctrl-C spares it; never in a session of its own, which undoes its niceness.
    assert (os.getpgid(engine.pid), os.getsid(engine.pid)) == (engine.pid, os.getsid(0))
    environment = Path(f"/proc/{engine.pid}/environ").read_bytes().split(b"\0")
    assert not any(entry.startswith(b"RANK=") for entry in environment)
    engine.finish()
    assert engine.wait(PATIENCE)
    assert engine.failure is None
    assert open_run(run.path).analysis["stage"] == "finished"
    assert record_lines(run.path) == reference(other)


def test_worker_stops_after_the_current_snapshot_when_the_training_is_gone(prepare):
    steps = range(20)
    run = prepare(steps=tuple(steps))
    command = [sys.executable, "-m", "lightning_interp.analysis.worker", str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0) as worker:
        worker.stdin.write(encode_start(run.order(measures=(Deadly(dict.fromkeys(steps, "dawdles")),), packed_module=None)))
        worker.stdin.flush()
        wait_for(lambda: len(record_lines(run.path)) >= 1)
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == 19
        os.kill(worker.pid, signal.SIGINT)  # Ctrl-C is for the training
        worker.stdin.close()
        assert worker.wait(PATIENCE) == 0
    # One snapshot was under way, half a second each; all of them would have taken ten.
    assert 1 <= len(record_lines(run.path)) < len(steps)
    assert open_run(run.path).analysis["stage"] == "stopped"


def test_process_engine_tells_under_strict_that_its_process_was_killed(prepare):
    run = prepare()
    engine = ProcessEngine(run.path, run.order(strict=True))
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(lambda: engine.failure is not None)
    assert engine.failure == f"the analyzer process was ended by signal 9 (its output: {run.path / 'analyzer.log'})"
    assert engine.take_notices() == []


def test_process_engine_lets_its_process_go_on_when_the_time_runs_out(prepare):
    run, ticks = prepare(), []
    with analyzer_lock(run.path):  # so that it cannot finish
        engine = ProcessEngine(run.path, run.order())
        engine.finish()
        assert not engine.wait(0.3, tick=lambda: ticks.append(1))
        assert ticks
        engine.let_go()
        engine.let_go()  # idempotent
        assert engine.failure is None
        os.kill(engine.pid, signal.SIGKILL)  # fails where the process is gone
        os.waitpid(engine.pid, 0)
