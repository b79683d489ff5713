# SPDX-License-Identifier: Apache-2.0
"""A logistic score over standardised inputs, with its parameters as plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LinearScore:
    """Log-odds that are linear in standardised inputs.

    Attributes:
        intercept: Log-odds where every input is at its mean.
        inputs: By name: mean, standard deviation, and weight per standard deviation.
    """

    intercept: float
    inputs: Mapping[str, tuple[float, float, float]]

    def log_odds(self, values: Mapping[str, float]) -> float:
        """Log-odds for one value of each input; values further than 5 deviations from the mean count as 5."""
        terms = (
            weight * min(max((values[name] - mean) / deviation, -5.0), 5.0)
            for name, (mean, deviation, weight) in self.inputs.items()
        )
        return self.intercept + math.fsum(terms)


def logistic(log_odds: float) -> float:
    """Probability for log-odds; never exactly 0 or 1."""
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))
