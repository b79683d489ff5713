# SPDX-License-Identifier: Apache-2.0
"""The null predictor of a run, from the answers in its probe: which one applies is settled by what the recorded loss is.

Shares of classes say nothing about a loss with class weights or label smoothing. So a kind of null is taken only where its
kind of loss, computed here, gives what the route gave for the same examples.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_interp.analysis.observation import SnapshotObservation
from lightning_interp.analysis.outputs import LossSource, evaluate
from lightning_interp.core.batches import example_count
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.records import SPLITS, Probe, ProbeOutputs
from lightning_interp.measures import cross_entropy
from lightning_interp.measures.null_loss import (
    CLASS_SHARES,
    null_of_binary_labels,
    null_of_classes,
    null_of_squared_error,
)

SAME_LOSS = 1e-4
"""Relative difference up to which two losses are one: float32 rounds at 1e-6, label smoothing moves a first loss by 1e-3."""
ROUNDED = 4.0
"""Times the rounding of the scores by which such a loss may be off as well: bfloat16 has two digits."""
_IGNORED_LABEL = -100

Answers = Mapping[str, Tensor]
"""Answers of (x, y) batches by split."""


def find_null(observation: SnapshotObservation, replica: nn.Module, route: LossSource) -> NullPredictor | None:
    """What is known of the null predictor on the held-out examples of a probe that has its final size.

    None if it cannot be told at this snapshot: all losses of equal scores are one.

    Args:
        observation: Any snapshot on that probe.
        replica: Module with its weights.
        route: How outputs are found.
    """
    probe = observation.probe
    if probe is None or probe.heldout is None:
        return NullPredictor(heldout_examples=count_heldout(probe))
    outputs = observation.outputs("heldout")
    if outputs.logits is not None and outputs.targets is not None and len(outputs.targets):
        known = null_of_classes(outputs.targets)
        if route.name == "pair":  # what it computes is known
            return known
        if not bool((outputs.logits != outputs.logits[:, :1]).any()):
            return None
        return known if _is_cross_entropy(outputs) else replace(known, loss=None, source=CLASS_SHARES)
    found = _null_of_pairs(probe, observation, replica, route)
    return NullPredictor(heldout_examples=count_heldout(probe)) if found is None else found


def count_heldout(probe: Probe | None) -> int:
    """Held-out examples of a probe."""
    examples = None if probe is None else probe.heldout
    return 0 if examples is None else sum(example_count(batch) for batch in examples.batches)


def _is_cross_entropy(outputs: ProbeOutputs) -> bool:
    """Whether the loss is the plain cross-entropy of the scores, on average: single ones may be lost in rounding."""
    assert outputs.logits is not None and outputs.targets is not None
    rounding = torch.finfo(outputs.logits.dtype).eps
    return _same(outputs.loss.double().mean(), cross_entropy(outputs.logits, outputs.targets).mean(), rounding)


def _null_of_pairs(
    probe: Probe, observation: SnapshotObservation, replica: nn.Module, route: LossSource
) -> NullPredictor | None:
    """The null of (x, y) batches without class scores, None if their loss is no known one."""
    answers = _pair_answers(probe)
    if answers is None:
        return None
    train, heldout = answers["train"], answers["heldout"]
    if route.name == "pair":  # what it computes is known
        if heldout.is_floating_point():
            return null_of_squared_error(train, heldout)
        labels = heldout.reshape(-1)  # class scores too large to be kept
        return replace(null_of_classes(labels[labels != _IGNORED_LABEL]), error=None)
    predictions = _predictions(probe, replica)
    if predictions is None or predictions.numel() != heldout.numel():
        return None
    predictions, loss = predictions.double().reshape(heldout.shape), observation.losses("heldout").mean()
    binary = all(bool(((values == 0) | (values == 1)).all()) for values in answers.values())
    for kind, null in (_BINARY_LOSSES if binary else ()) + ((_squared_error, null_of_squared_error),):
        if _same(kind(predictions, heldout.double()), loss):
            return null(train, heldout)
    return None


def _pair_answers(probe: Probe) -> Answers | None:
    """Answers of both splits, None unless all batches are (x, y) with answers of one shape."""
    found: dict[str, Tensor] = {}
    for split in SPLITS:
        examples = probe.split(split)
        batches = examples.batches if examples is not None else ()
        if not batches or not all(isinstance(b, list | tuple) and len(b) == 2 for b in batches):
            return None
        answers = [batch[1] for batch in batches]
        if not all(isinstance(y, Tensor) and y.ndim and y.shape[1:] == answers[0].shape[1:] for y in answers):
            return None
        found[split] = torch.cat(answers)
    return found if found["train"].shape[1:] == found["heldout"].shape[1:] else None


def _predictions(probe: Probe, replica: nn.Module) -> Tensor | None:
    """module(x) of the held-out examples on the CPU, None where that is no tensor for each."""
    assert probe.heldout is not None
    try:
        found = [evaluate(lambda module, batch: module(batch[0]), replica, batch) for batch in probe.heldout.batches]
        return torch.cat([part.detach().cpu() for part in found])
    except torch.OutOfMemoryError:
        raise
    except Exception:  # the module is not made to be called so; its loss stays its own
        return None


def _same(given: Tensor, expected: Tensor, rounding: float = 0.0) -> bool:
    """Whether two mean losses are one, scores being rounded to a share of themselves."""
    off = (given - expected).abs()
    return bool(off <= max(SAME_LOSS, ROUNDED * rounding) * expected.abs() + ROUNDED * rounding)


def _squared_error(predictions: Tensor, answers: Tensor) -> Tensor:
    return (predictions - answers).square().mean()


def _of_probabilities(predictions: Tensor, answers: Tensor) -> Tensor:
    inside = bool(((predictions >= 0) & (predictions <= 1)).all())
    if not inside:
        return torch.tensor(torch.inf, dtype=torch.float64)
    return nn.functional.binary_cross_entropy(predictions, answers)


_BINARY_LOSSES: tuple[tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], NullPredictor]], ...] = (
    (nn.functional.binary_cross_entropy_with_logits, null_of_binary_labels),
    (_of_probabilities, null_of_binary_labels),
)
