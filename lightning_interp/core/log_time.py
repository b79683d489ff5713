# SPDX-License-Identifier: Apache-2.0
"""Fewer snapshots of a long run, evenly in log(step + 1): the one rule for what stays on disk and what a fit looks at."""

import math
from collections.abc import Container, Sequence


def most_crowded(steps: Sequence[int], among: Container[int] | None = None) -> int:
    """Position of the step whose neighbors are nearest in log(step + 1), the earliest of several; never the first or last.

    Args:
        steps: Optimizer steps, strictly ascending, three or more.
        among: Steps that may be chosen; None for all of them.

    >>> most_crowded([0, 1, 2, 8])
    1
    """
    inner = (place for place in range(1, len(steps) - 1) if among is None or steps[place] in among)
    return min(inner, key=lambda place: math.log1p(steps[place + 1]) - math.log1p(steps[place - 1]))


def thinned(steps: Sequence[int], most: int) -> list[int]:
    """Positions of at most `most` steps spread evenly in log(step + 1), the first and the last among them.

    Steps are added one after the other, and the most crowded leaves whenever there are too many. So an analysis that follows
    a run keeps the same steps as one that looks back on it.

    Args:
        steps: Optimizer steps, strictly ascending.
        most: Steps to keep, at least 2.

    >>> thinned([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144], 6)  # of steps 0, 3, 8, 21, 55 and 144
    [0, 3, 5, 7, 9, 11]
    """
    kept: list[int] = []
    for place in range(len(steps)):
        kept.append(place)
        if len(kept) > most:
            del kept[most_crowded([steps[each] for each in kept])]
    return kept
