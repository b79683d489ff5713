# SPDX-License-Identifier: Apache-2.0
"""Losses and accuracies among the numbers that a training logged, as of one snapshot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lightning_interp.core.logged_curves import CURVES, KINDS, Curve, Kind, LoggedAs
from lightning_interp.measures.curve_names import TWIN, CurveName, curve_name
from lightning_interp.measures.logged_names import logged_at, record_name

ENOUGH_EPOCHS = 10
"""Epochs from which on averages over an epoch are preferred to batch values: fewer are no curve."""


@dataclass(frozen=True)
class LoggedValue:
    """The latest value of one curve.

    Attributes:
        curve: What it stands for.
        logged_as: Name and kind.
        value: Losses in their own unit, accuracies as a share or in percent; may be no finite number.
        step: Optimizer step at which it was logged.
        passed_over: Other names as good, logged later.
    """

    curve: Curve
    logged_as: LoggedAs
    value: float
    step: int
    passed_over: tuple[str, ...] = ()


class _Candidate(NamedTuple):
    name: str
    found: CurveName
    kind: Kind
    step: int


def logged_losses(
    scalars: Mapping[str, float], *, epoch: int, followed: Mapping[str, LoggedAs] | None = None
) -> Iterator[LoggedValue]:
    """The latest value of each curve that is logged.

    Args:
        scalars: What a snapshot carries: logged values, and when each was logged.
        epoch: The snapshot's epoch, counted from 0.
        followed: What curves were logged as before: a curve goes on with the name it began with.
    """
    candidates = list(_candidates(scalars))
    for curve in CURVES:
        mine = [each for each in candidates if each.found.curve == curve]
        before = (followed or {}).get(curve)
        if before is not None:
            stem = TWIN.sub("", before.name)
            mine = [each for each in mine if each.found.stem == stem]
        if mine:
            best = min(each.found.rank for each in mine)
            stems = list(dict.fromkeys(each.found.stem for each in mine if each.found.rank == best))
            chosen = _twin([each for each in mine if each.found.stem == stems[0]], epoch)
            yield LoggedValue(curve, LoggedAs(chosen.name, chosen.kind), scalars[chosen.name], chosen.step, tuple(stems[1:]))


def _candidates(scalars: Mapping[str, float]) -> Iterator[_Candidate]:
    for name in scalars:
        found = curve_name(name) if record_name(name) is None else None
        for kind in KINDS if found is not None else ():
            told = scalars.get(logged_at(name, kind))
            if found is not None and told is not None:
                yield _Candidate(name, found, kind, int(told))


def _twin(twins: list[_Candidate], epoch: int) -> _Candidate:
    """Of values of one number: averages of held-out data and of short epochs, else batch values; `_step`, `_epoch` first."""
    wanted = "average" if twins[0].found.curve.startswith("heldout") or epoch >= ENOUGH_EPOCHS else "batch"
    return min(twins, key=lambda each: (each.kind != wanted, TWIN.search(each.name) is None))
