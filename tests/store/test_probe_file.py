# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.store import read_probe, write_probe


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
