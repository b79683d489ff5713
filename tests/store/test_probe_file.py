# SPDX-License-Identifier: Apache-2.0
import sys
from collections import OrderedDict, UserDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from batch_kinds import MAKES, Encoding, Graph, Moves, Named

from lightning_interp.core.batch_types import StandIn, imported_type, missing_types, types_in
from lightning_interp.core.batches import example_count
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.store import read_probe, write_probe
from lightning_interp.store.probe_file import batch_types
from lightning_interp.store.tensor_file import read_metadata


def test_write_probe_round_trips_nested_batches(tmp_path):
    batch = {"x": [torch.ones(2), (torch.arange(2), "text")], "mask": None, "scale": 0.5, 3: True, "n": 7, "none": []}
    write_probe(tmp_path, Probe(ProbeSplit((batch,), (4, 9))))
    back = read_probe(tmp_path)
    found = back.train.batches[0]
    assert torch.equal(found["x"][0], torch.ones(2))
    assert torch.equal(found["x"][1][0], torch.arange(2))
    assert isinstance(found["x"], list)
    assert isinstance(found["x"][1], tuple)
    assert (found["x"][1][1], found["mask"], found["scale"], found[3], found["n"], found["none"]) == (
        "text", None, 0.5, True, 7, [],
    )  # fmt: skip
    assert (back.train.indices, back.heldout, back.cooccurrence) == ((4, 9), None, None)


def test_write_probe_keeps_heldout_examples_and_cooccurrence(tmp_path):
    probe = Probe(ProbeSplit((torch.ones(1),)), ProbeSplit((torch.zeros(1),), (2,)), torch.eye(2, dtype=torch.bool))
    write_probe(tmp_path, probe)
    back = read_probe(tmp_path)
    assert (back.heldout.batches[0].item(), back.heldout.indices) == (0.0, (2,))
    assert torch.equal(back.cooccurrence, probe.cooccurrence)


def test_write_probe_keeps_the_examples_of_every_loader(tmp_path):
    loaders = {
        name: ProbeSplit((torch.full((1,), float(k)),), (k,), k) for k, name in enumerate(("0", "night/rain"), start=1)
    }
    probe = Probe(ProbeSplit((torch.ones(1),)), ProbeSplit((torch.zeros(1),)), loaders=loaders)
    write_probe(tmp_path, probe)
    back = read_probe(tmp_path)
    assert {name: (s.batches[0].item(), s.indices, s.loader) for name, s in back.loaders.items()} == {
        "0": (1.0, (1,), 1), "night/rain": (2.0, (2,), 2),
    }  # fmt: skip
    assert back.heldout.batches[0].item() == 0.0


def test_the_hash_of_a_probe_without_further_loaders_is_as_before(tmp_path):
    probe = Probe(ProbeSplit((torch.ones(1),), (3,)), ProbeSplit((torch.zeros(1),), (2,)))
    assert write_probe(tmp_path, probe) == "acffb4c01f3afa54"


def test_write_probe_keeps_apart_keys_that_look_alike(tmp_path):
    batch = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}}
    write_probe(tmp_path, Probe(ProbeSplit((batch,))))
    found = read_probe(tmp_path).train.batches[0]
    assert (found["a/b"].item(), found["a"]["b"].item()) == (1, 2)


def test_write_probe_takes_tensors_that_share_memory(tmp_path):
    data = torch.arange(4.0)
    write_probe(tmp_path, Probe(ProbeSplit(((data, data[1:]),))))
    assert read_probe(tmp_path).train.batches[0][1].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("batch", "path"),
    [([torch.ones(1), object()], "train/0/1 is a object"), ({"x": np.ones(2)}, "train/0/x is a ndarray")],
    ids=["object", "numpy"],
)
def test_write_probe_refuses_what_needs_pickling(tmp_path, batch, path):
    with pytest.raises(ProbeError, match=f"{path}, which cannot be written without pickling. Use save_probe=False"):
        write_probe(tmp_path, Probe(ProbeSplit((batch,))))
    assert read_probe(tmp_path) is None


def test_write_probe_hash_follows_the_content(tmp_path):
    one, same, other = (write_probe(tmp_path, Probe(ProbeSplit((torch.full((2,), value),)))) for value in (1.0, 1.0, 2.0))
    assert one == same != other


def test_read_probe_is_none_where_none_is_stored(tmp_path):
    assert read_probe(tmp_path) is None


X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)


def stored(path, *batches, find_type=None):
    write_probe(path, Probe(ProbeSplit(batches)))
    probe = read_probe(path) if find_type is None else read_probe(path, find_type)
    return probe.train.batches


@pytest.mark.parametrize("kind", MAKES)
def test_batches_of_every_kind_come_back_as_what_they_were(tmp_path, kind):
    batch = MAKES[kind](X, Y)
    (found,) = stored(tmp_path, batch, find_type=types_in(Probe(ProbeSplit((batch,)))).get)
    assert type(found) is type(batch)
    assert torch.equal(found.x, batch.x)
    assert torch.equal(found.y, Y)
    assert example_count(found) == 6


