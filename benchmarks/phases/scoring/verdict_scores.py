# SPDX-License-Identifier: Apache-2.0
"""How often verdicts are right, and the ways of being wrong that mislead most; by run and by configuration."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from scoring.configurations import Counted, counted
from scoring.judged import CURVES, LOSSES, TOLD, JudgedRun, Told
from scoring.ordinary_labels import View

from lightning_interp.core.timeline import Timeline

SEEN: dict[str, tuple[Collection[str] | None, View]] = {
    "all series": (None, "accuracies"),
    "accuracies and losses": (CURVES, "accuracies"),
    "losses only": (LOSSES, "losses"),
}
"""What the detector sees, and which label its verdict is held against."""


Holds = Callable[[frozenset[str], Timeline], bool]
Of = Callable[[JudgedRun, frozenset[str]], bool]


@dataclass(frozen=True)
class VerdictScores:
    """Verdicts on one part of a pool, from some series.

    Attributes:
        seen: Which series, a key of `SEEN`.
        told: What the detector was told beside them.
        right: Verdicts that are right.
        clear: The same of the runs whose label hangs on no threshold.
        false_grokking: Verdicts `grokking` of runs that are something else.
        open_memorization: Runs that grokked beyond doubt whose timeline ends in a memorization.
        formed: Timelines with a circuit formation where nothing formed.
        wrong: Name, what is right and what was said, of every wrong one.
    """

    seen: str
    told: Told
    right: Counted
    clear: Counted
    false_grokking: Counted
    open_memorization: Counted
    formed: Counted
    wrong: tuple[tuple[str, str, str], ...]


def score_verdicts(runs: Sequence[JudgedRun], told: Sequence[Told] = TOLD) -> list[VerdictScores]:
    """Every choice of series under everything the detector is told."""
    return [_score(runs, seen, how) for seen in SEEN for how in told]


def _score(runs: Sequence[JudgedRun], seen: str, told: Told) -> VerdictScores:
    names, view = SEEN[seen]
    judged = [(run, run.right[view], run.timeline(names, told)) for run in runs if view in run.right]
    wrong = [(run, right, found.verdict) for run, right, found in judged if found.verdict not in right]

    def share(
        holds: Callable[[frozenset[str], Timeline], bool],
        of: Callable[[JudgedRun, frozenset[str]], bool],
        *,
        every: bool = False,
    ) -> Counted:
        return counted(
            ((run.configuration, holds(right, found)) for run, right, found in judged if of(run, right)), every=every
        )

    def is_right(right: frozenset[str], found: Timeline) -> bool:
        return found.verdict in right

    return VerdictScores(
        seen=seen,
        told=told,
        right=share(is_right, lambda *_: True, every=True),
        clear=share(is_right, lambda run, _: not run.borderline[view], every=True),
        false_grokking=share(lambda _, found: found.verdict == "grokking", lambda _, right: "grokking" not in right),
        open_memorization=share(
            lambda _, found: bool(found.phases) and found.phases[-1].name == "memorization",
            lambda _, right: right == {"grokking"},
        ),
        formed=share(lambda _, found: _has(found, "circuit_formation"), lambda run, _: run.quiet),
        wrong=tuple((run.name, " or ".join(sorted(right)), said) for run, right, said in wrong),
    )


def _has(timeline: Timeline, phase: str) -> bool:
    return any(found.name == phase for found in timeline.phases)
