# SPDX-License-Identifier: Apache-2.0
"""Examples of one kind of task, and their split into what is trained on and what is held out."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from ordinary.spec import OrdinarySpec
from torch import Tensor

Kind = Literal["classification", "regression", "multilabel", "dense", "lm", "autoencoder"]


@dataclass(frozen=True)
class Examples:
    """A data set.

    Attributes:
        inputs: Numbers or tokens, [example, ...].
        answers: Classes, numbers or bits, [example, ...].
        kind: What kind of task it is.
        classes: Number of classes, None where answers are none.
        groups: Group of each example, kept on one side of the split; None where examples are independent.
        tokens: Number of tokens, 0 where inputs are numbers.
    """

    inputs: Tensor
    answers: Tensor
    kind: Kind
    classes: int | None = None
    groups: Tensor | None = None
    tokens: int = 0

    def take(self, chosen: Tensor) -> "Examples":
        """Some of them."""
        groups = None if self.groups is None else self.groups[chosen]
        return replace(self, inputs=self.inputs[chosen], answers=self.answers[chosen], groups=groups)


@dataclass(frozen=True)
class Split:
    """Both sides of a data set.

    Attributes:
        train: To train on.
        heldout: To hold out.
        flipped_train: Share of the training answers that differ from the task's own: counted, not declared.
        flipped_heldout: The same of the held-out ones.
    """

    train: Examples
    heldout: Examples
    flipped_train: float
    flipped_heldout: float


def split(examples: Examples, spec: OrdinarySpec) -> Split:
    """Draw both sides, then flip, permute or scale their answers as the run asks.

    Raises:
        ValueError: There are fewer examples than asked for.
    """
    draw = torch.Generator().manual_seed(7000 + spec.seed)
    order = torch.randperm(len(examples.inputs), generator=draw)
    if examples.groups is not None:
        place = torch.randperm(int(examples.groups.max()) + 1, generator=draw)
        order = order[place[examples.groups[order]].argsort(stable=True)]
    if len(order) < spec.train + spec.heldout:
        raise ValueError(f"{spec.name}: {spec.data} has {len(order)} examples, {spec.train + spec.heldout} are asked for.")
    sides = examples.take(order[: spec.train]), examples.take(order[-spec.heldout :])
    found = [
        _answered(side, spec, share, draw) for side, share in zip(sides, (spec.flip_train, spec.flip_heldout), strict=True)
    ]
    shares = [float((new.answers != old.answers).double().mean()) for new, old in zip(found, sides, strict=True)]
    scaled = [_scaled(side, spec) for side in found]
    return Split(*scaled, *shares)


def _answered(side: Examples, spec: OrdinarySpec, share: float, draw: torch.Generator) -> Examples:
    answers = side.answers.clone()
    if spec.shuffled:
        answers = answers[torch.randperm(len(answers), generator=draw)]
    if share:
        hit = torch.randperm(len(answers), generator=draw)[: round(share * len(answers))]
        if side.kind == "multilabel":
            answers[hit] = 1 - answers[hit]
        else:
            other = torch.randint(1, int(side.classes or 2), answers[hit].shape, generator=draw)
            answers[hit] = (answers[hit] + other) % int(side.classes or 2)
    return replace(side, answers=answers)


def _scaled(side: Examples, spec: OrdinarySpec) -> Examples:
    """Targets in another unit; inputs stay."""
    if side.kind != "regression":
        return side
    return replace(side, answers=side.answers * spec.scale + spec.shift)
