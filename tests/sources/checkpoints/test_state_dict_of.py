# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.pickle_reader import Placeholder, StoredTensor
from lightning_interp.sources.checkpoints.torch_save import state_dict_of

STORED = StoredTensor("0", torch.float32, 0, (1,), (1,), 4)


def test_state_dict_of_finds_a_bare_mapping():
    assert state_dict_of({"a": STORED, "n": 3}) == ({"a": STORED}, None, None)


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
        ({"step": True, "epoch": 1.0}, None, None),
        ({"global_step": STORED, "epoch": Placeholder("numpy", "int64", "result")}, None, None),
    ],
)
def test_state_dict_of_finds_step_and_epoch(entries, step, epoch):
    assert state_dict_of({"state_dict": {"w": STORED}, **entries})[1:] == (step, epoch)


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
