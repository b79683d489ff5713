# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.pickle_reader import Placeholder, StoredTensor
from lightning_interp.sources.checkpoints.torch_save import EPOCH_KEYS, STEP_KEYS, own_count, state_dict_of

STORED = StoredTensor("0", torch.float32, 0, (1,), (1,), 4)


def test_state_dict_of_finds_a_bare_mapping():
    assert state_dict_of({"a": STORED, "n": 3}) == ({"a": STORED}, "")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", "net", "params", "weights"])
def test_state_dict_of_finds_it_under_the_usual_keys(key):
    inner = {"a": STORED, "_metadata": {}, "count": 3, "none": None, "packed": (STORED, 1), 7: STORED}
    assert state_dict_of({"best": STORED, key: inner, "epoch": 2})[0] == {"a": STORED}
    assert state_dict_of({"model": {key: inner}})[0] == {"a": STORED}


def test_state_dict_of_prefers_earlier_keys():
    other = StoredTensor("1", torch.float32, 0, (1,), (1,), 4)
    assert state_dict_of({"weights": {"w": other}, "state_dict": {"w": STORED}})[0] == {"w": STORED}


@pytest.mark.parametrize(
    ("entries", "step", "epoch"),
    [
        ({"global_step": 5, "step": 6, "epoch": 0}, 5, 0),
        ({"global_step": "5", "step": 6}, 6, None),
        ({"iteration": 7, "epoch": -1}, 7, None),
        ({"step": "3", "epoch": 1.0}, None, 1),
        ({"global_step": STORED, "epoch": Placeholder("numpy", "int64", "result")}, 40, None),
        ({"iter_num": 8, "epoch": 2**63}, 8, None),
        ({"step": None, "epoch": math.inf}, None, None),
        ({"step": 0.5, "iteration": 1}, 1, None),
    ],
)
def test_state_dict_of_finds_step_and_epoch(entries, step, epoch):
    assert [own_count(entries, keys, lambda _: torch.tensor(40)) for keys in (STEP_KEYS, EPOCH_KEYS)] == [step, epoch]


def test_state_dict_of_names_what_hides_a_tensor():
    hidden = Placeholder("pkg.quant", "Packed", "result")
    with pytest.raises(CheckpointError, match=r"'w\\x1b': a needed tensor hides behind result of pkg\.quant\.Packed"):
        state_dict_of({"state_dict": {"a": STORED, "w\x1b": hidden}})
    with pytest.raises(CheckpointError, match="hides behind"):
        state_dict_of({"state_dict": {"w": hidden}})
    assert state_dict_of({"a": STORED, "w": hidden}, needed=["a"])[0] == {"a": STORED}


def test_state_dict_of_leaves_out_what_is_no_tensor():
    entries = {
        "w": STORED,
        "q.dtype": Placeholder("torch", "qint8"),
        "q._extra_state": Placeholder("io", "BytesIO", "result"),
    }
    assert state_dict_of(entries)[0] == {"w": STORED}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a\x1b[2J\n": 1, 5: 2}, r"its top-level keys are 'a\\x1b\[2J\\n', <int>"),
        ({"x" * 10**6: 1}, "keys are 'xxx"),
        ({"model": Placeholder("pkg", "Net", "result")}, r"'model' is result of pkg\.Net"),
        (Placeholder("pkg", "Net", "result"), r"holds one object, result of pkg\.Net"),
        ([STORED], "holds a list"),
        (None, "holds a NoneType"),
        ({}, "keys are none"),
    ],
)
def test_state_dict_of_tells_what_there_is_instead(content, told):
    with pytest.raises(CheckpointError, match=f"No state dict found: .*{told}.*torch.save") as caught:
        state_dict_of(content)
    assert len(str(caught.value)) < 500


NETWORKS = {
    "encoder": {"w": STORED},
    "decoder": {"w": STORED},
    "loss": StoredTensor("1", torch.float32, 0, (), (), 4),
    "step": 3,
}


def test_a_loss_is_not_taken_for_the_network_and_those_that_are_there_are_named():
    with pytest.raises(CheckpointError, match=r"several networks are in it, 'encoder', 'decoder'.*--key encoder"):
        state_dict_of(NETWORKS)
    assert state_dict_of(NETWORKS, key="decoder")[0] == {"w": STORED}


def test_one_network_under_an_unusual_key_is_found():
    assert state_dict_of({"policy": {"w": STORED}, "optimizer": {"w": STORED}, "rng_state": STORED})[0] == {"w": STORED}


def test_a_copy_beside_the_network_that_is_read_is_told():
    found, line = state_dict_of({"model": {"w": STORED}, "best_model": {"w": STORED}})
    assert found == {"w": STORED} and line.startswith("`model` is read; also in it: best_model")


def test_a_key_may_be_joined_by_dots_and_hold_some():
    content = {"nets": {"a.b": {"w": STORED}}, "model": {"w": STORED, "v": STORED}}
    assert state_dict_of(content, key="nets.a.b")[0] == {"w": STORED}
    with pytest.raises(CheckpointError, match=r"'nets\.c': nothing is there\. Networks are under: 'nets\.a\.b', 'model'"):
        state_dict_of(content, key="nets.c")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"loss": NETWORKS["loss"], "epoch": 1}, "No state dict found: its top-level keys are 'loss', 'epoch'"),
        ({"state": {}, "param_groups": []}, "state of an optimizer, without the network"),
        (Placeholder("pkg", "Net", "result"), "It is a whole module, whose class would have to be imported"),
    ],
)
def test_what_is_no_network_is_named_as_what_it_is(content, told):
    with pytest.raises(CheckpointError, match=told):
        state_dict_of(content)
