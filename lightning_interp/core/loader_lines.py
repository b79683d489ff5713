# SPDX-License-Identifier: Apache-2.0
"""What is said of each further validation loader, in one line."""

from collections.abc import Iterator

from lightning_interp.core.timeline import Timeline

_PHASE_OF = {"overfitting": "overfitting", "memorization_only": "memorization", "collapse": "collapse"}
"""Verdicts that a phase of its own stands for."""


def loader_lines(timeline: Timeline) -> Iterator[str]:
    """Name and verdict of each further loader, with the step that goes with it if there is one.

    >>> list(loader_lines(Timeline("grokking", loaders={"night": Timeline("not_fitted")})))
    ['night: not fitted']
    """
    for name, other in timeline.loaders.items():
        yield f"{name}: {other.verdict.replace('_', ' ')}{_since(other)}"


def _since(timeline: Timeline) -> str:
    starts = [phase.start for phase in timeline.phases if phase.name == _PHASE_OF.get(timeline.verdict)]
    solved = timeline.evidence.get("t_gen")
    if starts:
        return f" since step {starts[-1]:,}"
    return f", solved from step {solved:,}" if isinstance(solved, int) else ""
