# SPDX-License-Identifier: Apache-2.0
"""Verdicts and alarms of every part of the pools, counted by run and by configuration."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from scoring.alarm_scores import AlarmScores, score_alarms
from scoring.judged import TOLD, JudgedRun, Told
from scoring.verdict_scores import VerdictScores, score_verdicts

UNSEEN, TOGETHER = "unseen_", "test"
"""How the names of those parts begin that are also scored together, and what they are called then."""


@dataclass(frozen=True)
class VerdictCard:
    """One part of a pool.

    Attributes:
        right: Runs by the verdicts that are right for them.
        configurations: How many different ones.
        verdicts: By what the detector sees and is told.
        alarms: The same.
    """

    right: Mapping[str, int]
    configurations: int
    verdicts: tuple[VerdictScores, ...]
    alarms: tuple[AlarmScores, ...]


def verdict_cards(
    runs: Sequence[JudgedRun],
    *,
    parts: Collection[str] | None = None,
    told: Sequence[Told] = TOLD,
    on_part: Callable[[str], None] = lambda _: None,
) -> dict[str, VerdictCard]:
    """The cards of the parts of the pools; unseen ones also together.

    Args:
        runs: Runs of one pool or of several.
        parts: Names of the parts to score, None for all: no other run is looked at.
        told: What the detector is told.
        on_part: Told the name of each part when it is done.
    """
    by_part = {part: [run for run in runs if run.part == part] for part in dict.fromkeys(run.part for run in runs)}
    by_part[TOGETHER] = [run for run in runs if run.part.startswith(UNSEEN)]
    cards = {}
    for part, inside in by_part.items():
        if inside and (parts is None or part in parts):
            cards[part] = _card(inside, told)
            on_part(part)
    return cards


def _card(runs: Sequence[JudgedRun], told: Sequence[Told]) -> VerdictCard:
    right = Counter(" or ".join(sorted(run.right["accuracies"])) for run in runs)
    configurations = len({run.configuration for run in runs})
    return VerdictCard(right, configurations, tuple(score_verdicts(runs, told)), tuple(score_alarms(runs, told)))
