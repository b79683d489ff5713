# SPDX-License-Identifier: Apache-2.0
"""A hand-made observation holding real tensors, and the networks the Fourier measures are tried on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.records import Probe, ProbeOutputs, ProbeSplit, Snapshot
from lightning_interp.core.series import Series
from lightning_interp.measures import CyclicGroupTask, cross_entropy, exchanged_cross_entropy


@dataclass
class FakeObservation:
    """Observation whose parts are given, not computed."""

    step: int = 100
    weights: dict[str, Tensor] = field(default_factory=dict)
    selected: tuple[str, ...] | None = None
    split_inputs: dict[str, Tensor] = field(default_factory=dict)
    split_outputs: dict[str, ProbeOutputs] = field(default_factory=dict)
    layer_values: dict[str, Tensor] = field(default_factory=dict)
    cooccurrence: Tensor | None = None
    past: Series = field(default_factory=dict)
    current_values: dict[str, float] = field(default_factory=dict)

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(step=self.step, epoch=0, weights=self.weights)

    @property
    def probe(self) -> Probe | None:
        heldout = ProbeSplit(()) if self.has_split("heldout") else None
        return Probe(train=ProbeSplit(()), heldout=heldout, cooccurrence=self.cooccurrence)

    @property
    def history(self) -> Series:
        return self.past

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.layer_values)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self.weights) if self.selected is None else self.selected

    def weight(self, name: str) -> Tensor:
        return self.weights[name]

    def has_split(self, split: str) -> bool:
        return split in self.split_outputs or (split == "train" and bool(self.layer_values))

    def inputs(self, split: str) -> Tensor:
        return self.split_inputs[split]

    def outputs(self, split: str) -> ProbeOutputs:
        return self.split_outputs[split]

    def losses(self, split: str) -> Tensor:
        outputs = self.split_outputs[split]
        return outputs.loss.double() if outputs.logits is None else cross_entropy(outputs.logits, outputs.targets)

    def activations(self, layer: str, split: str) -> Tensor:
        values = self.layer_values[layer]
        if values.numel() == 0:
            raise MeasureSkipped(f"{layer} cannot be hooked")
        return values

    def gradients(self, split: str) -> Mapping[str, Tensor]:
        raise MeasureSkipped("no gradients here")

    def exchanged_loss(self, split: str) -> Tensor:
        outputs = self.outputs(split)
        return exchanged_cross_entropy(outputs.logits, outputs.targets)

    def loss_at(self, weights: Mapping[str, Tensor], split: str) -> Tensor:
        raise MeasureSkipped("no replica here")


def classified(logits: Tensor, targets: Tensor) -> ProbeOutputs:
    """Outputs of a classifier."""
    return ProbeOutputs(loss=torch.nn.functional.cross_entropy(logits, targets), logits=logits, targets=targets)


def all_pairs(task: CyclicGroupTask) -> tuple[Tensor, Tensor]:
    """Every pair of tokens [pair, 2] and its answer."""
    pairs = torch.cartesian_prod(torch.arange(task.p), torch.arange(task.p))
    a, b = pairs.T
    answer = {"add": a + b, "sub": a - b, "mul": a * b}[task.op]
    return pairs, answer.remainder(task.p)


def observe(task: CyclicGroupTask, logits: Tensor, train: Tensor, **parts: object) -> FakeObservation:
    """Observation of logits given for all pairs, split by a mask over pairs; inputs end in an '=' token."""
    pairs, targets = all_pairs(task)
    tokens = torch.cat([pairs, torch.full((len(pairs), 1), task.p)], dim=1)
    masks = {"train": train, "heldout": ~train}
    return FakeObservation(
        split_inputs={split: tokens[mask] for split, mask in masks.items()},
        split_outputs={split: classified(logits[mask], targets[mask]) for split, mask in masks.items()},
        **parts,
    )


def random_split(task: CyclicGroupTask, *, share: float, seed: int, unordered: bool = False) -> Tensor:
    """Mask over pairs, True for training; with ``unordered`` a pair and its mirror always fall together."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(task.p, task.p, generator=generator)
    if unordered:
        draw = torch.triu(draw) + torch.triu(draw, 1).T
    return (draw < share).flatten()


def cosine_logits(task: CyclicGroupTask, freqs: tuple[int, ...], *, scale: float = 10.0) -> Tensor:
    """Logits of a network that has learned the task: sum over k of cos w_k (a + b - c), for additive tasks."""
    _, answers = all_pairs(task)
    distance = (answers[:, None] - torch.arange(task.p)).double()
    waves = (torch.cos(2 * torch.pi * k * distance / task.p) for k in freqs)
    return scale * sum(waves, start=torch.zeros_like(distance))


def memorizer_logits(task: CyclicGroupTask, train: Tensor, *, gap: float, seed: int) -> Tensor:
    """Logits that give the trained answer on training pairs and a random answer on all others, ``gap`` above the rest."""
    _, answers = all_pairs(task)
    generator = torch.Generator().manual_seed(seed)
    guess = torch.randint(task.p, answers.shape, generator=generator)
    said = torch.where(train, answers, guess)
    return gap * torch.nn.functional.one_hot(said, task.p).double()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors only: threads would spend their time waiting for each other, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fake() -> type[FakeObservation]:
    return FakeObservation


@pytest.fixture(scope="session")
def build() -> dict[str, Callable[..., object]]:
    """Builders by name, since test modules cannot import each other."""
    makers = (classified, all_pairs, observe, random_split, cosine_logits, memorizer_logits)
    return {maker.__name__: maker for maker in makers}
