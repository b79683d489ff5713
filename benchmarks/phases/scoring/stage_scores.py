# SPDX-License-Identifier: Apache-2.0
"""How well the stages of a train loss tell a training that was lost from one that was not."""

from collections.abc import Sequence
from dataclasses import dataclass

from scoring.runs import ScoredRun
from scoring.statistics import Estimate, share

from lightning_interp.phases.detector import follow

LOST = ("collapse", "diverged")
"""Kinds of run whose training was lost, by the label."""


@dataclass(frozen=True)
class StageScores:
    """Runs of one part of a pool whose train loss ends in the stage ``collapse``.

    Attributes:
        detected: Of the runs that collapsed or diverged.
        false_alarms: Of all others.
    """

    detected: Estimate
    false_alarms: Estimate


def score_stages(runs: Sequence[ScoredRun]) -> StageScores:
    """Cut the train loss of each run into stages and compare with what happened."""
    ended = {True: [0, 0], False: [0, 0]}
    for run in runs:
        found = follow(run.with_only(("step", "train_loss")).history(), n_classes=run.classes).finished_timeline.stages
        counts = ended[run.label.kind in LOST]
        counts[0] += bool(found) and found[-1].name == "collapse"
        counts[1] += 1
    return StageScores(share(*ended[True]), share(*ended[False]))
