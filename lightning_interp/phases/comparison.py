# SPDX-License-Identifier: Apache-2.0
"""One comparison of a number with its limit: what every rule consists of, and what every sentence about it is made from."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Relation = Literal[">=", "<="]

DEVIATIONS = 1.0
"""Half the binomial interval that must clear a limit; three evaluations in a row must do so, so that one alone need not."""


@dataclass(frozen=True)
class Comparison:
    """A number, a limit, and whether the one is on the right side of the other.

    Attributes:
        of: The series, or what else is compared, in words.
        value: The number.
        relation: Which side of the limit it must be on; the limit itself counts.
        limit: In the same unit.
        step: Optimizer step of the number.
        examples: If the number is a share of so many examples, its whole binomial interval must be on that side.
        limit_is: What the limit is, in words; empty if it speaks for itself.
    """

    of: str
    value: float
    relation: Relation
    limit: float
    step: int
    examples: int | None = None
    limit_is: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """One standard deviation to both sides, or None if the number is no share of examples."""
        return None if self.examples is None else wilson(self.value, self.examples)

    @property
    def holds(self) -> bool:
        """Whether the number, with its interval, is on the right side."""
        low, high = self.interval or (self.value, self.value)
        return low >= self.limit if self.relation == ">=" else high <= self.limit

    def clause(self, rule: str) -> dict[str, Any]:
        """As plain JSON values."""
        plain: dict[str, Any] = {
            "rule": rule,
            "of": self.of,
            "value": self.value,
            "relation": self.relation,
            "limit": self.limit,
            "holds": self.holds,
            "step": self.step,
        }
        if self.limit_is:
            plain["limit_is"] = self.limit_is
        if self.interval is not None:
            plain |= {"examples": self.examples, "interval": [round(bound, 6) for bound in self.interval]}
        return plain


def wilson(share: float, examples: int, deviations: float = DEVIATIONS) -> tuple[float, float]:
    """Score interval of a binomial share.

    Args:
        share: In [0, 1].
        examples: How many it was counted over, at least 1.
        deviations: Standard deviations to either side.

    Returns:
        Lower and upper bound, in [0, 1].

    References:
        Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953

    >>> [round(bound, 3) for bound in wilson(0.97, 200)]
    [0.955, 0.98]
    """
    square = deviations**2
    middle = (share * examples + square / 2) / (examples + square)
    half = deviations * math.sqrt(max(share * (1 - share) * examples, 0.0) + square / 4) / (examples + square)
    return max(0.0, middle - half), min(1.0, middle + half)
