# SPDX-License-Identifier: Apache-2.0
"""The course of one score over a run, and what can be read off it: its level at a step, when it passed a threshold."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scoring.labels import SUSTAINED, Series


@dataclass(frozen=True)
class Course:
    """A causal score: the value at a step was known at that step.

    Attributes:
        steps: Optimizer steps.
        values: Score at each, higher for more likely; NaN if there was none.
        alarm: Step of the alarm by the published rule of the score, or None if it raised none or has no such rule.
        times: Values in a row that must pass a threshold.
    """

    steps: Series
    values: Series
    alarm: int | None = None
    times: int = SUSTAINED

    def sustained(self) -> tuple[Series, Series]:
        """Steps, and the least of the latest values known at each."""
        known = np.isfinite(self.values)
        steps, values = self.steps[known], self.values[known]
        if len(values) < self.times:
            return np.empty(0), np.empty(0)
        windows = np.lib.stride_tricks.sliding_window_view(values, self.times)
        return steps[self.times - 1 :], windows.min(axis=1)

    def level(self, step: float) -> float:
        """Sustained value as known at a step, minus infinity before there is one."""
        steps, values = self.sustained()
        at = int(np.searchsorted(steps, step, side="right"))
        return float(values[at - 1]) if at else -math.inf

    def highest(self) -> float:
        """Greatest sustained value, or minus infinity if there is none."""
        _, values = self.sustained()
        return float(values.max()) if len(values) else -math.inf

    def first_over(self, threshold: float) -> int | None:
        """First step at which the sustained value is over a threshold, None if never."""
        steps, values = self.sustained()
        over = np.flatnonzero(values > threshold)
        return int(steps[over[0]]) if len(over) else None


def threshold_at(false_alarms: float, negatives: Iterable[Course]) -> float:
    """Least threshold that at most a share of the negatives ever passes.

    Args:
        false_alarms: Share, in [0, 1).
        negatives: Courses of runs that should not raise an alarm; at least one.
    """
    highest = sorted((course.highest() for course in negatives), reverse=True)
    allowed = int(false_alarms * len(highest))
    return highest[allowed] if allowed < len(highest) else -math.inf
