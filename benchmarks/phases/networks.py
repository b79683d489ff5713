# SPDX-License-Identifier: Apache-2.0
"""The networks of the pool, small enough to learn in a minute on one core."""

import torch
from spec import Spec
from tasks import Data
from torch import Tensor, nn

from lightning_interp.demo import ModularAddition

HEADS = 4


class Perceptron(nn.Module):
    """Hidden layers on numbers, or on the embeddings of both operands side by side.

    Args:
        data: Says what the inputs are.
        width: Width of the hidden layers; embeddings of tokens have a quarter of it each.
        hidden: Number of hidden layers.
    """

    def __init__(self, data: Data, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(data.tokens, width // 4) if data.tokens else None
        size = 2 * (width // 4) if data.tokens else data.inputs.shape[1]
        layers: list[nn.Module] = []
        for _ in range(hidden):
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        self.hidden = nn.Sequential(*layers)
        self.readout = nn.Linear(size, data.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores [example, class]."""
        if self.embedding is not None:
            inputs = self.embedding(inputs[:, :2]).flatten(1)
        scores: Tensor = self.readout(self.hidden(inputs))
        return scores


def make_network(spec: Spec, data: Data) -> nn.Module:
    """The network of a run with its initial weights, drawn from the global stream."""
    torch.manual_seed(spec.seed)
    if spec.network == "transformer":
        network: nn.Module = ModularAddition(data.classes, d_model=spec.width, n_heads=HEADS)
    else:
        network = Perceptron(data, spec.width, hidden=2 if spec.task == "digits" else 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(spec.init)
    return network
