# SPDX-License-Identifier: Apache-2.0
"""Which snapshots, stimuli and units a tensor component analysis keeps; deterministic, no random numbers."""

import math
from collections.abc import Sequence

import torch

from lightning_interp.core.shapes import Bool, Float, Float64, Int, Tensor

_GOLDEN = (math.sqrt(5) - 1) / 2
_TIE = 1e-9


def log_spaced(steps: Sequence[int], most: int) -> Int[Tensor, " kept"]:
    """Indices of at most `most` snapshots spread evenly in log(step + 1), first and last among them.

    While there are too many, the snapshot leaves whose departure opens the smallest gap in log(step + 1), the earliest of
    several.

    Args:
        steps: Optimizer steps, strictly ascending.
        most: At least 2.

    Example:
        >>> log_spaced([0, 1, 2, 3, 7, 15], 5).tolist()
        [0, 1, 3, 4, 5]
    """
    kept = torch.arange(len(steps))
    clock = torch.tensor(steps, dtype=torch.float64).log1p()
    while len(kept) > most:
        gaps = clock[2:] - clock[:-2]
        leaving = int((gaps / _TIE).round().argmin()) + 1
        kept = torch.cat([kept[:leaving], kept[leaving + 1 :]])
        clock = torch.cat([clock[:leaving], clock[leaving + 1 :]])
    return kept


def stratified(
    labels: Int[Tensor, " stimulus"] | None, heldout: Bool[Tensor, " stimulus"] | None, *, count: int, most: int
) -> Int[Tensor, " kept"]:
    """Indices of at most `most` of `count` stimuli, ascending, in proportion to the split and the class.

    Places go to train and held-out in proportion to their sizes, and within each to the classes; every split, then every
    class, gets one before any gets two, where there are enough. Within a class the stimuli are spread over their order
    by multiples of the golden ratio, which keeps step with no period of the data.
    """
    if count <= most:
        return torch.arange(count)
    splits = torch.zeros(count, dtype=torch.long) if heldout is None else heldout.long()
    classes = torch.zeros(count, dtype=torch.long) if labels is None else labels
    kept = []
    for members, places in _shared_out(splits, most):
        for inner, inner_places in _shared_out(classes[members], places):
            kept.append(members[inner[_spread(len(inner))[:inner_places]]])
    return torch.cat(kept).sort().values


def highest_variance(
    tensor: Float[Tensor, "snapshot stimulus unit"], scales: Float64[Tensor, " snapshot"], most: int
) -> tuple[Int[Tensor, " kept"], float]:
    """Indices of at most `most` units, ascending, and their share of the variance in [0, 1].

    A unit's variance is that of its activations over snapshots and stimuli, each snapshot divided by its entry of `scales`.
    The share is 1 where nothing varies.
    """
    if tensor.shape[2] <= most:
        return torch.arange(tensor.shape[2]), 1.0
    divisors = scales.tolist()
    mean = torch.stack([row.mean(dim=0, dtype=torch.float64) / by for row, by in zip(tensor, divisors, strict=True)]).mean(
        dim=0
    )
    spread = [(row.double() / by - mean).square().mean(dim=0) for row, by in zip(tensor, divisors, strict=True)]
    variance = torch.stack(spread).mean(dim=0).cpu()
    kept = variance.argsort(descending=True, stable=True)[:most].sort().values
    total = variance.sum().item()
    return kept, min(1.0, variance[kept].sum().item() / total) if total > 0 else 1.0


def _shared_out(groups: Int[Tensor, " stimulus"], places: int) -> list[tuple[Int[Tensor, " member"], int]]:
    """The members of each group, with how many of `places` it gets (largest remainders)."""
    members = [(groups == value).nonzero()[:, 0] for value in torch.unique(groups)]
    sizes = torch.tensor([len(member) for member in members])
    return list(zip(members, _apportioned(sizes, places).tolist(), strict=True))


def _apportioned(sizes: Int[Tensor, " group"], places: int) -> Int[Tensor, " group"]:
    """Places of each group, no more than its size; exact in integers. Ties go to groups spread over the order."""
    each = 1 if places >= len(sizes) else 0
    left = sizes - each
    share = left * (places - each * len(sizes))
    total = max(1, int(left.sum()))
    given = each + share // total
    rank = torch.empty(len(sizes), dtype=torch.long)
    rank[_spread(len(sizes))] = torch.arange(len(sizes))
    order = sorted(range(len(sizes)), key=lambda group: (-int(share[group] % total), int(rank[group])))
    for group in order[: places - int(given.sum())]:
        given[group] += 1
    return given


def _spread(count: int) -> Int[Tensor, " entry"]:
    """The numbers below `count` in an order of which every beginning is spread evenly (three-gap theorem)."""
    return ((torch.arange(count, dtype=torch.float64) * _GOLDEN) % 1).argsort()
