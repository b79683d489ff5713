# SPDX-License-Identifier: Apache-2.0
"""How often the early warning is right where it is due, and false where nothing forms; by run and by configuration."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from scoring.configurations import Counted, counted
from scoring.judged import CURVES, LOSSES, NEEDS_ANSWERS, TOLD, JudgedRun, Told

FEW_CLASSES = 3
"""With so many or fewer the percentile is not measured."""


@dataclass(frozen=True)
class AlarmScores:
    """The early warning on one part of a pool, from some series.

    Attributes:
        seen: Which series of which runs.
        told: What the detector was told beside them.
        detected: Late generalizers warned of before they generalized.
        false_alarms: Runs in which nothing formed after a fit, with an alarm.
        undecided: Alarms in runs that are neither.
        lead: Median of (generalization - alarm) / generalization over those detected; NaN for none.
        falsely: Names of the runs with a false alarm.
        missed: Names of the late generalizers without an alarm in time.
    """

    seen: str
    told: Told
    detected: Counted
    false_alarms: Counted
    undecided: Counted
    lead: float
    falsely: tuple[str, ...]
    missed: tuple[str, ...]


def score_alarms(runs: Sequence[JudgedRun], told: Sequence[Told] = TOLD) -> list[AlarmScores]:
    """Every choice of series under everything the detector is told."""
    return [_score(of, names, seen, how) for seen, of, names in _cases(runs) for how in told]


def _cases(runs: Sequence[JudgedRun]) -> Iterator[tuple[str, Sequence[JudgedRun], Collection[str] | None]]:
    """What is seen of which runs."""
    many = [run for run in runs if (run.facts["classes"] or 0) > FEW_CLASSES]
    few = [run for run in runs if 0 < (run.facts["classes"] or 0) <= FEW_CLASSES]
    without = [run for run in runs if not run.facts["classes"]]
    yield "all series, four classes or more", many, None
    yield "all series, two or three classes", few, None
    yield "all series, no classes", without, None
    yield "accuracies and losses", [*many, *few], CURVES
    yield "losses only", runs, LOSSES
    everything = {name for run in runs for name in run.metrics}
    yield "no held-out answers", runs, everything - NEEDS_ANSWERS


def _score(runs: Sequence[JudgedRun], names: Collection[str] | None, seen: str, told: Told) -> AlarmScores:
    alarms = [(run, _alarm(run, names, told)) for run in runs]
    due = [(run, alarm is not None and alarm < (run.t_gen or 0), alarm) for run, alarm in alarms if run.late]
    leads = [1 - (alarm or 0) / (run.t_gen or 1) for run, in_time, alarm in due if in_time]

    def alarmed(of: Callable[[JudgedRun], bool]) -> Counted:
        return counted(((run.configuration, alarm is not None) for run, alarm in alarms if of(run)), every=False)

    return AlarmScores(
        seen=seen,
        told=told,
        detected=counted(((run.configuration, in_time) for run, in_time, _ in due), every=True),
        false_alarms=alarmed(lambda run: run.quiet),
        undecided=alarmed(lambda run: not run.quiet and not run.late),
        lead=median(leads) if leads else math.nan,
        falsely=tuple(run.name for run, alarm in alarms if run.quiet and alarm is not None),
        missed=tuple(run.name for run, in_time, _ in due if not in_time),
    )


def _alarm(run: JudgedRun, names: Collection[str] | None, told: Told) -> int | None:
    """Step of the early warning."""
    alarms = run.timeline(names, told).alarms
    return next((alarm.step for alarm in alarms if alarm.name == "early_warning"), None)
