# SPDX-License-Identifier: Apache-2.0
"""Values of one measure by layer over steps, in memory that grows without being copied at every look."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FIRST_ROOM = 64


@dataclass(frozen=True)
class LayerGrid:
    """One measure by layer.

    Attributes:
        steps: Optimizer steps, ascending [step].
        layers: Layers or parameters with a value at any step.
        values: [step, layer], NaN where there is none.
    """

    steps: NDArray[np.int64]
    layers: tuple[str, ...]
    values: NDArray[np.float64]


class GrowingGrid:
    """Rows that come one at a time."""

    def __init__(self, width: int) -> None:
        self._steps = np.empty(_FIRST_ROOM, dtype=np.int64)
        self._values = np.empty((_FIRST_ROOM, width), dtype=np.float64)
        self._count = 0
        self._used = np.zeros(width, dtype=np.bool_)

    @property
    def width(self) -> int:
        """Entries of a row."""
        return self._values.shape[1]

    @property
    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values so far."""
        return self._steps[: self._count], self._values[: self._count]

    def append(self, step: int, row: Sequence[float | None]) -> None:
        """Add one row; None becomes NaN."""
        if self._count == len(self._steps):
            self._steps = np.concatenate([self._steps, np.empty_like(self._steps)])
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._steps[self._count] = step
        self._values[self._count] = np.asarray(row, dtype=np.float64)
        self._used |= np.isfinite(self._values[self._count])
        self._count += 1

    def view(self, layers: Sequence[str]) -> LayerGrid:
        """The rows so far, of the layers that have any value; nothing is copied where all have."""
        kept = np.flatnonzero(self._used)
        steps, values = self.rows
        whole = len(kept) == len(layers)
        return LayerGrid(steps, tuple(layers[int(k)] for k in kept), values if whole else values[:, kept])
