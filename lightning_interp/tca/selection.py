# SPDX-License-Identifier: Apache-2.0
"""How many components: every rank fitted, and the evidence for each side by side, never one silent number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.heldout import HeldoutErrors

STABLE, CONSISTENT = 0.8, 60.0
"""Similarity over restarts and core consistency (%) from which a rank counts as stable and as consistent (conventions)."""

EXACT = 1e-5
"""Relative error under which a fit is exact: what is left is rounding and where sweeps stopped, and tells no ranks apart."""

WORTH = 0.01
"""Share of the lowest held-out error that a further component must save to be worth having."""

WORTH_FITTING = 0.05
"""Share of the error that a further component must save where there are no held-out errors."""

CLOSE = 0.25
"""Share above the lowest held-out error within which a stable smaller rank is preferred to an unstable one."""

Row = Mapping[str, float | int | None]


@dataclass(frozen=True)
class RankSelection:
    """Fits of several ranks and what speaks for each.

    Attributes:
        table: One mapping a rank, ascending: `rank`, `relative_error` of the best restart on the full tensor,
            `similarity` of the restarts to it (0 to 1), `core_consistency` (percent), `heldout_error` (relative). None
            where not measured.
        fits: The best fit of each rank.
        recommended: The rank to look at first.
        reasons: Why, in sentences; also what speaks against it.
    """

    table: tuple[Row, ...]
    fits: Mapping[int, CPFit]
    recommended: int
    reasons: tuple[str, ...]


def recommend(table: Sequence[Row], fits: Mapping[int, CPFit], heldout: HeldoutErrors | None) -> tuple[int, tuple[str, ...]]:
    """The smallest rank that predicts held-out data as well as the best, lowered to a stable one that is nearly as good.

    Without held-out errors: the largest rank up to which each rank lowers the error by a twentieth. Core consistency is
    told, and decides nothing: collinear components, which training gives, lower it at the right rank.
    """
    rows = {int(row["rank"] or 0): row for row in table}
    rank, reasons = _by_error(rows)
    near = set(rows)
    if heldout is not None and heldout.mean:
        rank, reasons = _by_heldout(heldout)
        near = {r for r, error in heldout.mean.items() if error <= (1 + CLOSE) * min(heldout.mean.values())}
    stable = [r for r in rows if not _why_unstable(rows[r], fits[r])]
    lower = [r for r in stable if r < rank and r in near]
    if rank not in stable and lower:
        reasons.append(f"lowered from {rank} to {max(lower)}: {_why_unstable(rows[rank], fits[rank])}")
        rank = max(lower)
    elif rank not in stable:
        reasons.append(
            f"read it with care, and no smaller rank is both stable and as good: {_why_unstable(rows[rank], fits[rank])}"
        )
    return rank, (*reasons, *_told(rows[rank], fits[rank]))


def _by_error(rows: Mapping[int, Row]) -> tuple[int, list[str]]:
    """Go up while each rank lowers the error of the one before by `WORTH_FITTING`."""
    chosen, *others = sorted(rows)
    for rank in others:
        before, after = (max(EXACT, _value(rows[each], "relative_error", 0)) for each in (chosen, rank))
        if after > (1 - WORTH_FITTING) * before:
            break
        chosen = rank
    return chosen, [
        f"without held-out errors: the next rank after {chosen} lowers the error by less than {WORTH_FITTING:.0%}"
    ]


def _by_heldout(heldout: HeldoutErrors) -> tuple[int, list[str]]:
    """The smallest rank within one standard error, or one percent, of the rank with the lowest held-out error."""
    errors = {rank: max(EXACT, error) for rank, error in heldout.mean.items()}
    best = min(errors, key=lambda rank: (errors[rank], heldout.mean[rank]))
    lowest = errors[best]
    allowed = {rank: max(WORTH * lowest, heldout.standard_error[rank]) for rank in heldout.mean}
    rank = min(rank for rank, error in errors.items() if error - lowest <= allowed[rank])
    reasons = [f"rank {best} has the lowest held-out error, {heldout.mean[best]:.4g}"]
    if rank != best and heldout.mean[rank] <= EXACT:
        reasons.append(f"rank {rank}, at {heldout.mean[rank]:.4g}, is exact up to rounding, too")
    elif rank != best:
        reasons.append(f"rank {rank}, at {heldout.mean[rank]:.4g}, is as good within one standard error or one percent")
    return rank, reasons


def _why_unstable(row: Row, fit: CPFit) -> str:
    reasons = []
    if _value(row, "similarity", 1.0) < STABLE:
        reasons.append(f"its restarts disagree (similarity {_value(row, 'similarity', math.nan):.2f}, {STABLE} is stable)")
    if "degenerate" in fit.flags:
        reasons.append("two of its components nearly cancel")
    return " and ".join(reasons)


def _told(row: Row, fit: CPFit) -> list[str]:
    reasons = []
    if row["similarity"] is not None:
        reasons.append(f"its restarts agree to {_value(row, 'similarity', 0):.2f} (1 is identical, {STABLE} is stable)")
    consistency = _value(row, "core_consistency", math.nan)
    verdict = "consistent" if consistency >= CONSISTENT else f"below {CONSISTENT:.0f}: components interact or are collinear"
    reasons.append(f"its core consistency is {consistency:.0f} % ({verdict})")
    if fit.flags:
        reasons.append(f"flags of the fit: {', '.join(fit.flags)}")
    return reasons


def _value(row: Row, name: str, default: float) -> float:
    value = row[name]
    return default if value is None else float(value)
