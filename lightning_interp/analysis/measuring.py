# SPDX-License-Identifier: Apache-2.0
"""Applying measures to one observation: numbers, per-layer rows and reasons for what is missing."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lightning_interp.errors import MeasureSkipped
from lightning_interp.measures import Measure
from lightning_interp.records import Observation

NOT_FINITE = "not finite"
"""Part of the reason recorded for a value that is NaN or infinite; JSON has no token for these."""
FAILED = "failed"
"""Start of the reason recorded for the values of a measure that broke."""


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
) -> Measured:
    """Run every measure; one that fails costs its own values only.

    Args:
        observation: The snapshot under observation.
        measures: What to compute.
        layers: run.json's layer list, the order of per-layer rows.
        on_failure: Told the measure's name and the exception of a measure that broke; may raise to stop.
    """
    index = {name: position for position, name in enumerate(layers)}
    measured = Measured()
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
    return measured


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


def with_non_finite(values: dict[str, float], skipped: dict[str, str]) -> dict[str, float]:
    """Values of a record as the detector needs them: those recorded as not finite come back as NaN."""
    return values | {
        name: math.nan
        for name, reason in skipped.items()
        if NOT_FINITE in reason and not reason.startswith(FAILED)  # measures say "the train loss is not finite"
    }
