# SPDX-License-Identifier: Apache-2.0
"""What an alarm would be worth if a course were only its trend and noise: the same rule on surrogates of the course.

A smooth rising curve crosses a threshold at a time that its trend and its noise set. A surrogate keeps the trend and
shuffles in time what is left; an alarm that comes as early on surrogates owes its lead to the trend, and one that comes on
surrogates of negatives as often as on the negatives themselves owes its false alarms to noise.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scoring.courses import Course

WINDOW = 9
"""Values whose running median is the trend."""
SURROGATES = 20


def surrogates(course: Course, *, count: int = SURROGATES, seed: int = 0) -> Iterator[Course]:
    """Courses with the trend of one and its residuals in another order; none where it has too few values.

    Args:
        course: The course; its own alarm does not carry over.
        count: How many.
        seed: Seed of the order.
    """
    from scipy.ndimage import median_filter

    known = np.isfinite(course.values)
    steps, values = course.steps[known], course.values[known]
    if len(values) < WINDOW:
        return
    trend = np.asarray(median_filter(values, size=WINDOW, mode="nearest"))
    draw = np.random.default_rng(seed)
    for _ in range(count):
        shuffled = trend + draw.permutation(values - trend)
        yield replace(course, steps=steps, values=shuffled, alarm=None)
