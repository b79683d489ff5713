# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm

from lightning_interp.capture.plain_tensors import changed_since, mark_plain_tensors


class Holds(nn.Module):
    """Tensors in every place a module can have them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.plain = torch.zeros(2)
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("queue", torch.zeros(2), persistent=False)
        self.metric = torchmetrics.MeanMetric()


def changed_by(change) -> list[str]:
    module = Holds()
    before = mark_plain_tensors(module)
    change(module)
    return changed_since(before, module)


def test_what_is_written_to_or_replaced_beside_the_state_dict_is_named():
    def change(module: Holds) -> None:
        module.plain = torch.ones(2)
        module.queue.add_(1)

    assert changed_by(change) == ["plain", "queue"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("wrapped", [weight_norm, spectral_norm])
def test_a_weight_that_is_made_anew_from_parameters_is_not_named(wrapped):
    module = wrapped(nn.Linear(2, 2))
    before = mark_plain_tensors(module)
    module(torch.ones(1, 2))
    assert changed_since(before, module) == []


def test_what_snapshots_follow_and_metrics_are_not_named():
    def change(module: Holds) -> None:
        with torch.no_grad():
            module.layer.weight.add_(1)
        module.kept.add_(1)
        module.metric.update(1.0)

    assert changed_by(change) == []
