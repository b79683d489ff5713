# SPDX-License-Identifier: Apache-2.0
"""What a module's mean loss is a mean over, where it gives one number for a batch: examples, or the targets that count.

The loss of a split is what the module would give for it as one batch. A language model's mean leaves out ignored and padded
targets, so that batches count by those that are left. Which they are is told by a test: the loss of a whole batch against
those of its two halves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from lightning_interp.core.batches import example_count, take_examples, tensors_of
from lightning_interp.core.records import Batch
from lightning_interp.store.analysis_state import EXAMPLES

_IGNORED = (-100, -1, 0, 1)
"""What targets that do not count, and padding, are commonly filled with."""
_MOST_BATCHES = 4
"""Batches that are tried for a way of counting that they do not tell from another."""
_MOST_TESTS = 8
_SAME = 1e-5
"""Relative difference up to which two losses are one: some roundings of float32. Coarser losses are one up to theirs."""

LossOf = Callable[[Batch], float]
"""Mean loss of a batch."""


@dataclass(frozen=True)
class MeanOver:
    """A way to count what a mean loss is over.

    Attributes:
        tensor: Which tensor of a batch tells, by its place; None to count examples.
        ignored: Value of its entries that do not count; None where the entries themselves are numbers of what counts.
        shifted: Whether the first entry of each example does not count, as where tokens predict the next.
        fits: Whether losses were not found to be means over something else.
    """

    tensor: int | None = None
    ignored: int | None = None
    shifted: bool = False
    fits: bool = field(default=True, compare=False)

    @property
    def name(self) -> str:
        """Under this it is kept."""
        return EXAMPLES if self.tensor is None else f"{self.tensor}:{self.ignored}:{int(self.shifted)}"

    @property
    def words(self) -> str:
        """What counts, for the user."""
        if self.tensor is None:
            return EXAMPLES
        what = "what the mask or the lengths in" if self.ignored is None else f"entries other than {self.ignored} of"
        after = ", the first of each example left out" if self.shifted else ""
        return f"{what} tensor {self.tensor + 1} of the batch{' say' if self.ignored is None else ''}{after}"

    @classmethod
    def of(cls, name: str | None) -> "MeanOver":
        """The way of a name; None for examples."""
        if name is None or name == EXAMPLES:
            return cls()
        tensor, ignored, shifted = name.split(":")
        return cls(int(tensor), None if ignored == "None" else int(ignored), shifted == "1")

    def __call__(self, batch: Batch) -> float:
        """What counts in a batch; its examples where it has not that tensor."""
        each = self.of_each(batch)
        return float(example_count(batch) if each is None else each.sum())

    def of_each(self, batch: Batch) -> Tensor | None:
        """What counts in each example, None where examples count."""
        found = None if self.tensor is None else dict(enumerate(tensors_of(batch))).get(self.tensor)
        if found is None or not _is_countable(found, example_count(batch)):
            return None
        counted = found if self.ignored is None else found != self.ignored
        if self.shifted:
            counted = counted[:, 1:] if counted.ndim > 1 else counted - 1
        return counted.flatten(1).sum(1).double() if counted.ndim > 1 else counted.double()


def find_mean_over(batches: Sequence[Batch], loss_of: LossOf, *, rounding: float = 0.0) -> MeanOver | None:
    """What the mean loss of a module is over: examples where it is nothing else; None if these batches do not tell now.

    Args:
        batches: Batches of the probe.
        loss_of: The module's mean loss of one, without randomness.
        rounding: Relative rounding of these losses, as ``torch.finfo(dtype).eps``.
    """
    batches = batches[:_MOST_BATCHES]
    ways = list(dict.fromkeys(way for batch in batches for way in _ways(batch)))
    left = [MeanOver(), *ways]
    tests = ((way, batch) for way in ways for batch in batches)
    for way, batch in islice(((way, batch) for way, batch in tests if _differs(way, batch)), _MOST_TESTS):
        if way in left and len(left) > 1:
            left = _agreeing(left, way, batch, loss_of, max(_SAME, rounding))
    if left and MeanOver() in left and len(left) > 1:
        return None
    return left[0] if left else MeanOver(fits=False)


def _ways(batch: Batch) -> Iterator[MeanOver]:
    """Ways of counting that give another mean than examples: targets without torch's own mark, then masks, then others."""
    examples = example_count(batch)
    tensors = [(place, held) for place, held in enumerate(tensors_of(batch)) if _is_countable(held, examples)]
    masks = {place for place, held in tensors if held.ndim > 1 and bool(((held == 0) | (held == 1)).all())}
    counts = [place for place, held in tensors if place in masks or (held.ndim == 1 and bool((held > 0).all()))]
    marked = {
        value: [place for place, held in tensors if place not in masks and bool((held == value).any())] for value in _IGNORED
    }
    plain = [MeanOver(place, _IGNORED[0]) for place in marked.pop(_IGNORED[0])]
    plain += [MeanOver(place) for place in counts]
    plain += [MeanOver(place, value) for value, places in marked.items() for place in places]
    shapes = {place: held.ndim for place, held in tensors}
    for way in plain:
        assert way.tensor is not None
        shifts = (False, True) if shapes[way.tensor] > 1 or way.ignored is None else (False,)
        yield from (found for shifted in shifts if _differs(found := replace(way, shifted=shifted), batch))


def _is_countable(held: Tensor, examples: int) -> bool:
    return held.ndim > 0 and len(held) == examples > 1 and not held.is_floating_point() and not held.is_complex()


def _differs(way: MeanOver, batch: Batch) -> bool:
    counts = way.of_each(batch)
    return counts is not None and bool((counts != counts[0]).any())


def _agreeing(left: list[MeanOver], way: MeanOver, batch: Batch, loss_of: LossOf, same: float) -> list[MeanOver]:
    """Those by which the losses of two halves, of many and of few counted by `way`, make the loss of the whole."""
    counts = way.of_each(batch)
    assert counts is not None, "it differs on this batch"
    order = counts.argsort(stable=True)
    rows = (order[: len(order) // 2], order[len(order) // 2 :])
    halves = [half for half in (take_examples(batch, each.sort().values) for each in rows) if half is not None]
    if len(halves) < 2:
        return left
    whole, losses = loss_of(batch), [loss_of(half) for half in halves]
    means = {each: _mean(losses, [each(half) for half in halves]) for each in left}
    return [each for each in left if abs(means[each] - whole) <= same * abs(whole)]


def _mean(losses: list[float], counts: list[float]) -> float:
    """Mean of means; one over nothing is NaN and does not count."""
    return sum(loss * count for loss, count in zip(losses, counts, strict=True) if count) / max(sum(counts), 1.0)


def weighted_mean(means: Tensor, counts: list[float]) -> Tensor:
    """Mean over all that counts, from the means of batches and how much counts in each; float64."""
    weights = torch.tensor(counts, dtype=torch.float64)
    present = weights > 0
    return (means[present] * weights[present]).sum() / weights.sum()
