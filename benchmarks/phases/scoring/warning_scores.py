# SPDX-License-Identifier: Apache-2.0
"""How well a score foresees generalization: areas at fixed shares of the budget, alarms, and how early they come."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scoring.courses import Course, threshold_at
from scoring.null import surrogates
from scoring.runs import ScoredRun
from scoring.statistics import Estimate, auroc, share

Score = Callable[[ScoredRun], Course]
SHARES = (0.25, 0.5)
"""Shares of the budget at which areas are taken."""


@dataclass(frozen=True)
class AlarmRule:
    """When a score raises the alarm: by its own rule, or over a threshold in three values in a row.

    Attributes:
        says: In words.
        threshold: None for the score's own rule.
        null_threshold: Threshold that the score's own rule amounts to, for its null; or None if it is no threshold.
    """

    says: str
    threshold: float | None = None
    null_threshold: float | None = None

    def step(self, course: Course) -> int | None:
        """Step of the alarm, or None if there is none."""
        return course.alarm if self.threshold is None else course.first_over(self.threshold)


@dataclass(frozen=True)
class WarningScores:
    """One score on one part of a pool.

    Attributes:
        score: Its name.
        rule: How its alarm is raised.
        areas: By share of the budget: area under the curve, positives against negatives.
        areas_decayed: The same against negatives with weight decay over 0 alone.
        areas_ahead: The same as `areas` of the positives that had not generalized by then: foresight alone.
        detected: Positives with an alarm before they generalized.
        false_alarms: Negatives with an alarm at any time.
        false_alarms_decayed: The same of those with weight decay over 0.
        undecided: Alarms in runs that are neither: censored, partial and early ones.
        lead_share: Median of (t_grok - alarm) / t_grok over the positives detected; NaN for none.
        lead_steps: The same in steps.
        null_lead_share: Median lead of the same rule on surrogates of the positives (`null`); NaN if there is none.
        null_false_alarms: Share of surrogates of the negatives with an alarm; the same.
    """

    score: str
    rule: str
    areas: Mapping[float, Estimate]
    areas_decayed: Mapping[float, Estimate]
    areas_ahead: Mapping[float, Estimate]
    detected: Estimate
    false_alarms: Estimate
    false_alarms_decayed: Estimate
    undecided: Estimate
    lead_share: float
    lead_steps: float
    null_lead_share: float
    null_false_alarms: float


def calibrated_rule(score: Score, runs: Sequence[ScoredRun], false_alarms: float) -> AlarmRule:
    """The least threshold that at most a share of the negatives of these runs passes."""
    threshold = threshold_at(false_alarms, (score(run) for run in runs if run.negative))
    return AlarmRule(f"over {threshold:.3g} (at most {false_alarms:.0%} false alarms in calibration)", threshold)


def score_warning(name: str, score: Score, rule: AlarmRule, runs: Sequence[ScoredRun]) -> WarningScores:
    """Score one part of a pool.

    Args:
        name: What tables call it.
        score: The course of a run.
        rule: Its alarm.
        runs: Runs of the part; those that are neither positive nor negative only count as `undecided`.
    """
    positives = [(run, score(run)) for run in runs if run.positive]
    negatives = [(run, score(run)) for run in runs if run.negative]
    decayed = [(run, course) for run, course in negatives if run.weight_decay > 0]
    leads = [lead for run, course in positives if (lead := _lead(run, rule.step(course))) is not None]

    def area(of: Sequence[tuple[ScoredRun, Course]], against: Sequence[tuple[ScoredRun, Course]], at: float) -> Estimate:
        levels = ([course.level(at * run.budget) for run, course in side] for side in (of, against))
        return auroc(*levels)

    def alarmed(side: Sequence[tuple[ScoredRun, Course]]) -> Estimate:
        return share(sum(rule.step(course) is not None for _, course in side), len(side))

    return WarningScores(
        score=name,
        rule=rule.says,
        areas={at: area(positives, negatives, at) for at in SHARES},
        areas_decayed={at: area(positives, decayed, at) for at in SHARES},
        areas_ahead={at: area(_not_yet(positives, at), negatives, at) for at in SHARES},
        detected=share(len(leads), len(positives)),
        false_alarms=alarmed(negatives),
        false_alarms_decayed=alarmed(decayed),
        undecided=alarmed([(run, score(run)) for run in runs if not run.positive and not run.negative]),
        lead_share=median(steps / grok for steps, grok in leads) if leads else math.nan,
        lead_steps=median(steps for steps, _ in leads) if leads else math.nan,
        null_lead_share=_null_lead(positives, rule),
        null_false_alarms=_null_false_alarms(negatives, rule),
    )


def _null_lead(positives: Sequence[tuple[ScoredRun, Course]], rule: AlarmRule) -> float:
    """Median over surrogates of the positives that are warned of in time."""
    threshold = rule.null_threshold if rule.threshold is None else rule.threshold
    if threshold is None:
        return math.nan
    found = (_lead(run, each.first_over(threshold)) for run, course in positives for each in surrogates(course))
    leads = [lead[0] / lead[1] for lead in found if lead is not None]
    return median(leads) if leads else math.nan


def _null_false_alarms(negatives: Sequence[tuple[ScoredRun, Course]], rule: AlarmRule) -> float:
    """Share of surrogates of the negatives with an alarm."""
    threshold = rule.null_threshold if rule.threshold is None else rule.threshold
    if threshold is None:
        return math.nan
    alarms = [each.first_over(threshold) is not None for _, course in negatives for each in surrogates(course)]
    return sum(alarms) / len(alarms) if alarms else math.nan


def _not_yet(runs: Sequence[tuple[ScoredRun, Course]], at: float) -> list[tuple[ScoredRun, Course]]:
    """Those that had not generalized by a share of their budget."""
    return [(run, course) for run, course in runs if (run.label.t_grok or 0) > at * run.budget]


def _lead(run: ScoredRun, alarm: int | None) -> tuple[int, int] | None:
    """Steps from the alarm to generalization, and the step of the latter; None for no alarm before it."""
    grok = run.label.t_grok
    if grok is None or alarm is None or alarm >= grok:
        return None
    return grok - alarm, grok
