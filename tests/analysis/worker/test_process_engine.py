# SPDX-License-Identifier: Apache-2.0
"""Analyzer processes that die, hang, are stopped or left alone: real ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

import cloudpickle
import pytest
from deadly_measure import Deadly
from prepared_run import PreparedRun, prepare_run

from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.worker.exit_causes import exit_of
from lightning_interp.analysis.worker.pipe import Quarantine, StartOrder, encode_start
from lightning_interp.analysis.worker.process_engine import ProcessEngine
from lightning_interp.core.request import with_options
from lightning_interp.store import open_run, write_manifest
from lightning_interp.store.analysis_state import AnalysisState, read_state
from lightning_interp.store.heartbeat import read_heartbeat
from lightning_interp.store.layout import RECORDS

PATIENCE = 200.0
"""Seconds two processes may take to import torch and observe four small snapshots, on a machine that is busy otherwise."""
LIMIT_S = 2.5
"""Least limit of an observation; as long as nobody knows how long one takes, five times as much."""
QUARANTINED = "quarantined: the analyzer was ended by signal 9 while observing it"

PARENT = """
import os, pickle, sys, time
from pathlib import Path
from lightning_interp.analysis.worker.process_engine import ProcessEngine

order = pickle.loads(Path(sys.argv[2]).read_bytes())
engine = ProcessEngine(Path(sys.argv[1]), order)
records = Path(sys.argv[1]) / "records.jsonl"
while not records.exists() or not records.read_bytes().endswith(b"\\n"):
    time.sleep(0.05)
if sys.argv[3] == "pause":
    assert engine.pause()
heir = os.fork() if sys.argv[3] == "fork" else 0  # as a loader's worker, which inherits the pipes and outlives the training
if sys.argv[3] != "fork" or heir:
    print(engine.pid, heir, flush=True)
time.sleep(300)
"""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def recorded(run) -> list[int]:
    path = run.path / RECORDS
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def process_state(pid: int) -> str:
    """Letter of a process's state, empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_gone(pid: int) -> bool:
    return process_state(pid) in ("", "Z", "X")


def finished(engine: ProcessEngine) -> ProcessEngine:
    engine.finish()
    assert engine.wait(PATIENCE)
    engine.let_go()
    return engine


@dataclass(frozen=True)
class Ended:
    """A run whose analyzer ended, and how its engine saw it."""

    run: PreparedRun
    order: StartOrder
    engine: ProcessEngine
    first: int
    notices: list[str]


def analyzed(folder: Path, does: dict[int, str]) -> Ended:
    run = prepare_run(folder)
    order = run.order(measures=(Deadly(does),), packed_module=None)
    engine = ProcessEngine(run.path, order)
    first = engine.pid
    finished(engine)
    return Ended(run, order, engine, first, engine.take_notices())


