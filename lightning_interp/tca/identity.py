# SPDX-License-Identifier: Apache-2.0
"""Components that stay themselves from one refit to the next: matched, put in order, turned to the same sign."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.similarity import match_components

SAME = 0.5
"""Congruence over stimuli and units from which a component counts as one seen before (cosines of about 0.7 in each)."""


@dataclass(frozen=True)
class ComponentChange:
    """A component that appeared or went.

    Attributes:
        step: Optimizer step of the refit that saw it.
        component: Its identity.
        kind: What happened.
    """

    step: int
    component: int
    kind: Literal["birth", "death"]


@dataclass(frozen=True)
class Followed:
    """A fit whose columns are in the order of their identities.

    Attributes:
        fit: The fit.
        ids: Identity of each column, ascending; a number is never given twice in a run.
        changes: Births and deaths at this refit.
    """

    fit: CPFit
    ids: tuple[int, ...]
    changes: tuple[ComponentChange, ...]


def first_seen(fit: CPFit, *, step: int) -> Followed:
    """Identities of the first fit: 0, 1, … by descending weight."""
    ids = tuple(range(fit.rank))
    return Followed(fit, ids, tuple(ComponentChange(step, number, "birth") for number in ids))


def followed(fit: CPFit, before: CPFit, ids: tuple[int, ...], *, step: int, next_id: int) -> Followed:
    """Give the components of a new fit the identities of the old ones.

    Stimuli and units are compared, the same in both fits, and not the course over snapshots, which goes on. The
    Hungarian method pairs components; pairs under `SAME` are no pairs.

    Args:
        fit: The new fit.
        before: The fit before, columns in the order of `ids`.
        ids: Identities of its columns.
        step: Optimizer step of the refit.
        next_id: First identity never given.

    Returns:
        The new fit in order of identity, each matched column turned so that its stimulus and unit factors point as before.
    """
    match = match_components(fit, before, modes=tuple(range(1, len(fit.factors))))
    pairs = zip(match.first, match.second, match.congruence, strict=True)
    known = {new: old for new, old, congruence in pairs if abs(congruence) >= SAME}
    fresh = [column for column in range(fit.rank) if column not in known]
    numbers = {column: ids[old] for column, old in known.items()}
    numbers |= {column: next_id + place for place, column in enumerate(fresh)}
    order = sorted(numbers, key=lambda column: numbers[column])
    turned = _turned(fit, before, known)
    births = [ComponentChange(step, numbers[column], "birth") for column in fresh]
    deaths = [ComponentChange(step, number, "death") for number in ids if number not in numbers.values()]
    return Followed(_ordered(turned, order), tuple(numbers[column] for column in order), (*deaths, *births))


def _turned(fit: CPFit, before: CPFit, known: dict[int, int]) -> CPFit:
    """Flip pairs of modes so that matched columns of every mode but the first point as they did."""
    factors = [factor.clone() for factor in fit.factors]
    for new, old in known.items():
        for mode in range(1, len(factors)):
            if float(torch.dot(factors[mode][:, new], before.factors[mode][:, old].to(factors[mode]))) < 0:
                factors[mode][:, new] *= -1
                factors[0][:, new] *= -1
    return replace(fit, factors=tuple(factors))


def _ordered(fit: CPFit, order: list[int]) -> CPFit:
    return replace(fit, cp_weights=fit.cp_weights[order], factors=tuple(factor[:, order] for factor in fit.factors))
