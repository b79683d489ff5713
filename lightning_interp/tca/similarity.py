# SPDX-License-Identifier: Apache-2.0
"""Which component of one model is which of another, and how alike they are."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.models import Models


@dataclass(frozen=True)
class Match:
    """Pairs of components of two models.

    Attributes:
        first: Components of the first model.
        second: The component of the second that goes with each.
        congruence: Product over modes of the cosines of each pair, signs kept: 1 for the same component.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    congruence: tuple[float, ...]


def match_components(first: CPFit, second: CPFit, *, modes: tuple[int, ...] | None = None) -> Match:
    """The pairing with the largest sum of absolute congruences (Hungarian method); the smaller rank decides how many pairs.

    Args:
        first: A model.
        second: Another of the same tensor, or of one with the same entries along `modes`.
        modes: Modes to compare, all where None. Across training seeds units are not aligned: compare (0, 1).

    References:
        Tucker's congruence coefficient, as in Tomasi & Bro 2006, https://doi.org/10.1016/j.csda.2004.11.013
    """
    chosen = range(len(first.factors)) if modes is None else modes
    cosines = [first.factors[mode].double().T @ second.factors[mode].double() for mode in chosen]
    table = torch.stack(cosines).prod(dim=0).cpu().numpy()
    rows, columns = linear_sum_assignment(-np.abs(table))
    return Match(tuple(rows.tolist()), tuple(columns.tolist()), tuple(table[rows, columns].tolist()))


def similarities(models: Models, best: Tensor) -> dict[int, float]:
    """Mean similarity of the other restarts of each rank to its best one; NaN-free: ranks with one restart are left out.

    The score of two models is the mean over matched components of Π |cos| (1 − |λ − λ'| / max(λ, λ')): both shapes and
    weights must agree. It is stricter than tensortools' mean of |cos|, which leaves the weights out. 0.8 and more is
    taken as stable.

    Args:
        models: All restarts, weights in the last mode.
        best: Row of the best model of each rank, ranks ascending.

    Returns:
        Rank to similarity, 0 to 1.
    """
    directions, weights = _normalized(models)
    found = {}
    for row in best.tolist():
        rank = int(models.ranks[row])
        others = torch.nonzero(models.ranks == rank)[:, 0]
        others = others[others != row]
        if len(others):
            tables = _scores([d[others, :rank] for d in directions], [d[row, :rank] for d in directions])
            tables = tables * _weight_agreement(weights[others, :rank], weights[row, :rank])
            found[rank] = float(np.mean([_matched_mean(table) for table in tables.cpu().numpy()]))
    return found


def _normalized(models: Models) -> tuple[list[Tensor], Tensor]:
    directions, weights = [], torch.ones(len(models), models.width, dtype=torch.float64, device=models.ranks.device)
    for factor in models.factors:
        norms = factor.double().square().sum(dim=2).sqrt()
        directions.append(factor.double() / torch.where(norms > 0, norms, 1)[:, :, None])
        weights = weights * norms
    return directions, weights


def _scores(others: list[Tensor], best: list[Tensor]) -> Float[Tensor, "model component component"]:
    return torch.stack([other @ own.T for other, own in zip(others, best, strict=True)]).prod(dim=0).abs()


def _weight_agreement(others: Tensor, best: Tensor) -> Float[Tensor, "model component component"]:
    larger = torch.maximum(others[:, :, None], best[None, None, :])
    difference = (others[:, :, None] - best[None, None, :]).abs()
    return 1 - difference / torch.where(larger > 0, larger, 1)


def _matched_mean(table: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> float:
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].mean())
