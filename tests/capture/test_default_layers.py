# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from structures import (
    EXAMPLES,
    FORWARDS,
    Classifier,
    FeedForward,
    FusionTransformer,
    Momentum,
    NestedLists,
    OwnDecoder,
    Residual,
)
from torch import nn
from torchmetrics import MeanMetric

from lightning_interp.analysis.activations import recorded_outputs
from lightning_interp.capture import select_layers
from lightning_interp.capture.default_layers import default_layers, left_out_lines, spread_roles

EXPECTED = {
    "nested lists": {
        "embedding": ["token_emb"],
        "attention": [f"attn_layers.layers.{index}.1" for index in (0, 4, 8)],
        "MLP": [f"attn_layers.layers.{index}.1" for index in (3, 7, 11)],
        "head": ["to_logits"],
    },
    "shared embedding": {
        "embedding": ["token_emb"],
        "attention": ["attn_layers.layers.0.1"],
        "MLP": ["attn_layers.layers.1.1"],
        "activation": ["attn_layers.layers.1.1.ff.1"],
        "head": ["to_logits"],
    },
    "own decoder": {
        "embedding": ["transformer.embedding"],
        "block": ["transformer.decoder.blocks.0", "transformer.decoder.blocks.1"],
        "attention": ["transformer.decoder.blocks.0.self_attn", "transformer.decoder.blocks.1.self_attn"],
        "MLP": ["transformer.decoder.blocks.0.ffn", "transformer.decoder.blocks.1.ffn"],
        "head": ["transformer.linear"],
    },
    "tokens first": {
        "embedding": ["transformer.wte"],
        "attention": ["transformer.h.0.attn", "transformer.h.7.attn"],
        "MLP": ["transformer.h.2.mlp", "transformer.h.9.mlp"],
        "block": ["transformer.h.4", "transformer.h.11"],
        "head": ["lm_head"],
    },
    "classifier": {
        "embedding": ["bert.embeddings"],
        "attention": ["bert.encoder.layer.0.attention", "bert.encoder.layer.7.attention"],
        "MLP": ["bert.encoder.layer.2.intermediate", "bert.encoder.layer.9.intermediate"],
        "block": ["bert.encoder.layer.4", "bert.encoder.layer.11"],
        "head": ["classifier"],
    },
    "vision transformer": {
        "embedding": ["patch_embed"],
        "attention": ["blocks.0.attn", "blocks.7.attn"],
        "MLP": ["blocks.2.mlp", "blocks.9.mlp"],
        "block": ["blocks.4", "blocks.11"],
        "head": ["head"],
    },
    "fusion transformer": {
        "embedding": ["input_embeddings"],
        "recurrent": ["lstm_encoder", "lstm_decoder"],
        "attention": ["multihead_attn"],
        "MLP": ["pos_wise_ff"],
        "block": ["static_enrichment", "pre_output_gate_norm"],
        "head": ["output_layer"],
    },
    "seq2seq": {
        "embedding": ["encoder.embedding", "decoder.embedding"],
        "recurrent": ["encoder.gru", "decoder.gru"],
        "head": ["decoder.out"],
    },
    "residual network": {
        "block": ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.1", "layer4.0", "layer4.1"],
        "head": ["fc"],
    },
    "momentum": {
        "activation": ["backbone.2", "backbone.6.0.relu"],
        "block": ["backbone.3.0", "backbone.4.0", "backbone.5.0", "backbone.6.0"],
        "head": ["projection_head", "prediction_head"],
    },
    "graph": {"block": ["convs.0", "convs.1", "convs.2"], "head": ["lin"]},
    "two convolutions": {"block": ["conv1", "conv2"]},
    "adversaries": {
        "activation": ["generator.model.2", "generator.model.4", "discriminator.model.1", "discriminator.model.3"]
    },
    "autoencoder": {"activation": ["encoder.1", "decoder.1"]},
}


