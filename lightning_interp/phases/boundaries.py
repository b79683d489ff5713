# SPDX-License-Identifier: Apache-2.0
"""Where a boundary lies: the turning point or threshold crossing of a raw series, with the steps it can be moved to.

Only points recorded by the time of the call are looked at, so a boundary is as causal as the rule that asks for it. The raw
series is smoothed by a centred 3-point median and nothing else: heavier smoothing moves turning points.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

from lightning_interp.core.timeline import Interval
from lightning_interp.phases.series import LogSeries, median3, noise_sd

NEIGHBOURHOOD = 25
"""Raw points on each side of a boundary from which its noise is estimated."""


@dataclass(frozen=True)
class Boundary:
    """A step and the interval it can lie in.

    Attributes:
        step: Optimizer step of a raw point.
        interval: Neighbouring raw points, widened to the stretch within two noise deviations.
    """

    step: int
    interval: Interval


def turning_point(series: LogSeries, since: int) -> Boundary:
    """Greatest 3-point median of a series from a step on.

    Args:
        series: Raw points; at least one at or after `since`.
        since: Optimizer step to start from.

    Returns:
        The first step where the maximum is reached. The interval runs from the first to the last record within two
        noise deviations, or 1 %, of the maximum, and reaches at least to the neighbouring records.
    """
    begin = min(bisect_left(series.steps, since), len(series.steps) - 1)
    steps, smooth = series.steps[begin:], median3(series.values[begin:])
    top = max(range(len(smooth)), key=smooth.__getitem__)
    floor = smooth[top] - max(2 * _noise_near(series.values[begin:], top), 0.01 * abs(smooth[top]))
    near = [index for index, value in enumerate(smooth) if value >= floor]
    low, high = min(near[0], max(top - 1, 0)), max(near[-1], min(top + 1, len(steps) - 1))  # the neighbours at least
    return Boundary(steps[top], (steps[low], steps[high]))


def lowest_point(series: LogSeries, since: int) -> Boundary:
    """Least 3-point median of a series from a step on; see `turning_point`."""
    turned = LogSeries()
    turned.steps, turned.values = series.steps, [-value for value in series.values]
    return turning_point(turned, since)


def negative_log(series: LogSeries) -> LogSeries:
    """Raw points of minus the logarithm of a positive series: its least value is then the greatest."""
    turned = LogSeries()
    turned.steps, turned.values = series.steps, [-math.log(max(value, 1e-300)) for value in series.values]
    return turned


def crossing(series: LogSeries, threshold: float, since: int, *, below: bool = True) -> Boundary:
    """First record from which a series stays on one side of a threshold, up to its latest point.

    Args:
        series: Raw points; at least one at or after `since`.
        threshold: In the unit of the series.
        since: Optimizer step to start from.
        below: Wanted side: True for at or under the threshold, False for at or over.

    Returns:
        Step of the crossing. The interval runs from the record before it (or the last one clear of the threshold by two
        noise deviations on the old side) to the first one clear of it on the new side.
    """
    begin = min(bisect_left(series.steps, since), len(series.steps) - 1)
    steps, sign = series.steps[begin:], 1.0 if below else -1.0
    over = [sign * (value - threshold) for value in median3(series.values[begin:])]
    at = min(1 + max((i for i, excess in enumerate(over) if excess > 0), default=-1), len(over) - 1)
    margin = 2 * _noise_near(series.values[begin:], at)
    low = high = at
    while low > 0 and over[low] <= margin:
        low -= 1
    while high < len(over) - 1 and over[high] > -margin:
        high += 1
    return Boundary(steps[at], (steps[low], steps[high]))


def settling(series: LogSeries, since: int, tolerance: float) -> Boundary:
    """First record from which a series stays near the level it has now.

    Args:
        series: Raw points, at least one at or after `since`.
        since: Optimizer step to start from.
        tolerance: In the unit of the series; three noise deviations are allowed in any case.
    """
    latest = sorted(median3(series.values[-12:])[-10:])
    level = latest[len(latest) // 2]
    band = max(tolerance, 3 * noise_sd(series.values[-10:]))
    away = LogSeries()
    away.steps, away.values = series.steps, [abs(value - level) for value in series.values]
    return crossing(away, band, since)


def record_after(series: LogSeries, step: int) -> int:
    """First raw step after `step`, or `step` itself where there is none."""
    index = bisect_left(series.steps, step + 1)
    return series.steps[index] if index < len(series.steps) else step


def record_before(series: LogSeries, step: int) -> int:
    """Last raw step before `step`, or the first raw step."""
    return series.steps[max(bisect_left(series.steps, step) - 1, 0)]


def _noise_near(values: list[float], index: int) -> float:
    return noise_sd(values[max(0, index - NEIGHBOURHOOD) : index + NEIGHBOURHOOD + 1])
