# SPDX-License-Identifier: Apache-2.0
"""Which stimuli, classes and split load on each component, and how few units or stimuli carry it."""

from collections.abc import Sequence
from typing import TypedDict

import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.shapes import Bool, Float, Float64, Int, Tensor
from lightning_interp.tca.null import adjusted_p_values, group_loadings

LEVEL = 0.05
"""Adjusted p-value up to which a class counts as loading, and the splits as different."""


class ClassLoading(TypedDict):
    """A class that loads on a component beyond chance.

    ``loading`` is its mean absolute loading, ``z`` how many standard deviations of the permutation null that lies over its
    mean, ``p_value`` adjusted for all classes and components.
    """

    label: int
    loading: float
    z: float
    p_value: float


class SplitLoading(TypedDict):
    """Mean absolute loading of each split, and the two-sided p-value of their difference, adjusted for all components."""

    train: float
    heldout: float
    p_value: float


def gini(amounts: Float[Tensor, "entry component"]) -> Float64[Tensor, " component"]:
    """Gini coefficient of each column: sum_i (2 i - n - 1) x_(i) / (n sum x), x sorted ascending, i from 1.

    `lightning_interp.measures.gini` is the same of one vector; rooms of mathematics do not import each other.

    Args:
        amounts: At least one row, finite, none negative.

    Returns:
        0 where all are equal (all zero included) to 1 - 1/n where one holds everything.

    Raises:
        ShapeError: No rows, or a negative or non-finite amount.

    Example:
        >>> gini(torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [5.0, 1.0]])).tolist()
        [0.75, 0.0]
    """
    if not len(amounts) or not (amounts >= 0).all() or not amounts.isfinite().all():
        raise ShapeError(f"gini: `amounts` needs one or more rows of finite amounts >= 0, got shape {tuple(amounts.shape)}.")
    ordered = amounts.double().sort(dim=0).values
    count = len(ordered)
    ranks = 2 * torch.arange(1, count + 1, dtype=torch.float64, device=amounts.device) - count - 1
    total = ordered.sum(dim=0)
    return ranks @ ordered / (count * torch.where(total > 0, total, 1))


def carriers(amounts: Float[Tensor, "entry component"], share: float) -> Int[Tensor, " component"]:
    """Fewest entries of each column that together hold at least `share` of it; 0 for a column of zeros.

    Args:
        amounts: Finite, none negative.
        share: In (0, 1).
    """
    held = amounts.double().sort(dim=0, descending=True).values.cumsum(dim=0)
    total = held[-1]
    # A sum that should equal the share exactly may round to just under it.
    return torch.where(total > 0, (held < share * total * (1 - 1e-12)).sum(dim=0) + 1, 0)


def strongest(loadings: Float[Tensor, "entry component"], most: int) -> list[tuple[int, ...]]:
    """Indices of the largest absolute loadings of each column, largest first, ties by index; no zeros."""
    magnitudes = loadings.abs()
    order = magnitudes.argsort(dim=0, descending=True, stable=True)[:most]
    return [
        tuple(int(entry) for entry in column if magnitudes[entry, component] > 0) for component, column in enumerate(order.T)
    ]


def class_loadings(
    loadings: Float64[Tensor, "stimulus component"],
    labels: Int[Tensor, " stimulus"],
    heldout: Bool[Tensor, " stimulus"] | None,
    *,
    permutations: int,
    generator: torch.Generator,
) -> list[tuple[ClassLoading, ...]]:
    """The classes that load on each component more than chance explains, highest loading first.

    The statistic is the mean absolute loading of a class (negative loadings count as much as positive ones), standardized
    by its null distribution: labels permuted over stimuli, within train and within held-out where the split is known, so
    that a component of the held-out stimuli does not point at the classes that are common there. One-sided; adjusted over
    all classes and components together by `adjusted_p_values`. A class that is all of its split, or the only one, cannot
    stand out.

    Returns:
        For each component, the classes with an adjusted p-value of at most .05.
    """
    values, groups = torch.unique(labels, return_inverse=True)
    strata = torch.unique(torch.zeros_like(labels) if heldout is None else heldout, return_inverse=True)[1]
    found = group_loadings(loadings.abs(), groups, strata, permutations=permutations, generator=generator)
    p_values = adjusted_p_values(found.z, found.null_z)
    described = []
    for means, z, chance in zip(found.means, found.z, p_values, strict=True):
        order = [int(group) for group in means.argsort(descending=True, stable=True) if chance[group] <= LEVEL]
        described.append(
            tuple(
                ClassLoading(
                    label=int(values[group]), loading=means[group].item(), z=z[group].item(), p_value=chance[group].item()
                )
                for group in order
            )
        )
    return described


def split_loadings(
    loadings: Float64[Tensor, "stimulus component"],
    labels: Int[Tensor, " stimulus"] | None,
    heldout: Bool[Tensor, " stimulus"],
    *,
    permutations: int,
    generator: torch.Generator,
) -> Sequence[SplitLoading | None]:
    """Mean absolute loading of train and held-out stimuli for each component, and whether they differ.

    Two-sided, split labels permuted within each class where classes are known, so that a component of a class that is
    common in one split does not point at the split; adjusted over components by `adjusted_p_values`. Where every class
    lies in one split only, nothing can be told and the p-value is 1.

    Returns:
        For each component; None where all stimuli belong to one split.
    """
    if heldout.all() or not heldout.any():
        return [None] * loadings.shape[1]
    strata = torch.unique(torch.zeros_like(heldout) if labels is None else labels, return_inverse=True)[1]
    found = group_loadings(loadings.abs(), heldout.long(), strata, permutations=permutations, generator=generator)
    p_values = adjusted_p_values(found.z[:, 1].abs(), found.null_z[:, :, 1].abs())
    return [
        SplitLoading(train=means[0].item(), heldout=means[1].item(), p_value=chance.item())
        for means, chance in zip(found.means, p_values, strict=True)
    ]
