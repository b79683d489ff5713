# SPDX-License-Identifier: Apache-2.0
"""When each phase began, run by run, and what can be said of that over runs, such as seeds of one configuration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_interp.core.timeline import PHASE_NAMES, Interval, Phase
from lightning_interp.phases.alignment import starts

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0
GROKKING = "grokking_step"
"""Name of the row that is no phase: first of three held-out evaluations with accuracy of at least .95."""


@dataclass(frozen=True)
class Summary:
    """Statistics of one event over the runs that have it, in optimizer steps.

    Attributes:
        n: Runs that have it.
        median: Middle value.
        quartiles: Lower and upper, linearly interpolated.
        lowest: Earliest.
        highest: Latest.
        spread_decades: log10(highest / lowest), None where one is at step 0 and another is not.
        median_interval: Bootstrap interval of the median with nominal 95 %, percentile method; None for a single run.
        notes: What limits these numbers.
    """

    n: int
    median: float
    quartiles: tuple[float, float]
    lowest: int
    highest: int
    spread_decades: float | None
    median_interval: tuple[float, float] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Boundary:
    """One row of the boundary table.

    Attributes:
        name: Phase that begins, or ``grokking_step``.
        starts: By run, optimizer step of its first beginning; runs without it are left out.
        intervals: By run, steps between which the start can lie; empty for ``grokking_step``.
        missing: Runs without it.
        intervals_meet: Whether one step lies in the intervals of all runs that have it, so that the runs need not differ in
            it. None for fewer than two intervals.
        summary: Statistics over runs.
        repeated: Runs in which the phase came back after another; only its first beginning is looked at.
    """

    name: str
    starts: Mapping[str, int]
    intervals: Mapping[str, Interval]
    missing: tuple[str, ...]
    intervals_meet: bool | None
    summary: Summary
    repeated: tuple[str, ...] = ()


def boundary_table(phases: Mapping[str, Sequence[Phase]], grokking_steps: Mapping[str, int | None]) -> tuple[Boundary, ...]:
    """One row for each phase that any run has, in the order of a grokking run, and one for generalization.

    Args:
        phases: By run, its phases.
        grokking_steps: By run, step of generalization, None where there is none.
    """
    first = {run: starts(found) for run, found in phases.items()}
    names = sorted({name for found in first.values() for name in found}, key=_place)
    rows = []
    for name in names:
        having = {run: found[name] for run, found in first.items() if name in found}
        intervals = {run: phase.start_interval for run, phase in having.items()}
        repeated = tuple(run for run in having if sum(phase.name == name for phase in phases[run]) > 1)
        rows.append(_row(name, {run: phase.start for run, phase in having.items()}, tuple(phases), intervals, repeated))
    solved = {run: step for run, step in grokking_steps.items() if step is not None}
    return (*rows, *([_row(GROKKING, solved, tuple(phases))] if solved else []))


def summarize(steps: Sequence[int], *, of: int | None = None) -> Summary:
    """Median, quartiles, range and a bootstrap interval of the median.

    Args:
        steps: When it happened, one entry for each run in which it did; at least one.
        of: Number of runs, with those in which it did not happen; None if it happened in all.

    References:
        Efron & Tibshirani 1993, chapter 13 (percentile interval).
    """
    values = np.asarray(steps, dtype=np.float64)
    lowest, highest = min(steps), max(steps)
    lower, median, upper = (float(value) for value in np.percentile(values, (25, 50, 75)))
    spread = 0.0 if lowest == highest else math.log10(highest / lowest) if lowest > 0 else None
    interval = _bootstrap(values) if len(steps) > 1 else None
    notes = _notes(len(steps), len(steps) if of is None else of, spread)
    return Summary(len(steps), median, (lower, upper), lowest, highest, spread, interval, notes)


def _row(
    name: str,
    found: Mapping[str, int],
    runs: Sequence[str],
    intervals: Mapping[str, Interval] | None = None,
    repeated: tuple[str, ...] = (),
) -> Boundary:
    intervals = intervals or {}
    meet = None
    if len(intervals) > 1:
        meet = max(low for low, _ in intervals.values()) <= min(high for _, high in intervals.values())
    missing = tuple(run for run in runs if run not in found)
    return Boundary(name, found, intervals, missing, meet, summarize(list(found.values()), of=len(runs)), repeated)


def _place(name: str) -> tuple[int, str]:
    """Order of phases; names of another version come last."""
    return (PHASE_NAMES.index(name) if name in PHASE_NAMES else len(PHASE_NAMES), name)


def _bootstrap(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    # A generator of its own for each event, so that its interval does not depend on which other events there are.
    generator = np.random.default_rng(SEED)
    drawn = generator.choice(values, size=(RESAMPLES, len(values)))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.median(drawn, axis=1), (tail, 100 - tail))
    return float(low), float(high)


def _notes(n: int, of: int, spread: float | None) -> tuple[str, ...]:
    notes = []
    reach = 1 - 0.5 ** (n - 1)  # both ends of n values lie on one side of the median with probability 2 / 2^n
    if n == 1:
        notes.append("one run: no interval of the median")
    elif reach < CONFIDENCE:
        notes.append(f"{n} runs: even their whole range covers the median of all seeds with {reach:.0%} only")
    if n < of:
        notes.append(f"{of - n} of {of} runs do not have it (yet), so the others are the early ones")
    if spread is None:
        notes.append("no spread in decades: one run has it at step 0")
    return tuple(notes)
