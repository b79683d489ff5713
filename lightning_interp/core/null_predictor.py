# SPDX-License-Identifier: Apache-2.0
"""What is known of the null predictor: the best one that ignores its input, against which a training is judged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST = 2**53
"""Whole numbers up to which a file is believed: those that are exact in floating point."""


@dataclass(frozen=True)
class NullPredictor:
    """What the best constant prediction gets on the held-out examples; None for whatever is not known.

    Attributes:
        loss: Its loss, in the unit of the held-out loss.
        error: Its error, 1 minus its accuracy.
        source: What it was computed from, as a phrase for a reader; None if neither is known.
        n_classes: Classes of the module's scores.
        heldout_examples: Answers the held-out values are means over.
    """

    loss: float | None = None
    error: float | None = None
    source: str | None = None
    n_classes: int | None = None
    heldout_examples: int | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "NullPredictor":
        """What analysis.json says, which anybody may have written: what is no such value counts as not known."""
        loss, error = (_number(content.get(name)) for name in ("null_loss", "null_error"))
        counts = (content.get(name) for name in ("n_classes", "heldout_examples"))
        n_classes, examples = (value if type(value) is int and 0 <= value <= MOST else None for value in counts)
        source = content.get("null_source")
        return cls(loss, error, source if isinstance(source, str) else None, n_classes, examples)

    def for_detector(self) -> dict[str, Any]:
        """What a `PhaseDetector` is told of it, as keywords.

        Nothing can be a share of what a single class gives, a loss and an error of 0: such a null counts as not known. So
        does one that is no finite number, as targets with a NaN among them give it, and an error over 1.
        """
        loss = {"null_loss": self.loss} if self.loss and 0 < self.loss < math.inf else {}
        error = {"null_error": self.error} if self.error and 0 < self.error <= 1 else {}
        source = {"null_source": self.source} if self.source and (loss or error) else {}
        classes = {"n_classes": self.n_classes} if self.n_classes and self.n_classes > 1 else {}
        examples = {"heldout_examples": self.heldout_examples} if self.heldout_examples else {}
        return {**loss, **error, **source, **classes, **examples}


def _number(value: object) -> float | None:
    number = isinstance(value, float) or (type(value) is int and value <= MOST)
    return float(value) if number and math.isfinite(value) and value >= 0 else None  # type: ignore[operator,arg-type]
