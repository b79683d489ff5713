# SPDX-License-Identifier: Apache-2.0
"""Whether weights were changed since an optimizer step, whatever way they were changed."""

import pytest
import torch
from torch import nn

from lightning_interp.capture.weight_marks import PARAMETERS, WeightMarks


def module() -> nn.Module:
    """Parameters of several kinds: transposed, of half precision, empty, of one number."""
    made = nn.ModuleDict({"net": nn.Linear(7, 5), "low": nn.Linear(4, 4, dtype=torch.bfloat16), "norm": nn.LayerNorm(3)})
    made.turned = nn.Parameter(torch.randn(6, 4).t())
    made.nothing = nn.Parameter(torch.empty(0, 3))
    made.scale = nn.Parameter(torch.tensor(2.0))
    return made


def marked(watched: nn.Module) -> WeightMarks:
    marks = WeightMarks()
    marks.make(watched, step=3)
    return marks


def test_weights_that_were_left_alone_fit():
    watched = module()
    marks = marked(watched)
    assert marks.fit(watched, step=3)
    assert marks.fit(module(), step=4), "of another step nothing is known"


@pytest.mark.parametrize("name", ["net.weight", "net.bias", "low.weight", "turned", "scale"])
def test_a_parameter_moved_through_data_is_noticed(name):
    """As averages are: no version tells."""
    watched = module()
    marks = marked(watched)
    version = watched.get_parameter(name)._version
    watched.get_parameter(name).data.mul_(0.5)
    assert watched.get_parameter(name)._version == version
    assert not marks.fit(watched, step=3)


def test_memory_put_in_the_place_of_another_is_noticed_and_equal_memory_is_not():
    watched = module()
    marks = marked(watched)
    watched["net"].weight.data = watched["net"].weight.data.clone()
    assert marks.fit(watched, step=3)
    watched["net"].weight.data = torch.zeros(5, 7)
    assert not marks.fit(watched, step=3)
    marks.make(watched, step=4)
    assert marks.fit(watched, step=4)


def test_other_parameters_than_were_marked_do_not_fit():
    watched = module()
    marks = marked(watched)
    watched["more"] = nn.Linear(2, 2)
    assert not marks.fit(watched, step=3)


def test_weights_that_are_nan_fit_themselves():
    watched = module()
    nn.init.constant_(watched["net"].weight, float("nan"))
    assert marked(watched).fit(watched, step=3)


def test_of_many_parameters_a_bounded_number_is_looked_at():
    watched = nn.Sequential(*[nn.Linear(2, 2) for _ in range(100)])
    marks = marked(watched)
    assert sum(map(len, marks._views)) <= PARAMETERS
    with torch.no_grad():
        for each in watched.parameters():
            each.data.mul_(0.5)
    assert not marks.fit(watched, step=3)


@pytest.mark.parametrize("part", range(8))
def test_a_change_of_one_part_of_each_layer_is_seen_whichever_it_is(part):
    layers = nn.ModuleList(nn.ParameterList(torch.randn(3, 3) for _ in range(8)) for _ in range(40))
    marks = marked(layers)
    with torch.no_grad():
        for layer in layers:  # as adapters are merged into the same projection of each
            layer[part].data.copy_(layer[part] + 1)
    assert not marks.fit(layers, step=3)
