# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from slot_holders import slot_holders

from lightning_interp.analysis.worker import slots as under_test
from lightning_interp.analysis.worker.pipe import encode, encode_start
from lightning_interp.analysis.worker.slots import MachineSlots, Slots, machine_slots, slot_count, slot_folder
from lightning_interp.core.errors import RunError
from lightning_interp.store import open_run
from lightning_interp.store.analysis_state import read_state

PATIENCE = 200.0
"""Seconds a process may take to import torch and observe four small snapshots, on a machine that is busy otherwise."""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_half_the_cores_may_be_taken(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert slot_count({}) == 4


def test_there_is_always_one_slot(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert slot_count({}) == 1


def test_the_environment_says_how_many_slots_there_are():
    assert slot_count({"LIGHTNING_INTERP_ANALYZERS": "3"}) == 3


@pytest.mark.parametrize("given", ["0", "-1", "many"])
def test_slot_count_refuses_what_is_no_positive_number(given):
    with pytest.raises(RunError, match=f"LIGHTNING_INTERP_ANALYZERS: expected .* got '{given}'"):
        slot_count({"LIGHTNING_INTERP_ANALYZERS": given})


def test_slots_are_given_until_all_are_held(tmp_path):
    first, second, third = (MachineSlots(tmp_path / "slots", 2) for _ in range(3))
    assert [first.take(), first.take(), second.take(), third.take()] == [True, True, True, False]
    first.give_back()
    assert third.take()


def test_who_waits_for_a_slot_learns_who_holds_them(tmp_path):
    folder = tmp_path / "slots"
    with slot_holders(folder, 2) as holders:
        waiting = MachineSlots(folder, 2)
        assert not waiting.take()
        assert waiting.waits_for == tuple(sorted(holder.pid for holder in holders))
        holders[0].kill()
        holders[0].wait()
        wait_for(waiting.take)
        assert waiting.waits_for == ()


def test_a_holder_that_is_gone_is_not_counted(tmp_path):
    """Its lock may live on in a process that it forked."""
    folder = tmp_path / "slots"
    with slot_holders(folder, 1) as (holder,):
        waiting = MachineSlots(folder, 1)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (folder / "analyzer-0.lock").write_text(str(gone.pid))
        assert not waiting.take() and waiting.waits_for == ()
        (folder / "analyzer-0.lock").write_text("\N{SUPERSCRIPT TWO} of another version")
        assert not waiting.take() and waiting.waits_for == ()
        (folder / "analyzer-0.lock").write_text(str(holder.pid))
        assert not waiting.take() and waiting.waits_for == (holder.pid,)


def test_a_slot_that_was_given_back_names_nobody(tmp_path):
    held = MachineSlots(tmp_path / "slots", 1)
    held.take()
    assert (tmp_path / "slots" / "analyzer-0.lock").read_text() == str(os.getpid())
    held.give_back()
    assert (tmp_path / "slots" / "analyzer-0.lock").read_text() == ""


def test_a_turn_is_over_after_a_while(tmp_path, monkeypatch):
    held = MachineSlots(tmp_path / "slots", 1)
    held.take()
    assert not held.turn_over
    monkeypatch.setattr(under_test, "TURN_S", -1.0)
    assert held.turn_over
    held.give_back()
    assert not held.turn_over


def test_the_folder_of_slots_is_the_users_own(tmp_path):
    MachineSlots(tmp_path / "slots", 1)
    assert (tmp_path / "slots").stat().st_mode & 0o777 == 0o700


def test_slots_refuse_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "slots").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="expected a folder of this user's own"):
        MachineSlots(tmp_path / "slots", 1)


def test_slots_refuse_a_folder_that_others_can_write_to(tmp_path):
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots").chmod(0o777)
    with pytest.raises(RunError, match="only this user can write to"):
        MachineSlots(tmp_path / "slots", 1)


def test_slots_refuse_a_folder_of_someone_else(tmp_path, monkeypatch):
    (tmp_path / "slots").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(RunError, match="only this user can write to"):
        MachineSlots(tmp_path / "slots", 1)


def test_machine_slots_go_without_a_limit_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(under_test, "slot_folder", lambda: tmp_path / "no" / "folder")
    found, why = machine_slots()
    assert type(found) is Slots
    assert found.take() and not found.turn_over
    assert why.startswith("the number of analyzers on this machine is not limited: ")


def start_worker(run, tmp_path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"LIGHTNING_INTERP_ANALYZERS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "lightning_interp.analysis.worker", str(run.path)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, env=environment)
    worker.stdin.write(encode_start(run.order()))
    worker.stdin.flush()
    return worker


@pytest.mark.parametrize("last_word", ["finish", "nothing"])
def test_an_analyzer_without_a_slot_waits_and_listens(prepare, tmp_path, last_word):
    run = prepare()
    ours = MachineSlots(tmp_path / slot_folder().name, 1)
    assert ours.take()
    with start_worker(run, tmp_path) as worker:
        wait_for(lambda: read_state(run.path).waiting_for_slot)
        assert read_state(run.path).waits_for == [os.getpid()]
        assert open_run(run.path).all_records == []
        if last_word == "finish":
            worker.stdin.write(encode("finish"))
        worker.stdin.close()
        if last_word == "finish":
            time.sleep(0.5)
            assert worker.poll() is None
            ours.give_back()
        assert worker.wait(PATIENCE) == 0
    state = read_state(run.path)
    assert state.stage == ("finished" if last_word == "finish" else "stopped")
    assert len(open_run(run.path).all_records) == (4 if last_word == "finish" else 0)
    assert state.waiting_for_slot == (last_word != "finish")
    assert bool(state.waits_for) == state.waiting_for_slot
    assert MachineSlots(tmp_path / slot_folder().name, 1).take() == (last_word == "finish")


def test_an_idle_analyzer_holds_no_slot(prepare, tmp_path):
    run = prepare()
    with start_worker(run, tmp_path) as worker:
        wait_for(lambda: len(open_run(run.path).all_records) == 4)
        wait_for(MachineSlots(tmp_path / slot_folder().name, 1).take)
        worker.stdin.close()
        assert worker.wait(PATIENCE) == 0
