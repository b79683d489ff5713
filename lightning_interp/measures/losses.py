# SPDX-License-Identifier: Apache-2.0
"""Losses and accuracies on the fixed probe, and the gap between held-out and training loss."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import ClassVar

import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import Observation, Part
from lightning_interp.core.shapes import Float, Float64, Int, Tensor
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.label import NATS, Chart, Label, Labels
from lightning_interp.measures.preconditions import require_classes, require_finite, require_split

CHUNK_ELEMENTS = 2**22
"""Logits turned to float64 at a time, so that large probes need 32 MB beside themselves, not twice their size."""


def cross_entropy(logits: Float[Tensor, "example class"], targets: Int[Tensor, " example"]) -> Float64[Tensor, " example"]:
    """Cross-entropy of each example from a log-softmax in float64.

    In float32 anything under about 1e-7 nats is rounding noise, and that is where networks that have grokked live; in
    float64 the floor is about 1e-16.

    Args:
        logits: Class scores, any floating dtype.
        targets: Class index of each example, in 0 .. class - 1.

    Returns:
        One loss per example, in nats.

    Raises:
        ShapeError: A target is not one of the classes, or the numbers of examples differ.

    Example:
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2])).exp().item()
        4.0
    """
    check_targets(logits, targets, caller="cross_entropy")
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1])
    picked = [
        torch.log_softmax(block.double(), dim=1).gather(1, index.long()[:, None])[:, 0]
        for block, index in zip(torch.split(logits, rows), torch.split(targets, rows), strict=True)
    ]
    return -torch.cat(picked)


def accuracy(logits: Float[Tensor, "example class"], targets: Int[Tensor, " example"]) -> Float64[Tensor, ""]:
    """Share of examples whose highest score is the target's; on a tie the lowest class index is taken.

    Args:
        logits: Class scores.
        targets: Class index of each example.

    Returns:
        A number in [0, 1].

    Raises:
        ShapeError: A target is not one of the classes, or there are no examples.
    """
    check_targets(logits, targets, caller="accuracy")
    return (logits.argmax(dim=1) == targets).double().mean()


def check_targets(logits: Tensor, targets: Tensor, *, caller: str) -> None:
    """Raise `ShapeError` unless every target indexes one class of logits [example, class]."""
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not targets.numel() or not logits.shape[1]:
        raise ShapeError(
            f"{caller}: `logits` must be [example, class] and `targets` [example], with one example or more, got "
            f"{tuple(logits.shape)} and {tuple(targets.shape)}."
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= logits.shape[1]:
        raise ShapeError(
            f"{caller}: `targets` must lie in 0 .. {logits.shape[1] - 1}, got {low} .. {high}. "
            "Drop ignored examples (such as index -100) before the call."
        )


def mean_loss(observation: Observation, split: Part) -> float:
    """Mean loss of one part of the probe; nats where it is a cross-entropy.

    Raises:
        MeasureSkipped: The split is missing, no loss can be found, or it is not finite.
    """
    require_split(observation, split)
    mean = observation.losses(split).mean().item()
    if math.isnan(mean) and observation.outputs(split).targets is None and observation.outputs(split).logits is not None:
        raise MeasureSkipped(f"the {split} examples have no labels")
    return require_finite(mean, f"the {split} loss")


_loss = partial(Label, unit=NATS, log=True, section="losses", chart=Chart("losses", "losses"))
_GAP = Chart("losses", "held-out minus train loss", place=2)
_accuracy = partial(Label, unit="share", section="accuracies", chart=Chart("accuracies", "accuracies (share)"))


class TrainLoss(Measure):
    """``train_loss``: mean loss on the training examples of the probe, nats, float64."""

    name: ClassVar[str] = "train_loss"
    names: ClassVar[Labels] = {"train_loss": _loss("train loss", about="mean loss on the training examples of the probe")}
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `mean_loss`."""
        return {self.name: mean_loss(observation, "train")}


class HeldoutLoss(Measure):
    """``heldout_loss``: mean loss on the held-out examples of the probe, nats, float64.

    Of further validation loaders ``heldout_loss/<loader>``.
    """

    name: ClassVar[str] = "heldout_loss"
    names: ClassVar[Labels] = {
        "heldout_loss": _loss("held-out loss", about="mean loss on the held-out examples of the probe")
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `mean_loss`."""
        return {self.name: mean_loss(observation, "heldout"), **_by_loader(self.name, observation, mean_loss)}


class LossGap(Measure):
    """``loss_gap``: held-out loss minus training loss, nats; positive where the network fits better than it predicts."""

    name: ClassVar[str] = "loss_gap"
    names: ClassVar[Labels] = {
        "loss_gap": Label(
            "loss gap, held-out − train", NATS, section="progress", row=5, about="held-out minus train loss", chart=_GAP
        )
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `mean_loss`."""
        return {self.name: mean_loss(observation, "heldout") - mean_loss(observation, "train")}


class TrainAccuracy(Measure):
    """``train_accuracy``: share of the training examples of the probe classified correctly, in [0, 1]."""

    name: ClassVar[str] = "train_accuracy"
    names: ClassVar[Labels] = {
        "train_accuracy": _accuracy(
            "train accuracy", about="share of the training examples whose highest score is the target's"
        )
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `accuracy`."""
        return {self.name: accuracy(*require_classes(observation, "train")).item()}


class HeldoutAccuracy(Measure):
    """``heldout_accuracy``: share of the held-out examples of the probe classified correctly, in [0, 1].

    Of further validation loaders ``heldout_accuracy/<loader>``.
    """

    name: ClassVar[str] = "heldout_accuracy"
    names: ClassVar[Labels] = {"heldout_accuracy": _accuracy("held-out accuracy", about="the same of the held-out examples")}
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `accuracy`."""
        return {self.name: _share_right(observation, "heldout"), **_by_loader(self.name, observation, _share_right)}


def _share_right(observation: Observation, part: Part) -> float:
    return accuracy(*require_classes(observation, part)).item()


def _by_loader(name: str, observation: Observation, value: Callable[[Observation, Part], float]) -> dict[str, float]:
    """The value of each further validation loader that has one, under ``name/<loader>``."""
    found = {}
    for loader in observation.probe.loaders if observation.probe is not None else ():
        with suppress(MeasureSkipped):
            found[f"{name}/{loader}"] = value(observation, f"heldout/{loader}")
    return found
