# SPDX-License-Identifier: Apache-2.0
"""The whole scorecard of a pool: every score and the timelines, part by part."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scoring.courses import Course
from scoring.rivals import RIVALS
from scoring.runs import ScoredRun
from scoring.stage_scores import StageScores, score_stages
from scoring.state_scores import state_course
from scoring.timeline_scores import TimelineScores, score_timelines
from scoring.warning_scores import AlarmRule, Score, WarningScores, calibrated_rule, score_warning

from lightning_interp.phases.detector import follow
from lightning_interp.phases.early_warning import FORMING
from lightning_interp.phases.state_model import STATES

CALIBRATION, UNSEEN = "calibration", "unseen_"
"""Name of the part that thresholds come from, and how the names of those begin that are also scored together."""
FALSE_ALARMS = 0.05
"""Share of false alarms in the calibration part at which every score gets a threshold, to be compared."""
LOSSES = ("step", "train_loss", "heldout_loss")
CURVES = (*LOSSES, "train_accuracy", "heldout_accuracy")
WITH_PERCENTILE = "early warning"
WITH_ACCURACY = "early warning, accuracies alone"
OWN_RULE = AlarmRule("its own", null_threshold=FORMING)


@dataclass(frozen=True)
class PartScores:
    """One part of a pool.

    Attributes:
        kinds: Runs of each kind, censored ones apart.
        warnings: Every score, ours first.
        timelines: Of all series, and of the losses alone where those are what was trained.
        stages: Of the train loss.
    """

    kinds: Mapping[str, int]
    warnings: tuple[WarningScores, ...]
    timelines: Mapping[str, TimelineScores]
    stages: StageScores


def score_pool(runs: Sequence[ScoredRun], *, on_part: Callable[[str], None] = lambda _: None) -> dict[str, PartScores]:
    """Score every part of a pool, and those of unseen runs together as ``test``.

    Args:
        runs: The pool.
        on_part: Told the name of each part when it is done.
    """
    calibration = [run for run in runs if run.part == CALIBRATION]
    parts = {part: [run for run in runs if run.part == part] for part in dict.fromkeys(run.part for run in runs)}
    parts["test"] = [run for run in runs if run.part.startswith(UNSEEN)]
    ours: dict[str, Score] = {WITH_PERCENTILE: our_warning, WITH_ACCURACY: partial(our_warning, names=CURVES)}
    ours["latent states"] = partial(state_course, model=STATES)
    scores = {name: _once(score) for name, score in (ours | {rival.name: rival.course for rival in RIVALS}).items()}
    rules = _calibrated(scores, calibration)
    found = {}
    for part, inside in parts.items():
        found[part] = PartScores(
            _kinds(inside), tuple(_warnings(inside, scores, rules)), _timelines(inside), score_stages(inside)
        )
        on_part(part)
    return found


def our_warning(run: ScoredRun, *, names: Collection[str] | None = None) -> Course:
    """The early warning of the product, folded over some of the series of a run, all if none are named."""
    seen = {name: series for name, series in run.history().items() if names is None or name in names}
    timeline = follow(seen, n_classes=run.classes).timeline
    points = timeline.intensities["generalization"]
    alarm = next((alarm.step for alarm in timeline.alarms if alarm.name == "early_warning"), None)
    return Course(np.array([step for step, _ in points], float), np.array([value for _, value in points]), alarm)


def _once(score: Score) -> Score:
    """The score, computed once for each run: a run is in several parts and under several rules."""
    courses: dict[str, Course] = {}

    def remembered(run: ScoredRun) -> Course:
        if run.name not in courses:
            courses[run.name] = score(run)
        return courses[run.name]

    return remembered


def _calibrated(scores: Mapping[str, Score], calibration: Sequence[ScoredRun]) -> dict[str, AlarmRule]:
    """A rule for each score by name, at one share of false alarms; none without negatives to set them by."""
    if not any(run.negative for run in calibration):
        return {}
    return {name: calibrated_rule(score, calibration, FALSE_ALARMS) for name, score in scores.items()}


def _warnings(
    runs: Sequence[ScoredRun], scores: Mapping[str, Score], rules: Mapping[str, AlarmRule]
) -> Iterator[WarningScores]:
    """Every score by its own rule, and all of them at one share of false alarms in the calibration part."""
    own = {WITH_PERCENTILE: OWN_RULE, WITH_ACCURACY: OWN_RULE}
    own |= {rival.name: AlarmRule(rival.rule) for rival in RIVALS if rival.rule is not None}
    for name, rule in (*own.items(), *rules.items()):
        yield score_warning(name, scores[name], rule, runs)


def _timelines(runs: Sequence[ScoredRun]) -> dict[str, TimelineScores]:
    losses = [run.with_only(LOSSES) for run in runs if run.cross_entropy]
    return {"all series": score_timelines(runs), "losses only": score_timelines(losses)}


def _kinds(runs: Sequence[ScoredRun]) -> dict[str, int]:
    return dict(Counter(f"{run.label.kind}{', censored' if run.label.censored else ''}" for run in runs))
