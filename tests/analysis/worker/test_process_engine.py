# SPDX-License-Identifier: Apache-2.0
"""Analyzer processes that die, hang, are stopped or left alone: real ones."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.worker.exit_causes import exit_of
from lightning_interp.analysis.worker.pipe import Quarantine, encode_start
from lightning_interp.analysis.worker.process_engine import ProcessEngine
from lightning_interp.core.request import with_options
from lightning_interp.store import open_run, write_manifest
from lightning_interp.store.analysis_state import AnalysisState, read_state
from lightning_interp.store.layout import RECORDS

PATIENCE = 200.0
"""Seconds two processes may take to import torch and observe four small snapshots, on a machine that is busy otherwise."""
LIMIT_S = 5.0
"""Least limit of an observation; as long as nobody knows how long one takes, five times as much."""

DEADLY = """
import ctypes, os, resource, signal, time
from lightning_interp.measures import Measure

class Deadly(Measure):
    name, names, needs = "deadly", ("deadly",), frozenset({"weights"})

    def __init__(self, does, *steps):
        self.does, self.steps = does, steps

    def __call__(self, observation):
        if observation.snapshot.step in self.steps:
            getattr(self, self.does)()
        return {"deadly": 1.0}

    def dies(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def sleeps(self):
        time.sleep(10_000)

    def dawdles(self):
        time.sleep(0.5)

    def holds_the_interpreter(self):
        ctypes.PyDLL(None).sleep(10_000)

    def leaves(self):
        raise SystemExit(0)

    def fills_its_memory(self):
        pages = int(open("/proc/self/statm").read().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + 2**27
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        try:
            bytearray(2**30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""

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


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the deadly measure, which the process imports as it would a user's; no limit of analyzers."""
    monkeypatch.setenv("LIGHTNING_INTERP_ANALYZERS", "1000")
    (tmp_path / "deadly_measure.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("deadly_measure")
    del sys.modules["deadly_measure"]


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


def test_a_killed_analyzer_is_started_again_without_the_step_it_observed(prepare, deadly):
    run = prepare()
    order = run.order(measures=(deadly.Deadly("dies", 2),), packed_module=None)
    engine = ProcessEngine(run.path, order)
    first = engine.pid
    finished(engine)
    assert engine.failure is None
    assert engine.pid != first
    assert engine.take_notices() == [
        "the analyzer was ended by signal 9 while observing step 2; it was started again without that step"
    ]
    assert engine.take_notices() == []
    done = open_run(run.path)
    why = "quarantined: the analyzer was ended by signal 9 while observing it"
    assert [record.skipped.get("snapshot") for record in done.all_records] == [None, None, why, None]
    assert done.analysis["notices"].count(f"step 2 is left out: {why}") == 1
    assert (done.analysis["stage"], done.analysis["observing"]) == ("finished", None)
    # Live analyzers leave it out from now on; one that is started by hand tries it again.
    live = with_options(order, {"measures": (deadly.Deadly("dies"),), "quarantine": Quarantine()})
    assert analyzer_for(run.path, live).pending() == []
    by_hand = analyzer_for(run.path, replace(live, quarantine=None))
    assert by_hand.pending() == [2]
    by_hand.run_pending()
    assert open_run(run.path).records("deadly")[0].tolist() == [0, 1, 2, 5]


def test_a_second_death_is_final(prepare, deadly):
    run = prepare()
    engine = finished(ProcessEngine(run.path, run.order(measures=(deadly.Deadly("dies", 1, 2),), packed_module=None)))
    log = run.path / "analyzer.log"
    assert engine.failure == (
        f"the analyzer process was ended by signal 9 while observing step 2 for the second time (its output: {log})"
    )
    assert recorded(run) == [0, 1]


def test_a_measure_that_leaves_the_process_is_no_success(prepare, deadly):
    run = prepare()
    engine = finished(ProcessEngine(run.path, run.order(measures=(deadly.Deadly("leaves", 1),), packed_module=None)))
    assert engine.failure is None
    assert "ended with status 1 while observing step 1" in engine.take_notices()[0]
    assert recorded(run) == [0, 1, 2, 5]


@pytest.mark.parametrize("does", ["sleeps", "holds_the_interpreter"])
def test_a_measure_that_hangs_costs_its_snapshot_only(prepare, deadly, does):
    run = prepare()
    # At the third step, the first with the least limit: on a busy machine an innocent one might pass that, too.
    order = run.order(measures=(deadly.Deadly(does, 2),), packed_module=None, least_limit_s=LIMIT_S)
    engine = finished(ProcessEngine(run.path, order))
    assert engine.failure is None
    (notice,) = engine.take_notices()
    assert "s without a result while observing step 2; it was started again without that step" in notice
    assert open_run(run.path).records("deadly")[0].tolist() == [0, 1, 5]
    assert recorded(run) == [0, 1, 2, 5]
    assert "deadly_measure.py" in (run.path / "analyzer.log").read_text()  # where it hung


def test_memory_that_runs_out_in_a_measure_costs_its_value_only(prepare, deadly):
    run = prepare()
    order = run.order(measures=(deadly.Deadly("fills_its_memory", 2),), packed_module=None)
    engine = finished(ProcessEngine(run.path, order))
    assert (engine.failure, engine.take_notices()) == (None, [])
    assert open_run(run.path).all_records[2].skipped["deadly"].startswith("failed: MemoryError")


def test_an_analyzer_asked_to_end_is_not_started_again(prepare, deadly):
    run = prepare()
    engine = ProcessEngine(run.path, run.order())
    os.kill(engine.pid, signal.SIGTERM)
    wait_for(lambda: engine.failure)
    assert "was ended by signal 15" in engine.failure
    assert engine.take_notices() == []
    engine.let_go()


def test_the_analyzer_of_an_earlier_start_is_not_started_again(prepare, deadly):
    run = prepare()
    engine = ProcessEngine(run.path, run.order())
    write_manifest(run.path, run.manifest.resumed(1))
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(lambda: engine.failure)
    assert engine.failure.endswith("because the run was started again")
    assert engine.take_notices() == []
    engine.let_go()


def test_a_step_under_observation_and_a_sign_of_life_are_on_disk(prepare, deadly):
    from lightning_interp.store.heartbeat import read_heartbeat

    run = prepare()
    order = run.order(measures=(deadly.Deadly("sleeps", 1),), packed_module=None)
    engine = ProcessEngine(run.path, order)
    wait_for(lambda: read_state(run.path).observing == 1 and read_heartbeat(run.path))  # a thread of its own beats
    state, beat = read_state(run.path), read_heartbeat(run.path)
    assert (state.start_id, beat.start_id, beat.pid) == (order.start_id, order.start_id, engine.pid)
    # Nobody knows yet how long an observation takes: five times the least limit. The clock is read twice.
    assert 5 * 120 <= state.ends_at - state.busy_since < 5 * 120 + 60
    wait_for(lambda: read_heartbeat(run.path).at > beat.at)
    engine.let_go()
    os.kill(engine.pid, signal.SIGKILL)
    os.waitpid(engine.pid, 0)


def test_pause_stops_the_process_until_resume_or_finish(prepare, deadly):
    run = prepare()
    engine = ProcessEngine(run.path, run.order(packed_module=None, measures=(deadly.Deadly("dawdles", 0, 1),)))
    assert engine.pause()
    wait_for(lambda: process_state(engine.pid) == "T")
    engine.resume()
    wait_for(lambda: process_state(engine.pid) != "T")
    assert engine.pause()
    finished(engine)
    assert engine.failure is None
    assert not engine.pause()
    assert recorded(run) == [0, 1, 2, 5]


def test_a_paused_process_goes_on_by_itself_while_its_training_is_elsewhere(prepare, deadly, monkeypatch):
    monkeypatch.setattr("lightning_interp.analysis.worker.process_engine.PAUSE_ENDS_S", 1.0)
    run = prepare()
    engine = ProcessEngine(run.path, run.order(packed_module=None, measures=(deadly.Deadly("sleeps", 1),)))
    assert engine.pause()
    wait_for(lambda: process_state(engine.pid) == "T")
    wait_for(lambda: recorded(run) == [0])
    engine.let_go()
    os.kill(engine.pid, signal.SIGKILL)
    os.waitpid(engine.pid, 0)


def test_letting_go_ends_the_thread_that_watches(prepare, deadly):
    run = prepare()
    engine = ProcessEngine(run.path, run.order(packed_module=None, measures=(deadly.Deadly("dies", 0),)))
    engine.let_go()
    engine._watcher.join(PATIENCE)
    assert not engine._watcher.is_alive()
    assert not engine.goes_on()
    os.waitpid(engine.pid, 0)
    assert engine.failure is None
    assert recorded(run) == []


@pytest.mark.parametrize("what", ["pause", "go on"])
def test_an_analyzer_dies_with_its_killed_training(prepare, deadly, tmp_path, what):
    import cloudpickle

    run = prepare()
    order = run.order(measures=(deadly.Deadly("sleeps", 1),), packed_module=None, orphan_grace_s=1.0)
    (tmp_path / "order").write_bytes(cloudpickle.dumps(order))
    command = [sys.executable, "-c", PARENT, str(run.path), str(tmp_path / "order"), what]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        try:
            pid = int(parent.stdout.readline().split()[0])
            wait_for(lambda: process_state(pid) in (["T"] if what == "pause" else ["R", "S", "D"]))  # a stop takes a moment
        finally:
            parent.kill()
    wait_for(lambda: is_gone(pid))
    assert recorded(run) == [0]


def test_an_analyzer_ends_though_another_process_inherited_its_pipes(prepare, deadly, tmp_path):
    import cloudpickle

    run = prepare()
    order = run.order(measures=(deadly.Deadly("dawdles", 0),), packed_module=None)
    (tmp_path / "order").write_bytes(cloudpickle.dumps(order))
    command = [sys.executable, "-c", PARENT, str(run.path), str(tmp_path / "order"), "fork"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
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


def test_a_worker_ends_in_a_hanging_observation_when_its_orders_end(prepare, deadly):
    run = prepare()
    order = run.order(measures=(deadly.Deadly("sleeps", 1),), packed_module=None, orphan_grace_s=0.5)
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
