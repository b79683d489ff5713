# SPDX-License-Identifier: Apache-2.0
"""What changed at each boundary between two phases: the measures that moved there, with numbers."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lightning_interp.core.timeline import Interval, Phase
from lightning_interp.dashboards.figures.labels import label_for, loss_unit
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.measures.label import NATS, Label
from lightning_interp.measures.logged_names import is_component, record_name

MOST_MOVES = 6
LEAST_SHARE = 0.05
"""Share of a measure's range over the whole run under which it counts as resting."""
_TURN_SHARE = 0.02
_REACH = 2.0
"""How far around a boundary is looked, as a factor of the step, but never beyond the neighbouring boundaries."""


@dataclass(frozen=True)
class Move:
    """How one measure moved around a boundary.

    Attributes:
        name: Record name.
        label: The same for people.
        unit: Unit, empty where there is none.
        before: Value before the boundary.
        at: Value at it.
        after: Value after it, None where the boundary is the last record.
        share: Size of the change as a share of the range over the whole run, of logarithms for positive losses.
        manner: ``rises``, ``falls``, ``turns down``, ``turns up`` or ``comes to rest``.
    """

    name: str
    label: str
    unit: str
    before: float
    at: float
    after: float | None
    share: float
    manner: str


@dataclass(frozen=True)
class BoundaryChange:
    """One boundary.

    Attributes:
        ended: Name of the phase that ended.
        began: Name of the phase that began.
        step: Optimizer step of the boundary.
        interval: Steps between which it can lie.
        looked_at: First and last step of what is compared.
        moves: Measures that moved most, largest change first.
    """

    ended: str
    began: str
    step: int
    interval: Interval
    looked_at: Interval
    moves: tuple[Move, ...]


def boundary_changes(run: RunView) -> tuple[BoundaryChange, ...]:
    """What moved at each boundary of a run, from half of its step to twice it, or to the neighbouring boundaries.

    Steps are the recorded ones nearest to these; nothing is said of a run without records.
    """
    phases = run.timeline.phases if run.series else ()
    return tuple(_change(run, ended, began) for ended, began in pairwise(phases))


def _change(run: RunView, ended: Phase, began: Phase) -> BoundaryChange:
    step = began.start
    recorded = sorted({each for steps, _ in run.series.values() for each in steps})
    low = _recorded(recorded, max(ended.start, math.floor(step / _REACH)), before=step)
    high = _recorded(recorded, min(run.last_step if began.end is None else began.end, math.ceil(step * _REACH)), after=step)
    names = [name for name in run.series if not is_component(name) and record_name(name) is None]
    unit = loss_unit(run)
    at = (low, _recorded(recorded, step), high)
    found = (_move(run.series[name], name, label_for(name, run.labels), at) for name in names)
    moves = [replace(move, unit="") if move.unit == NATS != unit else move for move in found if move is not None]
    moves.sort(key=lambda move: -move.share)
    return BoundaryChange(ended.name, began.name, step, began.start_interval, (low, high), tuple(moves[:MOST_MOVES]))


def _recorded(steps: Sequence[int], wanted: int, *, before: int | None = None, after: int | None = None) -> int:
    """Latest recorded step up to the wanted one; another than the boundary's own where there is one."""
    place = max(bisect_right(steps, wanted) - 1, 0)
    if before is not None and steps[place] >= before:
        place = max(bisect_left(steps, before) - 1, 0)
    if after is not None and steps[place] <= after:
        place = min(bisect_right(steps, after), len(steps) - 1)
    return steps[place]


def _move(points: tuple[Sequence[int], Sequence[float]], name: str, words: Label, at: tuple[int, int, int]) -> Move | None:
    """How a series moved between three recorded steps; None where it rested or has no value at one of them."""
    steps, values = points
    places = [bisect_left(steps, step) for step in at]
    if any(place == len(steps) or steps[place] != step for place, step in zip(places, at, strict=True)):
        return None  # not recorded there, as a number that was not finite: an older value would be another step's
    scaled = [math.log(value) for value in values] if words.log and min(values) > 0 else list(values)
    span = max(scaled) - min(scaled)
    first, second = (scaled[places[1]] - scaled[places[0]], scaled[places[2]] - scaled[places[1]])
    if not math.isfinite(span) or span <= 0:
        return None
    share = max(abs(first + second), abs(first), abs(second)) / span
    if share < LEAST_SHARE:
        return None
    before, there, after = (values[place] for place in places)
    if at[1] == at[2]:
        manner = "rises" if first > 0 else "falls"
        return Move(name, words.label, words.unit, before, there, None, share, manner)
    return Move(name, words.label, words.unit, before, there, after, share, _manner(first / span, second / span))


def _manner(first: float, second: float) -> str:
    """What a measure did, by its changes before and after as shares of its range."""
    if abs(second) < _TURN_SHARE / 2 <= abs(first):
        return "comes to rest"
    if abs(first) >= _TURN_SHARE and abs(second) >= _TURN_SHARE and first * second < 0:
        return "turns up" if second > 0 else "turns down"
    return "rises" if first + second > 0 else "falls"