@pytest.mark.parametrize("name", FORWARDS)
def test_default_layers_of_public_structures_are_found_by_role(name):
    found: dict[str, list[str]] = {}
    for layer, role in default_layers(FORWARDS[name][0]()).roles.items():
        found.setdefault(role, []).append(layer)
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", FORWARDS)
def test_default_layers_are_called_and_give_an_output_per_example(name):
    make, inputs = FORWARDS[name]
    module = make().eval()
    layers = select_layers(None, module)
    with torch.no_grad(), recorded_outputs(module, layers, torch.arange(EXAMPLES), examples=EXAMPLES) as kept:
        module(inputs())
    assert {layer: kept.why_not(layer) for layer in layers if layer not in kept} == {}
    assert 0 < len(layers) <= 8


def test_default_layers_are_no_metrics_losses_norms_or_dropouts():
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()])
            self.val_metrics = nn.ModuleList([MeanMetric()])
            self.losses = nn.ModuleList([nn.BCEWithLogitsLoss(), nn.PReLU()])
            self.perceptual_loss = FORWARDS["residual network"][0]().requires_grad_(False)
            self.rest = nn.Linear(9, 99)

    found = default_layers(Wrapped())
    assert tuple(found.roles) == ("layers.0", "losses.1", "rest")
    assert found.measuring == ("perceptual_loss",)
    assert {name.partition(".")[0] for name in found.unmeasured} == {"perceptual_loss"}


def test_default_layers_go_into_a_network_that_is_wrapped_together_with_its_loss():
    class ModelWithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).mean()

    assert select_layers(None, nn.ModuleDict({"both": ModelWithLoss()})) == ("both.net.1",)


def test_default_layers_leave_copies_out_and_say_how_to_name_them():
    found = default_layers(Momentum())
    assert found.copies == ("backbone_momentum", "projection_head_momentum")
    (line,) = left_out_lines(found)
    assert "backbone_momentum, projection_head_momentum" in line
    assert "parameters=['*']" in line
    assert select_layers("backbone_momentum*", Momentum())[0] == "backbone_momentum"


def test_default_layers_take_the_one_block_of_a_stage_whole():
    class Depthwise(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.se = nn.Linear(2, 2), FeedForward()

    class Inverted(Depthwise):
        pass

    stages = nn.Sequential(nn.Sequential(Depthwise()), nn.Sequential(Inverted(), Inverted()))
    assert select_layers(None, nn.ModuleDict({"blocks": stages}))[0] == "blocks.0.0"


def test_default_layers_leave_out_attention_whose_output_is_windows():
    class WindowAttention(nn.Linear):
        pass

    class Block(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.attn, self.mlp = WindowAttention(4, 4), FeedForward()

    roles = default_layers(nn.ModuleDict({"blocks": nn.ModuleList([Block(), Block()])})).roles
    assert set(roles.values()) == {"MLP", "block", "activation"}


def test_default_layers_of_a_network_whose_head_is_most_of_it_have_the_head():
    net = nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))
    net.conv_head, net.classifier = nn.Linear(2, 2), nn.Linear(2, 99)
    assert default_layers(net).roles["classifier"] == "head"


def test_default_layers_of_a_shallow_network_have_room_for_its_neurons():
    assert default_layers(NestedLists(1)).roles["attn_layers.layers.1.1.ff.1"] == "activation"


def test_default_layers_do_not_go_into_a_head_of_an_attention():
    assert not [layer for layer in default_layers(OwnDecoder(1)).roles if "attn_heads" in layer]


@pytest.mark.parametrize("make", [lambda: Classifier(3), FusionTransformer])
def test_default_layers_are_the_same_for_a_compiled_module(make):
    module = make()
    assert default_layers(torch.compile(module, backend="eager")).roles == default_layers(module).roles


def test_spread_roles_takes_roles_in_turn_down_the_network():
    names = {"attention": [f"a{i}" for i in range(12)], "MLP": [], "block": [f"b{i}" for i in range(12)]}
    assert list(spread_roles(names, 4)) == ["a0", "b4", "a7", "b11"]


def test_spread_roles_gives_the_room_of_a_rare_role_to_the_others():
    names = {"attention": ["a"], "block": [f"b{i}" for i in range(9)]}
    assert spread_roles(names, 4) == {"a": "attention", "b3": "block", "b5": "block", "b8": "block"}


def test_spread_roles_takes_all_where_there_is_room():
    assert spread_roles({"attention": ["a"], "block": ["b"]}, 8) == {"a": "attention", "b": "block"}
