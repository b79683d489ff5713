# SPDX-License-Identifier: Apache-2.0
"""Shares and areas with intervals that hold for few runs and for perfect scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A share or an area with its interval.

    Attributes:
        value: In [0, 1]; NaN if nothing was counted.
        low: Lower end of the 95 % interval.
        high: Upper end.
        counted: What it rests on, as in ``19 of 20``.
    """

    value: float
    low: float
    high: float
    counted: str

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"– ({self.counted})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.counted})"


def share(hits: int, of: int) -> Estimate:
    """A proportion with its exact interval.

    Args:
        hits: How many hold.
        of: Of how many.

    References:
        Clopper & Pearson 1934, https://doi.org/10.1093/biomet/26.4.404
    """
    if of == 0:
        return Estimate(math.nan, 0.0, 1.0, "0 of 0")
    from scipy.stats import binomtest

    interval = binomtest(hits, of).proportion_ci(CONFIDENCE, "exact")
    return Estimate(hits / of, float(interval.low), float(interval.high), f"{hits} of {of}")


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> Estimate:
    """Probability that a positive scores higher than a negative, ties half, with a score interval.

    The interval solves ``(a - area)^2 = z^2 V(a)`` for the variance at the true area, so that it does not shrink to a point
    when every positive is above every negative.

    Args:
        positives: Scores, higher for more likely.
        negatives: The same.

    References:
        Newcombe 2006, method 5, https://doi.org/10.1002/sim.2324
    """
    m, n = len(positives), len(negatives)
    counted = f"{m} against {n}"
    if not m or not n:
        return Estimate(math.nan, 0.0, 1.0, counted)
    from scipy.stats import mannwhitneyu

    area = float(mannwhitneyu(positives, negatives).statistic) / (m * n)
    return Estimate(area, 1 - _upper(1 - area, m, n), _upper(area, m, n), counted)


def _upper(area: float, m: int, n: int) -> float:
    """Upper end of the interval of an area."""
    if area >= 1:
        return 1.0
    from scipy.optimize import brentq
    from scipy.stats import norm

    z2, mean_size = float(norm.ppf((1 + CONFIDENCE) / 2)) ** 2, (m + n) / 2 - 1

    def excess(a: float) -> float:
        pairs = 1 + mean_size * ((1 - a) / (2 - a) + a / (1 + a))
        return (a - area) ** 2 - z2 * a * (1 - a) * pairs / (m * n)

    return float(brentq(excess, max(area, 1e-12), 1.0)) if excess(1.0) > 0 else 1.0
