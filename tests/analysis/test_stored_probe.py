# SPDX-License-Identifier: Apache-2.0
import pickle
import time

import pytest
import torch
from batch_kinds import MAKES, Encoding, Moves

from lightning_interp.analysis import stored_probe
from lightning_interp.analysis.packed_types import KnownTypes, pack_types
from lightning_interp.analysis.stored_probe import StoredProbe
from lightning_interp.core.batch_types import StandIn, types_in
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.store import write_probe

X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
PROBE = Probe(ProbeSplit((Encoding({"x": X}), Encoding({"x": X}))))
NAME = "batch_kinds:Encoding"


def reads(path, packed, *, has_module=False, probe=PROBE):
    notices = []
    write_probe(path, probe)
    return StoredProbe(path, packed, has_module=has_module, notice=notices.append), notices


@pytest.mark.parametrize("kind", MAKES)
def test_classes_reach_the_analyzer_with_its_order(tmp_path, kind):
    probe = Probe(ProbeSplit((MAKES[kind](X, Y),)))
    stored, notices = reads(tmp_path, pack_types(types_in(probe)), probe=probe)
    assert type(stored.read().train.batches[0]) is type(probe.train.batches[0])
    assert not notices


def test_a_class_of_a_function_reaches_it_too():
    class Local(Moves):
        pass

    known = KnownTypes(pack_types({"somewhere:Local": Local}), looks_around=False)
    assert known.find("somewhere:Local").__name__ == "Local"


def test_a_class_that_no_name_leads_to_is_found_by_an_empty_instance():
    by_name, by_instance = b"cbatch_kinds\nMadeWhileRunning\n.", pack_types({"x": Moves})["x"][-1]
    assert KnownTypes({"x": (by_name, by_instance)}, looks_around=False).find("x") is Moves


def test_a_class_that_was_made_while_running_is_that_of_an_empty_instance():
    class Local(Moves):
        pass

    local, named = (pickle.loads(pack_types({"x": cls})["x"][0]) for cls in (Local, Moves))
    assert (type(local).__name__, named) == ("Local", Moves)


def test_without_classes_a_mapping_stands_in_and_that_is_told_once(tmp_path):
    stored, notices = reads(tmp_path, None)
    assert type(stored.read().train.batches[1]) is StandIn
    assert notices == [
        "batches of the probe are batch_kinds.Encoding, not at hand here: plain mappings with the same entries stand in"
    ]


def test_beside_the_module_what_it_imported_is_at_hand(tmp_path):
    stored, notices = reads(tmp_path, None, has_module=True)
    assert type(stored.read().train.batches[0]) is Encoding
    assert not notices


def test_the_classes_of_a_collected_probe_are_waited_for(tmp_path):
    stored, _ = reads(tmp_path, {})
    assert stored.read() is None
    stored.learn(pack_types({NAME: Encoding}))
    assert type(stored.read().train.batches[0]) is Encoding


def test_classes_that_never_come_are_waited_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_probe, "_PATIENCE_S", 0.05)
    stored, _ = reads(tmp_path, {})
    assert stored.read() is None
    time.sleep(0.06)
    assert type(stored.read().train.batches[0]) is StandIn


def test_a_class_that_could_not_be_sent_is_not_waited_for(tmp_path):
    stored, _ = reads(tmp_path, pack_types({NAME: None}))
    assert type(stored.read().train.batches[0]) is StandIn


def test_a_probe_that_lands_after_the_first_look_waits_for_its_classes(tmp_path, monkeypatch):
    stored, notices = reads(tmp_path, {})
    looks = iter([set()])
    look = stored_probe.batch_types
    monkeypatch.setattr(stored_probe, "batch_types", lambda path: next(looks, look(path)))
    assert stored.read() is None
    assert not notices
