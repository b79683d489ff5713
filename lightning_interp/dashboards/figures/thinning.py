# SPDX-License-Identifier: Apache-2.0
"""Fewer points of a long curve, evenly in log time: what a screen can show, in files that stay small."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 2000
"""Points drawn of one curve."""
MAX_COLUMNS = 300
"""Steps drawn of a heat map."""


def kept_places(steps: Sequence[int] | NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places of at most `most` ascending steps: every one while they are far apart in log time, and the last.

    >>> kept_places([0, 1, 2, 3, 4, 5, 6, 7], 3).tolist()
    [0, 2, 7]
    """
    count = len(steps)
    if count <= most:
        return np.arange(count)
    times = np.log1p(np.asarray(steps, dtype=np.float64) - steps[0])
    wanted = np.linspace(0.0, times[-1], most)
    return np.unique(np.searchsorted(times, wanted - 1e-12).clip(0, count - 1))


def thin(steps: Sequence[int], values: Sequence[float], most: int = MAX_POINTS) -> tuple[list[int], list[float]]:
    """A curve of at most `most` points, evenly in log time, the ends included."""
    if len(steps) <= most:
        return list(steps), list(values)
    places = kept_places(steps, most)
    return [steps[place] for place in places], [values[place] for place in places]
