# SPDX-License-Identifier: Apache-2.0
"""Applying measures to one observation: numbers, per-layer rows and reasons for what is missing."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lightning_interp.errors import MeasureSkipped
from lightning_interp.measures import Measure
from lightning_interp.records import Observation, Record
from lightning_interp.store.standing import FAILED, NOT_FINITE

NEEDS_REPLICA = "needs a replica of the module"
"""Start of the reason recorded where there was no module or no probe; such a value is computed once there is."""
NEEDS_ROUTE = "needs a way to the module's outputs"
"""Start of the reason recorded where no loss was found; such a value is computed once a `probe_step` is given."""
QUARANTINED = "quarantined"
"""Start of the reason recorded for a snapshot that an analyzer died of; only an analysis started by hand tries it again."""
NO_VALUE = "the measure gave no value at this step"


@dataclass
class Measured:
    """What the measures gave for one snapshot, in the parts a record has."""

    values: dict[str, float] = field(default_factory=dict)
    layers: dict[str, list[float | None]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def measure_all(
    observation: Observation,
    measures: Sequence[Measure],
    layers: Sequence[str],
    *,
    on_failure: Callable[[str, Exception], None],
    measured: Measured | None = None,
) -> Measured:
    """Run measures; one that fails costs its own values only.

    Args:
        observation: The snapshot under observation.
        measures: What to compute.
        layers: run.json's layer list, the order of per-layer rows.
        on_failure: Told the measure's name and the exception of a measure that broke; may raise to stop.
        measured: What others gave for the same snapshot, to add to; None to begin.
    """
    measured = measured or Measured()
    index = {name: position for position, name in enumerate(layers)}
    for measure in measures:
        try:
            found = measure(observation)
        except MeasureSkipped as reason:
            measured.skipped |= dict.fromkeys(measure.names, str(reason))
            continue
        except Exception as err:
            on_failure(measure.name, err)
            measured.skipped |= dict.fromkeys(measure.names, f"{FAILED}: {type(err).__name__}: {err}")
            continue
        for name, value in found.items():
            _place(measured, name, float(value), index)
        silent = [name for name in measure.names if name not in measured.values and name not in measured.skipped]
        measured.skipped |= dict.fromkeys(silent, NO_VALUE)
    return measured


def needs_outputs(measure: Measure) -> bool:
    """Whether a measure needs more than weights and history, that is a replica and a probe."""
    return bool(measure.needs - {"weights", "history"})


def explain_missing_outputs(measured: Measured, measures: Sequence[Measure], reason: str) -> None:
    """Record one reason for all that was skipped because nothing had outputs, in place of what each measure stumbled on."""
    for name in (name for measure in measures if needs_outputs(measure) for name in measure.names):
        if name in measured.skipped:
            measured.skipped[name] = reason


def is_incomplete(
    record: Record, measures: Sequence[Measure], *, replica: bool, probe_step: bool, retry_quarantined: bool = False
) -> bool:
    """Whether a standing record lacks values that could be computed now.

    Args:
        record: The record.
        measures: What is computed now; the record may come from fewer measures.
        replica: Whether there is a source of replicas and a probe now.
        probe_step: Whether the user gives a way to outputs now.
        retry_quarantined: Whether a snapshot that an earlier analyzer died of is tried again.
    """
    if "snapshot" in record.skipped:  # of a damaged file nothing more can come
        return retry_quarantined and record.skipped["snapshot"].startswith(QUARANTINED)
    able = [measure for measure in measures if replica or not needs_outputs(measure)]
    names = [name for measure in able for name in measure.names]
    if any(name not in record.values and name not in record.skipped for name in names):
        return True
    reasons = [record.skipped[name] for name in names if name in record.skipped]
    marks = (NEEDS_REPLICA, NEEDS_ROUTE) if probe_step else (NEEDS_REPLICA,)
    return replica and any(reason.startswith(marks) for reason in reasons)


def _place(measured: Measured, name: str, value: float, index: dict[str, int]) -> None:
    measure, _, target = name.partition("/")
    finite = math.isfinite(value)
    if target in index:
        row = measured.layers.setdefault(measure, [None] * len(index))
        row[index[target]] = value if finite else None
    elif finite:
        measured.values[name] = value
    else:
        measured.skipped[name] = f"{NOT_FINITE} ({value})"