@pytest.fixture(scope="module")
def died_once(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Out of memory at its second snapshot, which it outlives, and killed at the third."""
    return analyzed(tmp_path_factory.mktemp("once"), {1: "fills_its_memory", 2: "dies"})


@pytest.fixture(scope="module")
def died_twice(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Left by its measure at its second snapshot, and killed at the third."""
    return analyzed(tmp_path_factory.mktemp("twice"), {1: "leaves", 2: "dies"})


def test_memory_that_runs_out_in_a_measure_costs_its_value_only(died_once):
    records = open_run(died_once.run.path).all_records
    assert records[1].skipped["deadly"].startswith("failed: MemoryError")
    assert "weight_norm" not in records[1].skipped and "snapshot" not in records[1].skipped
    assert not any("step 1" in notice for notice in died_once.notices)


def test_a_killed_analyzer_is_started_again_without_the_step_it_observed(died_once):
    engine = died_once.engine
    assert engine.failure is None
    assert engine.pid != died_once.first
    assert died_once.notices == [
        "the analyzer was ended by signal 9 while observing step 2; it was started again without that step"
    ]
    assert engine.take_notices() == []
    done = open_run(died_once.run.path)
    assert [record.skipped.get("snapshot") for record in done.all_records] == [None, None, QUARANTINED, None]
    assert done.analysis["notices"].count(f"step 2 is left out: {QUARANTINED}") == 1
    assert (done.analysis["stage"], done.analysis["observing"]) == ("finished", None)


def test_a_quarantined_step_is_tried_again_by_hand_only(died_once, tmp_path):
    path = copytree(died_once.run.path, tmp_path / "run")
    live = with_options(died_once.order, {"measures": (Deadly({}),), "quarantine": Quarantine()})
    assert analyzer_for(path, live).pending() == []
    by_hand = analyzer_for(path, replace(live, quarantine=None))
    assert by_hand.pending() == [2]
    by_hand.run_pending()
    assert open_run(path).records("deadly")[0].tolist() == [0, 2, 5]  # not 1, whose memory ran out


def test_a_measure_that_leaves_the_process_is_no_success(died_twice):
    assert died_twice.engine.pid != died_twice.first
    why = "the analyzer ended with status 1 while observing step 1; it was started again without that step"
    assert died_twice.notices[:1] == [why]


def test_a_second_death_is_final(died_twice):
    log = died_twice.run.path / "analyzer.log"
    assert died_twice.engine.failure == (
        f"the analyzer process was ended by signal 9 while observing step 2 for the second time (its output: {log})"
    )
    assert recorded(died_twice.run) == [0, 1]


@pytest.mark.parametrize("does", ["holds_the_interpreter", pytest.param("sleeps", marks=pytest.mark.verify)])
def test_a_measure_that_hangs_costs_its_snapshot_only(prepare, does):
    run = prepare()
    # At the third step, the first with the least limit: on a busy machine an innocent one might pass that, too.
    order = run.order(measures=(Deadly({2: does}),), packed_module=None, least_limit_s=LIMIT_S)
    engine = finished(ProcessEngine(run.path, order))
    assert engine.failure is None
    (notice,) = engine.take_notices()
    assert "s without a result while observing step 2; it was started again without that step" in notice
    assert open_run(run.path).records("deadly")[0].tolist() == [0, 1, 5]
    assert recorded(run) == [0, 1, 2, 5]
    assert "deadly_measure.py" in (run.path / "analyzer.log").read_text()  # where it hung


def test_an_analyzer_asked_to_end_is_not_started_again(prepare):
    run = prepare()
    engine = ProcessEngine(run.path, run.order())
    os.kill(engine.pid, signal.SIGTERM)
    wait_for(lambda: engine.failure)
    assert "was ended by signal 15" in engine.failure
    assert engine.take_notices() == []
    engine.let_go()


def test_the_analyzer_of_an_earlier_start_is_not_started_again(prepare):
    run = prepare()
    engine = ProcessEngine(run.path, run.order())
    write_manifest(run.path, run.manifest.resumed(1))
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(lambda: engine.failure)
    assert engine.failure.endswith("because the run was started again")
    assert engine.take_notices() == []
    engine.let_go()


def test_a_step_under_observation_and_a_sign_of_life_are_on_disk(prepare):
    run = prepare()
    order = run.order(measures=(Deadly({1: "sleeps"}),), packed_module=None)
    engine = ProcessEngine(run.path, order)
    wait_for(lambda: read_state(run.path).observing == 1 and read_heartbeat(run.path))  # a thread of its own beats
    state, beat = read_state(run.path), read_heartbeat(run.path)
    assert (state.start_id, beat.start_id, beat.pid) == (order.start_id, order.start_id, engine.pid)
    # Nobody knows yet how long an observation takes: five times the least limit. The clock is read twice.
    assert 5 * 120 <= state.ends_at - state.busy_since < 5 * 120 + 60
    engine.let_go()
    os.kill(engine.pid, signal.SIGKILL)
    os.waitpid(engine.pid, 0)


def test_pause_stops_the_process_until_resume_or_finish(prepare):
    run = prepare()
    engine = ProcessEngine(run.path, run.order(packed_module=None, measures=(Deadly({0: "dawdles", 1: "dawdles"}),)))
    assert engine.pause()
    wait_for(lambda: process_state(engine.pid) == "T")
    engine.resume()
    wait_for(lambda: process_state(engine.pid) != "T")
    assert engine.pause()
    finished(engine)
    assert engine.failure is None
    assert not engine.pause()
    assert recorded(run) == [0, 1, 2, 5]


def test_a_paused_process_goes_on_by_itself_while_its_training_is_elsewhere(prepare, monkeypatch):
    monkeypatch.setattr("lightning_interp.analysis.worker.process_engine.PAUSE_ENDS_S", 1.0)
    run = prepare()
    engine = ProcessEngine(run.path, run.order(packed_module=None, measures=(Deadly({1: "sleeps"}),)))
    assert engine.pause()
    wait_for(lambda: process_state(engine.pid) == "T")
    wait_for(lambda: recorded(run) == [0])
    engine.let_go()
    os.kill(engine.pid, signal.SIGKILL)
    os.waitpid(engine.pid, 0)


def test_letting_go_ends_the_thread_that_watches(prepare):
    run = prepare()
    engine = ProcessEngine(run.path, run.order(packed_module=None, measures=(Deadly({0: "dies"}),)))
    engine.let_go()
    engine._watcher.join(PATIENCE)
    assert not engine._watcher.is_alive()
    assert not engine.goes_on()
    os.waitpid(engine.pid, 0)
    assert engine.failure is None
    assert recorded(run) == []


@pytest.mark.parametrize("what", ["pause", "go on"])
def test_an_analyzer_dies_with_its_killed_training(prepare, tmp_path, what):
    run = prepare()
    order = run.order(measures=(Deadly({1: "sleeps"}),), packed_module=None, orphan_grace_s=1.0)
    (tmp_path / "order").write_bytes(cloudpickle.dumps(order))
    command = [sys.executable, "-c", PARENT, str(run.path), str(tmp_path / "order"), what]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # as this process, and the deadly measure
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        try:
            pid = int(parent.stdout.readline().split()[0])
            wait_for(lambda: process_state(pid) in (["T"] if what == "pause" else ["R", "S", "D"]))  # a stop takes a moment
        finally:
            parent.kill()
    wait_for(lambda: is_gone(pid))
    assert recorded(run) == [0]


def test_an_analyzer_ends_though_another_process_inherited_its_pipes(prepare, tmp_path):
    run = prepare()
    order = run.order(measures=(Deadly({0: "dawdles"}),), packed_module=None)
    (tmp_path / "order").write_bytes(cloudpickle.dumps(order))
    command = [sys.executable, "-c", PARENT, str(run.path), str(tmp_path / "order"), "fork"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # as this process, and the deadly measure
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        try:
            pid, heir = map(int, parent.stdout.readline().split())
        finally:
            parent.kill()
    try:
        wait_for(lambda: is_gone(pid))
        assert not is_gone(heir), "it waited for the process that inherited its pipes"
    finally:
        os.kill(heir, signal.SIGKILL)
    assert read_state(run.path).stage == "stopped"


def test_a_worker_ends_in_a_hanging_observation_when_its_orders_end(prepare):
    run = prepare()
    order = run.order(measures=(Deadly({1: "sleeps"}),), packed_module=None, orphan_grace_s=0.5)
    command = [sys.executable, "-m", "lightning_interp.analysis.worker", str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0) as worker:
        try:
            worker.stdin.write(encode_start(order))
            worker.stdin.flush()
            wait_for(lambda: read_state(run.path).observing == 1)
            worker.stdin.close()
            assert worker.wait(PATIENCE) == -signal.SIGALRM
        finally:
            worker.kill()
    assert open_run(run.path).records("deadly")[0].tolist() == [0]


def test_death_of_leaves_out_components_that_were_being_fitted(tmp_path):
    AnalysisState(start_id="a", fitting=True).write(tmp_path)
    death = exit_of(tmp_path, start_id="a", status=-9)
    assert (death.how, death.busy) == ("was ended by signal 9", " while fitting tensor components")
    assert death.quarantine == Quarantine(components="the analyzer was ended by signal 9 while fitting them")


def test_death_of_knows_nothing_from_another_start(tmp_path):
    AnalysisState(start_id="a", observing=3).write(tmp_path)
    assert exit_of(tmp_path, start_id="b", status=3).quarantine == Quarantine()


def test_components_in_quarantine_are_left_out_and_said_so(prepare):
    from lightning_interp.core.tca_settings import TCA

    run = prepare()
    order = run.order(tca=TCA(layers=("1",)), quarantine=Quarantine(components="the analyzer died"))
    analyzer = analyzer_for(run.path, order)
    analyzer.run_pending()
    analyzer.finish("finished")
    assert open_run(run.path).component_layers == ()
    assert any(notice.startswith("tensor components are left out") for notice in analyzer.state.notices)


def test_a_quarantined_step_keeps_the_record_it_has(prepare):
    run = prepare()
    analyzer_for(run.path, run.order(packed_module=None)).run_pending()
    again = analyzer_for(run.path, run.order(quarantine=Quarantine({2: "the analyzer died"})))
    assert again.pending() == [0, 1, 5]
    assert again.run_pending() == 3
    assert "weight_norm" in open_run(run.path).all_records[2].values
