# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.networks import network_in
from lightning_interp.sources.checkpoints.pickle_reader import StoredTensor
from lightning_interp.sources.checkpoints.torch_save import header, state_dict_of, tensors


def stored(*size: int) -> StoredTensor:
    elements = int(torch.Size(size).numel())
    return StoredTensor("0", torch.float32, 0, size, torch.empty(size).stride(), 4 * elements)


ONE, OTHER, SCALAR = {"a.weight": stored(2, 3)}, {"b.weight": stored(3)}, stored()
OPTIMIZER = {"state": {0: {"exp_avg": stored(3), "step": SCALAR}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    "content",
    [
        {"encoder": ONE, "loss": SCALAR, "step": 3},
        {"generator_net": ONE, "optimizer": OPTIMIZER, "rng_state": stored(5056), "metrics": {"acc": SCALAR}},
        {"my_net": ONE, "best_acc": SCALAR, "cuda_rng_state": {"0": stored(16)}},
        {"ema": ONE},
        {"state": ONE, "epoch": 3},
        {"policy": ONE, "o": {"state": {"a.weight": {"m": stored(3)}}, "param_groups": []}},
        {"net": ONE, "loss_history": stored(100), "scheduler": {"last": stored(2)}},
        {"algo": {"policy": ONE}, "replay_buffer": {"obs": stored(9, 9)}},
        {"model": ONE, "best_model": OTHER, "target_model": OTHER},
    ],
)
def test_the_only_network_is_found_under_whatever_key(content):
    assert state_dict_of(content)[0] == ONE


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (
            {"encoder_state_dict": ONE, "decoder_state_dict": OTHER, "loss": SCALAR},
            ["encoder_state_dict", "decoder_state_dict"],
        ),
        ({"model": ONE, "discriminator": OTHER}, ["model", "discriminator"]),
        ({"model": ONE, "discriminator": dict(ONE)}, ["model", "discriminator"]),
        ({"netG": ONE, "netD": OTHER, "step": 5}, ["netG", "netD"]),
        ({"model": {"encoder": ONE, "decoder": OTHER}}, [r"model\.encoder", r"model\.decoder"]),
        ({"model": ONE, "net": OTHER}, ["model", "net"]),
        ({"data_encoder": ONE, "label_decoder": OTHER}, ["data_encoder", "label_decoder"]),
    ],
)
def test_several_networks_are_refused_by_their_names(content, keys):
    with pytest.raises(CheckpointError, match="networks are in it") as caught:
        state_dict_of(content)
    assert all(key.replace("\\", "") in str(caught.value) for key in keys)
    assert state_dict_of(content, key=keys[0].replace("\\", ""))[0] == ONE
    with pytest.raises(CheckpointError, match="--key "):
        state_dict_of(content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"loss": SCALAR, "step": 3}, "metrics, counters or random states"),
        ({"loss": SCALAR}, "metrics, counters or random states"),
        ({"rng_state": stored(5056)}, "metrics, counters or random states"),
        ({"metrics": {"loss": SCALAR, "acc": SCALAR}}, "no network"),
        (OPTIMIZER, "the state of an optimizer"),
        ({"optimizer": OPTIMIZER, "epoch": 3}, "no network"),
        (stored(3), "a single tensor"),
    ],
)
def test_losses_random_states_and_optimizers_are_no_network(content, told):
    with pytest.raises(CheckpointError, match=f"No state dict found: .*{told}"):
        state_dict_of(content)


def test_parameters_with_the_names_of_metrics_are_parameters():
    content = {"scorer.weight": stored(2, 2), "step_embed.weight": stored(3)}
    assert state_dict_of(content)[0] == content


def test_a_key_is_a_path_and_keys_can_have_dots():
    content = {"a.b": {"c": ONE}, "a": {"b": {"d": OTHER}}}
    assert network_in(content, key="a.b.c")[0] == ONE
    assert network_in(content, key="a.b.d")[0] == OTHER


@pytest.mark.parametrize(
    ("key", "told"),
    [("gone", "nothing is there"), ("loss", "a single tensor"), ("step", "a int"), ("config", "no tensors are in it")],
)
def test_a_key_without_a_state_dict_names_those_there_are(key, told):
    content = {"encoder": ONE, "decoder": OTHER, "loss": SCALAR, "step": 3, "config": {"lr": 0.1}}
    with pytest.raises(CheckpointError, match=f"{told}.*Networks are under: 'encoder', 'decoder'"):
        network_in(content, key=key)


@pytest.mark.parametrize(
    ("entry", "step"),
    [
        ({"global_step": np.int64(20)}, 20),
        ({"step": torch.tensor(40)}, 40),
        ({"step": torch.tensor([60.0])}, 60),
        ({"iter_num": 80}, 80),
        ({"iteration": np.int32(100)}, 100),
        ({"step": "12"}, None),
    ],
)
def test_steps_of_numpy_and_in_tensors_are_read(tmp_path, entry, step):
    torch.save({"model": {"w": torch.ones(2)}, **entry}, tmp_path / "last.pt")
    assert header(tmp_path / "last.pt").step == step


@pytest.mark.parametrize(
    "value", [-5, True, float("nan"), 1.5, torch.tensor(float("nan")), torch.tensor(-1), np.float64("inf")]
)
def test_a_number_that_is_no_step_is_refused_whatever_the_name_says(tmp_path, value):
    torch.save({"model": {"w": torch.ones(2)}, "step": value}, tmp_path / "step_5.pt")
    with pytest.raises(CheckpointError, match=r"its own step \(step\) is .*no whole number"):
        header(tmp_path / "step_5.pt")


def test_tensors_and_header_are_those_at_the_key(tmp_path):
    one, other = nn.Linear(2, 3).state_dict(), nn.Linear(3, 1).state_dict()
    torch.save({"netG": one, "netD": other, "step": 5}, tmp_path / "gan.pt")
    found = tensors(tmp_path / "gan.pt", None, key="netD")
    assert all(torch.equal(found[name], other[name]) for name in other)
    assert header(tmp_path / "gan.pt", key="netD").shapes == {name: tuple(each.shape) for name, each in other.items()}


def test_averages_alone_are_read_and_said_to_be_averages(tmp_path):
    torch.save({"ema": nn.Linear(2, 3).state_dict(), "step": 5}, tmp_path / "ema.pt")
    assert "averages under `ema` are read" in header(tmp_path / "ema.pt").choice


def test_a_whole_module_is_named_as_one(tmp_path):
    for content in (nn.Linear(2, 3), {"model": nn.Linear(2, 3)}):
        torch.save(content, tmp_path / "m.pt")
        with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*whole.*state_dict\(\)"):
            header(tmp_path / "m.pt")
