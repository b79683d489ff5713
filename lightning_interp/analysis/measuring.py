# SPDX-License-Identifier: Apache-2.0
"""Applying measures to one observation: numbers, per-layer rows, vectors and reasons for what is missing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import Observation, Record
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.measures import Cost, Measure
from lightning_interp.store.surviving_records import FAILED, NOT_FINITE

NEEDS_REPLICA = "needs a replica of the module"
"""Start of the reason recorded where there was no module or no probe; such a value is computed once there is."""
NEEDS_ROUTE = "needs a way to the module's outputs"
"""Start of the reason recorded where no loss was found; such a value is computed once a `probe_step` is given."""
OTHER_LOSS = "measured with another loss"
"""Start of the reason recorded where a guessed loss was given up; such a value is computed again from its snapshot."""
QUARANTINED = "quarantined"
"""Start of the reason recorded for a snapshot that an analyzer died of; only an analysis started by hand tries it again."""
NO_VALUE = "the measure gave no value at this step"


@dataclass
class Measured:
    """What the measures gave for one snapshot, in the parts a record has."""

    values: dict[str, float] = field(default_factory=dict)
    layers: dict[str, list[float | None]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, tuple[float, ...]] = field(default_factory=dict)


def measure_all(
    observation: Observation,
    measures: Sequence[Measure],
    layers: Sequence[str],
    *,
    on_failure: Callable[[str, Exception], None],
    measured: Measured | None = None,
) -> Measured:
    """Run measures, cheap ones first; one that fails costs its own values only. The results keep the order asked for.

    Args:
        observation: The snapshot under observation.
        measures: What to compute.
        layers: run.json's layer list, the order of per-layer rows.
        on_failure: Told the measure's name and the exception of a measure that broke; may raise to stop.
        measured: What others gave for the same snapshot, to add to; None to begin.
    """
    measured = measured or Measured()
    index = {name: position for position, name in enumerate(layers)}
    cheap_first = sorted(range(len(measures)), key=lambda place: _price(measures[place]))
    outcomes = {place: _outcome(measures[place], observation, on_failure) for place in cheap_first}
    for place, measure in enumerate(measures):
        found = outcomes[place]
        if isinstance(found, str):
            measured.skipped |= dict.fromkeys(names_of(measure), found)
            continue
        for name, value in found.items():
            if isinstance(value, tuple):
                _place_vector(measured, name, value)
            else:
                _place(measured, name, value, index)
        given = measured.values.keys() | measured.vectors.keys() | measured.skipped.keys()
        measured.skipped |= {name: NO_VALUE for name in names_of(measure) if name not in given}
    return measured


def names_of(measure: Measure) -> tuple[str, ...]:
    """Names a measure may give, of scalars and of vectors."""
    return (*measure.names, *measure.vector_names)


def short_decimals(vector: Float[Tensor, " entry"]) -> tuple[float, ...]:
    """Entries rounded to float32, each as the decimal of fewest digits (at most nine) that float32 gives back.

    A figure shows no more, float64 would write twice as many digits into every line of records.jsonl, and sums whose last
    bits depend on the machine come out the same.

    >>> short_decimals(torch.tensor([0.1, 1 / 3], dtype=torch.float64))
    (0.1, 0.33333334)
    """
    return tuple(float(str(entry)) for entry in vector.detach().cpu().to(torch.float32).numpy())


def needs_outputs(measure: Measure) -> bool:
    """Whether a measure needs more than weights and history, that is a replica and a probe."""
    return bool(measure.needs - {"weights", "history"})


def explain_missing_outputs(measured: Measured, measures: Sequence[Measure], reason: str) -> None:
    """Record one reason for all that was skipped because nothing had outputs, in place of what each measure stumbled on."""
    for name in (name for measure in measures if needs_outputs(measure) for name in names_of(measure)):
        if name in measured.skipped:
            measured.skipped[name] = reason


def without_outputs(record: Record, measures: Sequence[Measure], reason: str) -> Record:
    """A record without what was computed from outputs of the module, each such name skipped for a reason."""
    names = {name for measure in measures if needs_outputs(measure) for name in names_of(measure)}
    gone = {name for name in (*record.values, *record.vectors) if name.partition("/")[0] in names}
    return replace(
        record,
        values={name: value for name, value in record.values.items() if name not in gone},
        vectors={name: entries for name, entries in record.vectors.items() if name not in gone},
        skipped={**record.skipped, **dict.fromkeys(sorted(gone), reason)},
    )


def is_incomplete(
    record: Record, measures: Sequence[Measure], *, replica: bool, probe_step: bool, retry_quarantined: bool = False
) -> bool:
    """Whether a standing record lacks scalars that could be computed now; vectors alone are no reason to observe again.

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
    marks = (NEEDS_REPLICA, OTHER_LOSS, NEEDS_ROUTE) if probe_step else (NEEDS_REPLICA, OTHER_LOSS)
    return replica and any(reason.startswith(marks) for reason in reasons)


def _price(measure: Measure) -> int:
    """0 for the cheapest cost; one that is not known comes last."""
    costs = get_args(Cost)
    return costs.index(measure.cost) if measure.cost in costs else len(costs)


def _outcome(
    measure: Measure, observation: Observation, on_failure: Callable[[str, Exception], None]
) -> dict[str, float | tuple[float, ...]] | str:
    """What a measure gave, or the reason why it gave nothing."""
    try:
        return _plain(measure, measure(observation))
    except MeasureSkipped as reason:
        return str(reason)
    except Exception as err:
        on_failure(measure.name, err)
        return f"{FAILED}: {type(err).__name__}: {err}"


def _plain(measure: Measure, found: Mapping[str, float | Tensor]) -> dict[str, float | tuple[float, ...]]:
    """What a measure gave, in the numbers that are written."""
    return {name: _entries(name, v) if name in measure.vector_names else float(v) for name, v in found.items()}


def _entries(name: str, value: float | Tensor) -> tuple[float, ...]:
    if not isinstance(value, Tensor) or value.ndim != 1 or not value.is_floating_point():
        given = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"the vector {name!r} must be a floating-point tensor with one axis, got {given}.")
    return short_decimals(value)


def _place_vector(measured: Measured, name: str, entries: tuple[float, ...]) -> None:
    lost = sum(not math.isfinite(entry) for entry in entries)
    if lost:
        measured.skipped[name] = f"{NOT_FINITE} ({lost} of {len(entries)} entries)"
    else:
        measured.vectors[name] = entries


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
