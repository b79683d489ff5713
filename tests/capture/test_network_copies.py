# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lightning_interp.capture.default_layers import default_layers
from lightning_interp.capture.network_copies import is_inside, network_copies


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def module_of(*, frozen: bool = True, **parts: nn.Module) -> nn.Module:
    """Parts of a module; those that are called like a copy are frozen, if asked."""
    module = nn.Module()
    for name, part in parts.items():
        module.add_module(name, part)
    for name in list(parts)[1:]:
        getattr(module, name).requires_grad_(not frozen)
    return module


def copies_of(module: nn.Module) -> tuple[str, ...]:
    return default_layers(module).copies


@pytest.mark.parametrize(
    ("trained", "copied"),
    [
        ("backbone", "backbone_momentum"),
        ("encoder_q", "encoder_k"),
        ("student_head", "teacher_head"),
        ("online_encoder", "target_encoder"),
        ("policy", "ref_policy"),
        ("model", "model_ema"),
        ("query_encoder", "key_encoder"),
    ],
)
def test_network_copies_finds_frozen_twins_that_are_called_like_one(trained, copied):
    assert copies_of(module_of(**{trained: network(), copied: network()})) == (copied,)


@pytest.mark.parametrize(
    ("trained", "copied"), [("net", "target_net"), ("critic", "critic_target"), ("q_net", "q_net_target")]
)
def test_network_copies_finds_target_networks_that_ask_for_gradients(trained, copied):
    assert copies_of(module_of(frozen=False, **{trained: network(), copied: network()})) == (copied,)


def test_network_copies_leaves_trained_parts_of_two_languages_alone():
    assert copies_of(module_of(frozen=False, src_embed=nn.Embedding(5, 4), target_embed=nn.Embedding(5, 4))) == ()


@pytest.mark.parametrize(
    ("one", "other"), [("query_encoder", "key_encoder"), ("encoder_q", "encoder_k"), ("student", "teacher")]
)
def test_network_copies_leaves_two_trained_towers_alone(one, other):
    assert copies_of(module_of(frozen=False, **{one: network(), other: network()})) == ()


def test_network_copies_leaves_a_frozen_backbone_without_a_twin_alone():
    frozen = module_of(head=nn.Linear(2, 2), backbone=network(), teacher=nn.Sequential(nn.Linear(9, 9)))
    assert copies_of(frozen) == ()


def test_network_copies_leaves_parts_that_are_twins_by_chance_alone():
    assert copies_of(module_of(left=network(), right=network())) == ()


def test_network_copies_finds_the_network_inside_an_averaging_wrapper():
    model = network()
    module = module_of(frozen=False, model=model, ema_model=AveragedModel(model))
    assert copies_of(module) == ("ema_model.module",)


def test_network_copies_finds_parts_of_a_target_that_lacks_a_head():
    online = module_of(encoder=network(), predictor=nn.Linear(2, 2))
    module = module_of(online=online, target=module_of(encoder=copy.deepcopy(online.encoder)))
    assert copies_of(module) == ("target.encoder",)


def test_network_copies_takes_two_teachers_for_copies_of_the_student():
    parts = {"student": network(), "teacher_old": network(), "teacher_new": network()}
    assert copies_of(module_of(**parts)) == ("teacher_old", "teacher_new")


def test_network_copies_of_a_checkpoint_are_those_whose_names_leave_no_doubt():
    shapes = {
        f"{part}.weight": (2, 2) for part in ("backbone", "backbone_momentum", "src_embed", "target_embed", "encoder_k")
    }
    assert network_copies(shapes) == ("backbone_momentum", "encoder_k")


def test_is_inside_goes_by_whole_names():
    assert is_inside("net.0", ("net",))
    assert not is_inside("network.0", ("net",))
