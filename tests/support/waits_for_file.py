# SPDX-License-Identifier: Apache-2.0
"""A measure that lets the analyzer go on beyond a step only when a file is there."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning_interp import Measure


class WaitsForFile(Measure):
    """Holds the analyzer on, so that snapshots are left at the end of a training however slow the machine is.

    Args:
        step: First step at which it waits.
        file: What it waits for.
    """

    name: ClassVar[str] = "waits"
    names: ClassVar[tuple[str, ...]] = ("waits",)
    needs: ClassVar[frozenset[Any]] = frozenset({"weights"})

    def __init__(self, step: int, file: Path) -> None:
        self.step, self.file = step, file

    def __call__(self, observation: Any) -> Mapping[str, float]:
        while observation.snapshot.step >= self.step and not self.file.exists():
            time.sleep(0.05)
        return {"waits": 1.0}
