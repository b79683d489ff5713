# SPDX-License-Identifier: Apache-2.0
"""What is new in a timeline since an earlier one: phases that began or ended, each with a sentence for people."""

from dataclasses import dataclass
from typing import Literal

from lightning_interp.core.timeline import Clause, Phase, Timeline
from lightning_interp.phases.wording import MEANINGS, because_text


@dataclass(frozen=True)
class PhaseChange:
    """One phase that began or ended.

    Attributes:
        name: Name of the phase.
        kind: ``began`` or ``ended``.
        step: Back-dated boundary, in optimizer steps.
        confidence: Score in [0, 1] of the phase itself.
        because: The comparisons that began the phase.
    """

    name: str
    kind: Literal["began", "ended"]
    step: int
    confidence: float
    because: tuple[Clause, ...] = ()


def phase_changes(previous: Timeline | None, current: Timeline) -> tuple[PhaseChange, ...]:
    """Phases that began or ended between two timelines of one run.

    Returns:
        In order of their steps; where one phase ends as the next begins, the end comes first.
    """
    known = {_key(phase): phase for phase in previous.phases} if previous else {}
    changes: list[PhaseChange] = []
    for phase in current.phases:
        before = known.get(_key(phase))
        if before is None:
            changes.append(PhaseChange(phase.name, "began", phase.start, phase.confidence, phase.because))
        if phase.end is not None and (before is None or before.end is None):
            changes.append(PhaseChange(phase.name, "ended", phase.end, phase.confidence))
    return tuple(sorted(changes, key=lambda change: change.step))


def describe(change: PhaseChange) -> str:
    """One sentence on a change, for alerts and console lines.

    >>> describe(PhaseChange("cleanup", "began", 9800, 0.775))
    'Phase cleanup began at step 9,800: held-out data is better than a constant answer, and memorized structure is being \
removed (confidence 0.78).'
    >>> describe(PhaseChange("memorization", "ended", 1400, 0.9))
    'Phase memorization ended at step 1,400.'
    """
    title = change.name.replace("_", " ")
    if change.kind == "ended":
        return f"Phase {title} ended at step {change.step:,}."
    meaning = MEANINGS.get(change.name, "no description")
    why = f" Why: {because_text(change.because)}." if change.because else ""
    return f"Phase {title} began at step {change.step:,}: {meaning} (confidence {change.confidence + 1e-9:.2f}).{why}"


def _key(phase: Phase) -> tuple[str, int]:
    return phase.name, phase.start
