# SPDX-License-Identifier: Apache-2.0
"""The share of wall time the monitor costs: time in its hooks, and what writer and analyzer take from its cores."""

import time
from collections import deque
from collections.abc import Callable

ALLOWANCE_S = 0.5
"""Seconds over the share that may be spent: the first snapshots come close together, before the run is long."""
_RECENT = 9


class Overhead:
    """Counts what was spent and says whether more may be.

    Args:
        limit: Most of the wall time, as a share.
        clock: Seconds from any origin; never the wall clock, which people and machines set.
    """

    def __init__(self, limit: float, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.limit = limit
        self.in_hooks = 0.0
        self.in_writing = 0.0
        self.in_contention = 0.0
        self.contention: float | None = None
        self._clock = clock
        self._started = clock()
        self._ended: float | None = None
        self._snapshots: deque[float] = deque(maxlen=_RECENT)

    @property
    def wall(self) -> float:
        """Seconds from the start of the training to its end, or until now."""
        return max(1e-9, (self._clock() if self._ended is None else self._ended) - self._started)

    def stop(self) -> None:
        """The training ended: what comes now is waiting for results. Idempotent."""
        self._ended = self._clock() if self._ended is None else self._ended

    @property
    def share(self) -> float:
        """Share of the wall time spent so far: in hooks, and lost to writer and analyzer as far as that was measured."""
        return self.spent / self.wall

    @property
    def spent(self) -> float:
        """Seconds spent so far."""
        return self.in_hooks + self.in_writing + self.in_contention

    @property
    def hook_share(self) -> float:
        """Share of the wall time spent in hooks."""
        return self.in_hooks / self.wall

    def spend(self, seconds: float) -> None:
        """Time in a hook."""
        self.in_hooks += seconds

    def note_snapshot(self, seconds: float) -> None:
        """What one snapshot took, to judge the next by; it is spent as part of its hook."""
        self._snapshots.append(seconds)

    def spend_beside_analyzer(self, seconds: float) -> None:
        """Wall time in which the analyzer worked: part of it was the training's, as far as that was measured."""
        slower = max(0.0, self.contention or 0.0)
        self.in_contention += seconds * slower / (1 + slower)

    def affords_snapshot(self, *, to_write_s: float = 0.0) -> bool:
        """Whether one more snapshot, as dear as recent ones, keeps the share under the limit.

        Args:
            to_write_s: What writing it, and those that wait before it, will take from the training.
        """
        recent = sorted(self._snapshots)
        next_one = recent[len(recent) // 2] if recent else 0.0
        return self.spent + next_one + to_write_s <= self.limit * self.wall + ALLOWANCE_S
