# SPDX-License-Identifier: Apache-2.0
"""Fewer points of a long curve, its highs and lows kept: what a screen can show, in files that stay small."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 2000
"""Points drawn of one curve."""
MAX_COLUMNS = 300
"""Steps drawn of a heat map."""


def kept_places(steps: Sequence[int] | NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places of at most `most` ascending steps: half of them even in log time, half even in time, the ends included.

    A curve can be looked at over either axis.

    >>> kept_places([0, 1, 2, 3, 4, 5, 6, 7], 4).tolist()
    [0, 7]
    """
    if len(steps) <= most:
        return np.arange(len(steps))
    since = np.asarray(steps, dtype=np.float64) - steps[0]
    return np.unique(np.concatenate([_grid(times, most // 2) for times in (np.log1p(since), since)]))


def kept_with_extremes(steps: Sequence[int], values: Sequence[float], most: int) -> NDArray[np.int64]:
    """Places of at most `most` points of a curve: of each stretch the first, the lowest and the highest; and the last point.

    Stretches are as many as fit, even in log time and in time as in `kept_places`, so that no single high or low is lost.
    """
    if len(steps) <= most:
        return np.arange(len(steps))
    edges = np.append(kept_places(steps, (most - 1) // 3), len(steps))
    column = np.asarray(values, dtype=np.float64)
    low, high = np.where(np.isnan(column), np.inf, column), np.where(np.isnan(column), -np.inf, column)
    stretches = [(int(start), int(end)) for start, end in pairwise(edges)]
    kept = [place for start, end in stretches for place in (start, start + int(low[start:end].argmin()))]
    kept += [start + int(high[start:end].argmax()) for start, end in stretches]
    return np.unique([*kept, len(steps) - 1])


def thin(steps: Sequence[int], values: Sequence[float], most: int = MAX_POINTS) -> tuple[list[int], list[float]]:
    """A curve of at most `most` points with its highs and lows, see `kept_with_extremes`."""
    if len(steps) <= most:
        return list(steps), list(values)
    places = kept_with_extremes(steps, values, most)
    return [steps[place] for place in places], [values[place] for place in places]


def _grid(times: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the times that come next to even ones, the first and the last included."""
    wanted = np.linspace(0.0, times[-1], max(count, 2))
    return np.searchsorted(times, wanted * (1 - 1e-12)).clip(0, len(times) - 1)
