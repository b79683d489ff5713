# SPDX-License-Identifier: Apache-2.0
"""Which stimuli and units a tensor component analysis keeps; deterministic, no random numbers."""

import math

import torch

from lightning_interp.core.shapes import Bool, Float, Float64, Int, Tensor

_GOLDEN = (math.sqrt(5) - 1) / 2


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
