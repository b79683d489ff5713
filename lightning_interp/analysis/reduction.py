# SPDX-License-Identifier: Apache-2.0
"""How the loss that a module's own step gives grows with its batch: a mean over examples, a sum, or a batch's share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from torch import Tensor

from lightning_interp.analysis.loss_names import is_share
from lightning_interp.core.batches import example_count, map_tensors
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Batch

Reduction = Literal["mean", "sum", "share"]

_SAME, _OTHER = 1e-3, 1e-2
"""Relative differences: two halves that add up to the whole to within the first, and miss its mean by the second."""

_examples: ContextVar[int | None] = ContextVar("examples", default=None)


@contextmanager
def batches_of_split(examples: int) -> Iterator[None]:
    """Inside, batches are parts of so many examples: what each share of a loss is a share of."""
    token = _examples.set(examples)
    try:
        yield
    finally:
        _examples.reset(token)


def find_reduction(loss: Callable[[Batch], float], batch: Batch, name: str) -> Reduction:
    """Cut a batch in two and see what becomes of its loss.

    Args:
        loss: Gives the loss of a batch.
        batch: At least two examples, else it counts as a mean.
        name: What the loss is called: a "partial" loss that adds up is a share of the whole split's.
    """
    count = example_count(batch)
    half = count // 2
    if not half:
        return "mean"
    try:
        whole, first, second = (
            loss(batch),
            loss(_rows(batch, count, slice(half))),
            loss(_rows(batch, count, slice(half, None))),
        )
    except (ProbeError, RuntimeError):  # it takes no smaller batch
        return "mean"
    mean = (half * first + (count - half) * second) / count
    adds_up = abs(first + second - whole) <= _SAME * abs(whole) and abs(mean - whole) > _OTHER * abs(whole)
    return "mean" if not adds_up else "share" if is_share(name) else "sum"


def as_mean(loss: Tensor, batch: Batch, reduction: str) -> Tensor:
    """A batch's loss such that the mean over batches, weighted by examples, is the loss of the split."""
    if reduction == "mean":
        return loss
    count = example_count(batch)
    return loss / count if reduction == "sum" else loss * ((_examples.get() or count) / count)


def _rows(batch: Batch, count: int, rows: slice) -> Batch:
    return map_tensors(batch, lambda tensor: tensor[rows] if tensor.ndim and len(tensor) == count else tensor)
