# SPDX-License-Identifier: Apache-2.0
"""The class null of the percentile: do right answers rank higher than what the same examples are not?

Examples of one class, or of one subject, move together, in a network that has learned nothing too. They do so on the classes
they are not as well, and there it can be measured.
"""

import math
from collections.abc import Iterator

import torch

from lightning_interp.core.shapes import Bool, Float, Float64, Int, Tensor
from lightning_interp.measures.losses import CHUNK_ELEMENTS

MINIMUM_CLASSES = 4
"""Fewest classes with a null: of n (n - 1) cells an additive fit takes 2 n - 1, and of three classes one would be left."""


def class_null_z(
    logits: Float[Tensor, "example class"], targets: Int[Tensor, " example"], candidates: Bool[Tensor, "example class"]
) -> float | None:
    """Excess rank of the true classes over the ranks of the classes that examples are not, in standard deviations.

    M[k, c] is the sum of `centred_percentiles` of class c over the examples of class k, for the n classes present. Its
    diagonal holds the answers. To the n (n - 1) other cells a_k + b_c is fitted, with the variance s² of what is left.
    z = Σ (M[k, k] - a_k - b_k) / √max(v, n s² (1 + 2 / (n - 2))), with v the variance of independent uniform ranks: of
    ties or few candidates it is the larger one, and so z errs on the quiet side.

    Args:
        logits: Class scores of held-out examples; computed in float64, a block of examples at a time.
        targets: True class of each example.
        candidates: Classes ranked for each example. Examples with fewer than two are left out; one whose own class is no
            candidate says something of the other classes only.

    Returns:
        z, or None if fewer than `MINIMUM_CLASSES` classes are present.
    """
    usable = (candidates.sum(dim=1) > 1).nonzero()[:, 0]
    present, index = torch.unique(targets[usable].long(), return_inverse=True)
    n = len(present)
    if n < MINIMUM_CLASSES:
        return None
    center = logits.mean(dim=0, dtype=torch.float64)
    diagonal, rows, columns, squares = _sums_of_cells(logits, center, candidates, usable, index, present)
    a, b = additive_fit(rows, columns)
    variance = (squares - a @ rows - b @ columns) / (n * (n - 1) - (2 * n - 1))  # what is left is orthogonal to the fit
    spread = max(_variance_of_ranks(targets, candidates), n * variance.item() * (1 + 2 / (n - 2)))
    return (diagonal - a - b).sum().item() / math.sqrt(spread)


def centred_percentiles(
    scores: Float64[Tensor, "example class"], candidates: Bool[Tensor, "example class"], columns: Int[Tensor, " column"]
) -> Float64[Tensor, "example column"]:
    """Share of an example's other candidates scored below a class, ties half, minus 1/2; 0 for a class that is none.

    Args:
        scores: Scores, each class's mean taken off.
        candidates: Classes ranked for each example, two or more.
        columns: Classes whose rank is asked.
    """
    ordered = scores.masked_fill(~candidates, torch.inf).sort(dim=1).values
    asked = scores[:, columns].contiguous()
    below, to_last = (torch.searchsorted(ordered, asked, right=right) for right in (False, True))
    rivals = candidates.sum(dim=1, keepdim=True).double() - 1
    centred = (below + to_last - 1) / 2 / rivals - 0.5
    return centred.masked_fill(~candidates[:, columns], 0.0)


def additive_fit(
    rows: Float64[Tensor, " k"], columns: Float64[Tensor, " k"]
) -> tuple[Float64[Tensor, " k"], Float64[Tensor, " k"]]:
    """Least squares a_k + b_c to the cells of a square table off its diagonal, from their sums over rows and columns.

    The normal equations (n - 1) a_k + Σ b - b_k = row k and (n - 1) b_k + Σ a - a_k = column k are solved for each k by
    itself once Σ a = Σ b, which a constant moved between them allows.
    """
    n = len(rows)
    total = rows.sum() / (2 * (n - 1))
    r, c = rows - total, columns - total
    return ((n - 1) * r + c) / (n * (n - 2)), ((n - 1) * c + r) / (n * (n - 2))


def _sums_of_cells(
    logits: Tensor, center: Tensor, candidates: Tensor, usable: Tensor, index: Tensor, present: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Diagonal of M, and of its other cells the sums over rows and columns and the sum of squares."""
    n = len(present)
    diagonal, rows = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    columns, squares = torch.zeros(n, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for first, last, examples in _blocks_of_classes(index, n):
        table = torch.zeros(last - first, n, dtype=torch.float64)
        for part in torch.split(examples, max(1, CHUNK_ELEMENTS // logits.shape[1])):
            picked = usable[part]
            table.index_add_(
                0, index[part] - first, centred_percentiles(logits[picked].double() - center, candidates[picked], present)
            )
        own = torch.arange(first, last)
        diagonal[first:last] = table[own - first, own]
        table[own - first, own] = 0.0
        rows[first:last] = table.sum(dim=1)
        columns += table.sum(dim=0)
        squares += table.square().sum()
    return diagonal, rows, columns, squares


def _blocks_of_classes(index: Tensor, n: int) -> Iterator[tuple[int, int, Tensor]]:
    """First and one past the last class of each block of rows of M that fits in memory, and its examples."""
    order = index.argsort(stable=True)
    ends = torch.bincount(index, minlength=n).cumsum(0).tolist()
    step = max(1, CHUNK_ELEMENTS // n)
    for first in range(0, n, step):
        last = min(n, first + step)
        yield first, last, order[ends[first - 1] if first else 0 : ends[last - 1]]


def _variance_of_ranks(targets: Tensor, candidates: Tensor) -> float:
    """Variance of the sum of the true classes' percentiles where each takes a uniformly random rank by itself."""
    sizes = candidates.sum(dim=1)
    own = candidates.gather(1, targets.long()[:, None])[:, 0] & (sizes > 1)
    rivals = (sizes[own] - 1).double()
    return ((rivals + 2) / (12 * rivals)).sum().item()
