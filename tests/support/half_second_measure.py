# SPDX-License-Identifier: Apache-2.0
"""A measure that takes half a second for each snapshot."""

import time
from typing import Any

from lightning_interp.measures import Measure


class Slow(Measure):
    """Keeps the analyzer busy long after the training is over."""

    name = "slow"
    names = ("slow",)
    needs = frozenset({"weights"})
    cost = "cheap"
    causal = True

    def __call__(self, observation: Any) -> dict[str, float]:
        time.sleep(0.5)
        return {"slow": float(observation.snapshot.step)}
