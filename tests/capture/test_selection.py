# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from lightning_interp.capture import select_layers, select_parameters
from lightning_interp.capture.selection import select_watched
from lightning_interp.core.errors import ConfigError

NAMES = ["net.0.weight", "net.0.bias", "net.1.weight", "head.weight"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.GELU())
        self.head = nn.Linear(4, 2)


class Blocks(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(count))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", NAMES),
        ("net.*", NAMES[:3]),
        ("head.weight", ["head.weight"]),
        (r"re:net\.\d\.weight", ["net.0.weight", "net.1.weight"]),
        (["head.*", "net.0.*"], ["net.0.weight", "net.0.bias", "head.weight"]),
    ],
)
def test_select_parameters_takes_globs_expressions_and_lists_in_module_order(pattern, expected):
    assert select_parameters(pattern, NAMES) == tuple(expected)


def test_select_parameters_matches_a_regular_expression_on_the_whole_name():
    with pytest.raises(ConfigError, match="matches none"):
        select_parameters(r"re:net\.\d", NAMES)


def test_select_parameters_names_the_nearest_where_nothing_matches():
    with pytest.raises(ConfigError, match=r"parameters: 'heads.weight' matches none of the 4 names.*Nearest: head.weight"):
        select_parameters("heads.weight", NAMES)


def test_select_parameters_fails_when_one_pattern_of_several_matches_nothing():
    with pytest.raises(ConfigError, match="'decoder\\.\\*' matches none"):
        select_parameters(["net.*", "decoder.*"], NAMES)


@pytest.mark.parametrize("pattern", ["type:Linear", nn.Linear])
def test_select_parameters_refuses_types(pattern):
    with pytest.raises(ConfigError, match="types select layers"):
        select_parameters(pattern, NAMES)


def test_select_parameters_refuses_an_empty_list():
    with pytest.raises(ConfigError, match="parameters: got an empty list"):
        select_parameters([], NAMES)


def test_select_parameters_says_what_is_wrong_with_an_expression():
    with pytest.raises(ConfigError, match=r"'re:\(' is not a regular expression"):
        select_parameters("re:(", NAMES)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("net.*", ["net.0", "net.1", "net.2", "net.3"]),
        (r"re:net\.[13]", ["net.1", "net.3"]),
        (nn.Linear, ["net.0", "net.2", "head"]),
        ("type:Linear", ["net.0", "net.2", "head"]),
        (["head", nn.ReLU], ["net.1", "head"]),
        ("head#1", ["head#1"]),
        (["head#1", "head"], ["head", "head#1"]),
    ],
)
def test_select_layers_takes_globs_expressions_types_lists_and_calls(pattern, expected):
    assert select_layers(pattern, Net()) == tuple(expected)


def test_select_layers_by_type_name_follows_base_classes():
    class Own(nn.Linear):
        pass

    assert select_layers("type:Linear", nn.Sequential(Own(2, 2))) == ("0",)


def test_select_layers_names_the_nearest_where_nothing_matches():
    with pytest.raises(ConfigError, match=r"layers: 'haed' matches none of the 6 names.*Nearest: head.*type:ReLU"):
        select_layers("haed", Net())


def test_select_layers_names_the_type_that_is_not_there():
    with pytest.raises(ConfigError, match="'type:Conv2d' matches none"):
        select_layers(nn.Conv2d, Net())


def test_select_layers_strips_names_of_compiled_wrappers():
    net = Net()
    net.net = torch.compile(net.net, backend="eager")
    assert select_layers("net.*", net) == ("net.0", "net.1", "net.2", "net.3")


def test_select_layers_of_a_compiled_module_are_those_of_the_module():
    assert select_layers(None, torch.compile(Net(), backend="eager")) == select_layers(None, Net())


def test_select_layers_defaults_to_activations():
    assert select_layers(None, Net()) == ("net.1", "net.3")


def test_select_layers_defaults_to_outputs_of_blocks():
    assert select_layers(None, Blocks(3)) == ("embed", "blocks.0", "blocks.1", "blocks.2")


def test_select_layers_defaults_to_at_most_eight_first_and_last_included():
    chosen = select_layers(None, Blocks(30))
    assert (len(chosen), chosen[:2], chosen[-1]) == (8, ("embed", "blocks.0"), "blocks.29")


def test_select_layers_defaults_to_leaves_with_weights_where_there_is_nothing_else():
    assert select_layers(None, nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Linear(3, 1))) == ("0", "2")


def test_select_layers_does_not_take_attention_for_an_activation():
    net = nn.Sequential(nn.MultiheadAttention(4, 2), nn.ReLU())
    assert select_layers(None, net) == ("1",)


def test_select_layers_finds_none_in_a_module_without_submodules():
    assert select_layers(None, nn.Linear(2, 2)) == ()


def test_select_watched_takes_all_layers_without_a_pattern():
    assert select_watched(None, ["b", "a#1"], argument="x") == ("b", "a#1")


@pytest.mark.parametrize(("pattern", "expected"), [("a*", ("a", "a#1")), ("a#1", ("a#1",)), (["re:[b]", "a"], ("a", "b"))])
def test_select_watched_matches_the_names_of_watched_layers(pattern, expected):
    assert select_watched(pattern, ["a", "a#1", "b"], argument="x") == expected


def test_select_watched_lists_the_layers_where_a_pattern_matches_none():
    with pytest.raises(ConfigError, match=r"x: 'c\.\*' matches none of the layers this run watches: a, b\."):
        select_watched(["a", "c.*"], ["a", "b"], argument="x")


def test_select_watched_refuses_types_and_empty_lists():
    with pytest.raises(ConfigError, match="x: 'type:ReLU' is a type"):
        select_watched("type:ReLU", ["a"], argument="x")
    with pytest.raises(ConfigError, match="x: got an empty list"):
        select_watched([], ["a"], argument="x")
