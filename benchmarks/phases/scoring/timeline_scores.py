# SPDX-License-Identifier: Apache-2.0
"""How well timelines agree with what happened: verdicts, boundaries, their intervals, and labels taken back."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scoring.judged import VERDICT_OF
from scoring.labels import Label
from scoring.runs import ScoredRun
from scoring.statistics import Estimate, share

from lightning_interp.core.timeline import Timeline
from lightning_interp.phases.detector import follow

BOUNDARIES = {"memorization": "t_mem", "circuit_formation": "t_formation", "cleanup": "t_cleanup"}
"""Phases whose start has a label, and the label's name."""


@dataclass(frozen=True)
class BoundaryScores:
    """Starts of one phase against their labels, over the runs that have both.

    Attributes:
        found: Runs with the label whose timeline has the phase.
        invented: Runs with nothing to generalize whose timeline has the phase all the same.
        error_of_run: Median distance as a share of the run's last step; NaN if there is nothing to compare.
        error_log10: Median distance in decades of steps.
        covered: Runs whose interval holds the label.
    """

    found: Estimate
    invented: Estimate
    error_of_run: float
    error_log10: float
    covered: Estimate


@dataclass(frozen=True)
class TimelineScores:
    """Timelines of one part of a pool.

    Attributes:
        confusion: How many runs of each kind got each verdict.
        agreed: Runs whose verdict is their kind.
        boundaries: By phase.
        flips: Labels taken back, per run: phases that begin a second time.
    """

    confusion: Mapping[tuple[str, str], int]
    agreed: Estimate
    boundaries: Mapping[str, BoundaryScores]
    flips: float


def score_timelines(runs: Sequence[ScoredRun]) -> TimelineScores:
    """Fold the detector over each run and compare."""
    timelines = [follow(run.history(), n_classes=run.classes).timeline for run in runs]
    kinds = [VERDICT_OF.get(run.label.kind, run.label.kind) for run in runs]
    verdicts = [timeline.verdict for timeline in timelines]
    return TimelineScores(
        confusion=dict(Counter(zip(kinds, verdicts, strict=True))),
        agreed=share(sum(kind == verdict for kind, verdict in zip(kinds, verdicts, strict=True)), len(runs)),
        boundaries={phase: _boundary(phase, runs, timelines) for phase in BOUNDARIES},
        flips=sum(_flips(timeline) for timeline in timelines) / max(len(runs), 1),
    )


def _boundary(phase: str, runs: Sequence[ScoredRun], timelines: Sequence[Timeline]) -> BoundaryScores:
    labelled = [
        (run, timeline, step)
        for run, timeline in zip(runs, timelines, strict=True)
        if (step := _labelled(phase, run.label)) is not None
    ]
    empty = [timeline for run, timeline in zip(runs, timelines, strict=True) if run.negative]
    starts = [(run, _first(phase, timeline), step) for run, timeline, step in labelled]
    both = [(run, start, step) for run, start, step in starts if start is not None]
    errors = [abs(start[0] - step) / run.budget for run, start, step in both]
    decades = [abs(math.log10((start[0] + 1) / (step + 1))) for _, start, step in both]
    inside = sum(start[1][0] <= step <= start[1][1] for _, start, step in both)
    return BoundaryScores(
        found=share(len(both), len(labelled)),
        invented=share(sum(_first(phase, timeline) is not None for timeline in empty), len(empty)),
        error_of_run=median(errors) if errors else math.nan,
        error_log10=median(decades) if decades else math.nan,
        covered=share(inside, len(both)),
    )


def _labelled(phase: str, label: Label) -> int | None:
    """Step of the label; phases are named for runs that memorized first."""
    if label.kind not in ("grokking", "collapse", "partial", "memorization_only"):
        return None
    step = getattr(label, BOUNDARIES[phase])
    return None if step is None else int(step)


def _first(phase: str, timeline: Timeline) -> tuple[int, tuple[int, int]] | None:
    """Start of the first phase of that name, and its interval."""
    return next(((found.start, found.start_interval) for found in timeline.phases if found.name == phase), None)


def _flips(timeline: Timeline) -> int:
    names = [phase.name for phase in timeline.phases]
    return len(names) - len(set(names))
