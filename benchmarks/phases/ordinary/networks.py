# SPDX-License-Identifier: Apache-2.0
"""The networks of ordinary trainings, each small enough for a few seconds on one core. All end in a layer `readout`."""

from collections.abc import Callable

import torch
from ordinary.examples import Examples
from ordinary.spec import OrdinarySpec
from torch import Tensor, nn

HEADS = 2


class Perceptron(nn.Module):
    """Hidden layers on all inputs at once; operands of tokens are embedded and laid side by side."""

    def __init__(self, spec: OrdinarySpec, examples: Examples) -> None:
        super().__init__()
        tokens, size = examples.tokens, examples.inputs[0].numel()
        self.embedding = nn.Embedding(tokens, spec.width // 4) if tokens else None
        size = size * (spec.width // 4) if tokens else size
        layers: list[nn.Module] = []
        for _ in range(spec.depth):
            layers.append(nn.Linear(size, spec.width))
            layers += [nn.BatchNorm1d(spec.width)] if spec.batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(spec.dropout)] if spec.dropout else []
            size = spec.width
        self.hidden = nn.Sequential(*layers)
        self.readout = nn.Linear(size, outputs_of(examples))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores or numbers [example, output]."""
        seen = inputs if self.embedding is None else self.embedding(inputs)
        found: Tensor = self.readout(self.hidden(seen.flatten(1)))
        return found


class Convolutional(nn.Module):
    """Convolutions, each halving the image, and a linear readout."""

    def __init__(self, spec: OrdinarySpec, examples: Examples) -> None:
        super().__init__()
        channels, layers = examples.inputs.shape[1], list[nn.Module]()
        for block in range(spec.depth):
            wide = spec.width * (block + 1)
            layers.append(nn.Conv2d(channels, wide, 3, padding=1))
            layers += [nn.BatchNorm2d(wide)] if spec.batch_norm else []
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            channels = wide
        self.hidden = nn.Sequential(*layers)
        with torch.no_grad():
            size = self.hidden.eval()(examples.inputs[:1]).numel()
        self.readout = nn.Linear(size, outputs_of(examples))

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores [example, class]."""
        found: Tensor = self.readout(self.hidden(inputs).flatten(1))
        return found


class Pixelwise(nn.Module):
    """Convolutions that keep the size of the image: an answer for each pixel."""

    def __init__(self, spec: OrdinarySpec, examples: Examples) -> None:
        super().__init__()
        channels, layers = examples.inputs.shape[1], list[nn.Module]()
        for _ in range(spec.depth):
            layers += [nn.Conv2d(channels, spec.width, 3, padding=1), nn.ReLU()]
            channels = spec.width
        self.hidden = nn.Sequential(*layers)
        self.readout = nn.Conv2d(channels, outputs_of(examples), 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores [example, class, row, column]."""
        found: Tensor = self.readout(self.hidden(inputs))
        return found


class LanguageModel(nn.Module):
    """Attention blocks with layer normalization that see what came before."""

    def __init__(self, spec: OrdinarySpec, examples: Examples) -> None:
        super().__init__()
        self.embedding = nn.Embedding(examples.tokens, spec.width)
        self.places = nn.Parameter(0.1 * torch.randn(examples.inputs.shape[1], spec.width))
        blocks = (
            nn.TransformerEncoderLayer(
                spec.width, HEADS, 2 * spec.width, dropout=spec.dropout, batch_first=True, norm_first=True
            )
            for _ in range(spec.depth)
        )
        self.blocks = nn.ModuleList(blocks)
        self.readout = nn.Linear(spec.width, outputs_of(examples))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of the next token [example, place, token]."""
        length = inputs.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=inputs.device).triu(1)
        states = self.embedding(inputs) + self.places[:length]
        for block in self.blocks:
            states = block(states, src_mask=ahead)
        found: Tensor = self.readout(states)
        return found


class Recurrent(nn.Module):
    """A gated recurrent layer over tokens."""

    def __init__(self, spec: OrdinarySpec, examples: Examples) -> None:
        super().__init__()
        self.embedding = nn.Embedding(examples.tokens, spec.width)
        self.hidden = nn.GRU(spec.width, spec.width, batch_first=True)
        self.readout = nn.Linear(spec.width, outputs_of(examples))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of the next token [example, place, token]."""
        found: Tensor = self.readout(self.hidden(self.embedding(inputs))[0])
        return found


class Bottleneck(nn.Module):
    """An autoencoder: down to few units and back."""

    def __init__(self, spec: OrdinarySpec, examples: Examples) -> None:
        super().__init__()
        size = examples.inputs[0].numel()
        self.hidden = nn.Sequential(
            nn.Linear(size, spec.width),
            nn.ReLU(),
            nn.Linear(spec.width, spec.depth),
            nn.Linear(spec.depth, spec.width),
            nn.ReLU(),
        )
        self.readout = nn.Linear(spec.width, size)

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs again [example, feature]."""
        found: Tensor = self.readout(self.hidden(inputs))
        return found


NETWORKS: dict[str, Callable[[OrdinarySpec, Examples], nn.Module]] = {
    "perceptron": Perceptron,
    "convolutional": Convolutional,
    "pixelwise": Pixelwise,
    "language_model": LanguageModel,
    "recurrent": Recurrent,
    "bottleneck": Bottleneck,
}


def outputs_of(examples: Examples) -> int:
    """How many numbers a network gives for each answer."""
    return examples.classes or examples.answers[0].numel()


def make_network(spec: OrdinarySpec, examples: Examples) -> nn.Module:
    """The network of a run with its initial weights, drawn from the global stream."""
    torch.manual_seed(spec.seed)
    network = NETWORKS[spec.network](spec, examples)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(spec.init)
    return network
