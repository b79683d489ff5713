# SPDX-License-Identifier: Apache-2.0
"""The share of wall time the monitor costs: time in its hooks, and what writer and analyzer take from its cores."""

import time
from collections import deque
from collections.abc import Callable

from lightning_interp.monitor.budget.slow_down import ASSUMED

FOR_CAPTURE = 0.5
"""Part of the share that capturing may use up. Else the analyzer would never get to what was captured."""
CAPTURE_ALLOWANCE_S = 0.5
"""Seconds over its part that capturing may take: the first snapshots come close together, before the run is long."""
ALLOWANCE_S = 0.75
"""Seconds over the share that may be spent in all."""
CATCH_UP_S = 60.0
"""Least seconds of training that the analyzer is given to catch up, before fewer snapshots are taken."""
_RECENT = 9


class Overhead:
    """Counts what was spent and says whether more may be.

    Args:
        limit: Most of the wall time, as a share.
        writing: Seconds the writer has taken from the training so far.
        clock: Seconds from any origin; never the wall clock, which people and machines set.
    """

    def __init__(
        self,
        limit: float,
        *,
        writing: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.limit = limit
        self.in_hooks = 0.0
        self.in_contention = 0.0
        self.beside_analyzer = 0.0
        self.contention: float | None = None
        self._writing, self._clock = writing, clock
        self._started = clock()
        self._ended: tuple[float, float] | None = None  # when, and how much was taken for writing until then
        self._snapshots: deque[float] = deque(maxlen=_RECENT)

    @property
    def wall(self) -> float:
        """Seconds from the start of the training to its end, or until now."""
        return max(1e-9, (self._clock() if self._ended is None else self._ended[0]) - self._started)

    @property
    def in_writing(self) -> float:
        """Seconds the writer took from the training; what it writes after the training's end takes none."""
        return self._writing() if self._ended is None else self._ended[1]

    def stop(self) -> None:
        """The training ended: what comes now is waiting for results. Idempotent."""
        self._ended = self._ended or (self._clock(), self._writing())

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
        """Wall time in which the analyzer worked: part of it was the training's."""
        self.beside_analyzer += seconds
        self.in_contention += self.lost_beside(seconds)

    def lost_beside(self, seconds: float) -> float:
        """What the training loses in so many seconds beside the analyzer, as far as that is known."""
        slower = max(0.0, ASSUMED if self.contention is None else self.contention)
        return seconds * slower / (1 + slower)

    @property
    def affords_analyzer(self) -> bool:
        """Whether the analyzer may work now; where not, it works later."""
        return self.spent <= self.limit * self.wall + ALLOWANCE_S

    def affords_snapshot(self, *, to_write_s: float = 0.0, to_analyze_s: float = 0.0, times: int = 1) -> bool:
        """Whether one more snapshot, as dear as recent ones, is within what capturing may cost, and can be analyzed in time.

        What the analyzer has cost is no reason to lose a snapshot where that is made up for in time as well.

        Args:
            to_write_s: What writing it, and those that wait before it, will take from the training.
            to_analyze_s: How long the analyzer will work for it and for those that wait before it. It may do so in as much
                time again as has passed, a minute at least.
            times: Whether it still would if all this were so many times as dear.
        """
        recent = sorted(self._snapshots)
        capture_s = times * (to_write_s + (recent[len(recent) // 2] if recent else 0.0))
        captures = self.in_hooks + self.in_writing + capture_s
        if captures > FOR_CAPTURE * self.limit * self.wall + CAPTURE_ALLOWANCE_S:
            return False
        later = self.wall + max(self.wall, CATCH_UP_S)
        return self.spent + times * self.lost_beside(to_analyze_s) <= self.limit * later + ALLOWANCE_S
