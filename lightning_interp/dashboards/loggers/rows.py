# SPDX-License-Identifier: Apache-2.0
"""One snapshot's results as loggers take them: few keys, the same in every row, and the snapshot's own step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_interp.core.logged_curves import NAMES
from lightning_interp.core.records import Record
from lightning_interp.core.timeline import INTENSITY_NAMES, PHASE_NAMES, Timeline
from lightning_interp.measures.logged_names import STEP_KEY, logged_name
from lightning_interp.measures.registry import MAX_SCALARS

PHASE_KEY = logged_name("phase")
"""Number of the phase in `PHASE_NAMES`, so that every logger can draw it."""
ROOM = MAX_SCALARS - len(INTENSITY_NAMES) - 2
"""Records a row has room for: beside them it holds intensities, phase and step."""


@dataclass(frozen=True)
class Row:
    """One snapshot's results: the same keys in every row, NaN where there is no value."""

    step: int
    metrics: dict[str, float]


def row_keys(names: Sequence[str]) -> tuple[str, ...]:
    """Keys of every row, the step among them."""
    return (*(logged_name(name) for name in names), *_INTENSITIES.values(), PHASE_KEY, STEP_KEY)


def row_of(record: Record, timeline: Timeline, names: Sequence[str]) -> Row:
    """The row of a record, with the phases known now; a value outside `names` stays in the run directory."""
    metrics = {logged_name(name): record.values.get(name, math.nan) for name in names}
    metrics |= {key: timeline.intensity(name, record.step) for name, key in _INTENSITIES.items()}
    name = timeline.phase_at(record.step)
    code = math.nan if name is None else float(PHASE_NAMES.index(name))
    return Row(record.step, {**metrics, PHASE_KEY: code, STEP_KEY: float(record.step)})


def covered_step(timeline: Timeline) -> int:
    """Latest optimizer step that the timeline has judged, -1 for none; it is committed after the record of that step."""
    return max((series[-1][0] for series in timeline.intensities.values() if series), default=-1)


def names_of(records: Sequence[Record]) -> tuple[str, ...]:
    """Record names that loggers would get of a run that had none: in the order they came, as many as a row has room for.

    What the training logged itself they have already.
    """
    names = dict.fromkeys(name for record in records for name in record.values if name not in NAMES)
    return tuple(names)[:ROOM]


_INTENSITIES = {name: logged_name(f"intensity_{name}") for name in INTENSITY_NAMES}