@pytest.mark.parametrize("kind", MAKES)
def test_without_its_class_a_batch_has_a_stand_in_with_the_same_attributes(tmp_path, kind):
    batch = MAKES[kind](X, Y)
    (found,) = stored(tmp_path, batch)
    assert torch.equal(found.x, batch.x)
    assert torch.equal(found.y, Y)
    assert example_count(found) == 6
    if kind != "namespace":
        assert missing_types(read_probe(tmp_path))[0] == f"batch_kinds:{type(batch).__name__}"


def test_a_mapping_has_its_entries_in_place_of_its_class_and_moves(tmp_path):
    (found,) = stored(tmp_path, Encoding({"ids": X, "labels": Y}))
    assert dict(found).keys() == {"ids", "labels"}
    assert type(found.to("cpu")) is StandIn
    with pytest.raises(AttributeError, match=r"no 'mask' \(batch_kinds:Encoding\)"):
        found.mask  # noqa: B018


def test_a_stand_in_is_written_as_what_it_stands_for(tmp_path):
    batches = stored(tmp_path, Named(X, Y), Encoding({"x": X}), Moves((X, Y)), Graph(x=X, edge_index=Y.repeat(2, 1)))
    again = stored(tmp_path, *batches, find_type=imported_type)
    assert [type(batch).__name__ for batch in again] == ["Named", "Encoding", "Moves", "Graph"]
    assert again[3]._store._parent() is again[3]
    assert torch.equal(again[2].y, Y)


def test_readers_of_before_find_plain_containers(tmp_path):
    """They take the first key of a node for what it is, and do not look at the others."""
    stored(tmp_path, Named(X, Y), Encoding({"x": X}))
    named, encoding = read_metadata(tmp_path / "probe.safetensors")["splits"]["train"]["trees"]
    assert next(iter(named)) == "tuple"
    assert named["tuple"] == [{"tensor": "train/0/0"}, {"tensor": "train/0/1"}]
    assert next(iter(encoding)) == "dict"
    assert encoding["dict"] == [["x", {"tensor": "train/1/x"}]]


def test_plain_batches_are_written_as_before(tmp_path):
    stored(tmp_path, {"x": [X, (Y, "text")]})
    (tree,) = read_metadata(tmp_path / "probe.safetensors")["splits"]["train"]["trees"]
    inner = {"list": [{"tensor": "train/0/x/0"}, {"tuple": [{"tensor": "train/0/x/1/0"}, {"value": "text"}]}]}
    assert tree == {"dict": [["x", inner]]}


def test_classes_are_named_without_reading_tensors(tmp_path):
    stored(tmp_path, [Named(X, Moves((X, Y)))])
    assert batch_types(tmp_path) == {"batch_kinds:Named", "batch_kinds:Moves"}


def test_edges_of_several_kinds_are_keys_of_several_words(tmp_path):
    (found,) = stored(tmp_path, {("paper", "cites", "paper"): X})
    assert torch.equal(found["paper", "cites", "paper"], X)


def test_a_public_attribute_that_needs_pickling_is_refused(tmp_path):
    batch = Moves((X, object()))
    with pytest.raises(ProbeError, match="train/0/y is a object"):
        write_probe(tmp_path, Probe(ProbeSplit((batch,))))


def test_python_s_own_containers_need_no_class_from_elsewhere(tmp_path):
    (found,) = stored(tmp_path, OrderedDict(b=X, a=Y))
    assert (type(found), list(found)) == (OrderedDict, ["b", "a"])


def test_a_class_that_has_changed_has_a_stand_in(tmp_path):
    @dataclass(slots=True)
    class Changed:
        x: torch.Tensor

    (found,) = stored(tmp_path, Moves((X, Y)), find_type=lambda _: Changed)
    assert torch.equal(found.y, Y)


class Cleans(UserDict):
    def __del__(self):
        raise AssertionError


@pytest.mark.parametrize(
    "name",
    [
        "subprocess:Popen", "os:_Environ", "shelve:Shelf", "dbm.dumb:_Database", "torch.nn.modules.linear:Linear",
        "torch:Tensor", "builtins:dict", "os:system", "colorsys:rgb_to_hls", f"{__name__}:Cleans", "no", "", ":",
    ],
)  # fmt: skip
def test_a_name_in_a_file_finds_no_class_that_is_no_batch_and_imports_nothing(name):
    sys.modules.pop("colorsys", None)
    assert imported_type(name) is None
    assert "colorsys" not in sys.modules


def test_a_name_in_a_file_asks_no_module_for_what_it_may_import_when_asked(monkeypatch):
    class Lazy(type(sys)):
        def __getattr__(self, name):
            raise AssertionError(name)

    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    assert imported_type("lazy:Batch") is None


def test_a_name_in_a_file_finds_what_is_imported():
    assert imported_type("batch_kinds:Encoding") is Encoding
