# SPDX-License-Identifier: Apache-2.0
"""What the writer thread takes from a training that leaves no core idle: one of its own threads waits meanwhile."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

WINDOW_S = 0.25
"""Least seconds from the start of a write to the look at what was free meanwhile: the machine counts in hundredths."""
ENOUGH_CORES = 0.5
"""Cores idle on average from which on the writer is taken to cost the training nothing."""
_STAT = Path("/proc/stat")

Ticks = Mapping[str, tuple[int, int]]
"""By core, ticks since the machine's start in which it was free, and all."""


class WriterCost:
    """Counts the writer's processor time, as far as no core was free for it. Used by the writer thread, read by others.

    Args:
        ticks: Looks at the cores; None where the system does not tell, and then all of the writer's time counts.
        clock: Seconds from any origin.
    """

    taken_s: float = 0.0
    """Seconds taken from the training so far."""

    def __init__(
        self, ticks: Callable[[], Ticks | None] | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._ticks, self._clock = ticks or core_ticks, clock
        self._snapshots = 0
        self._unjudged = 0.0
        self._since: float | None = None  # None: nothing written is unjudged
        self._before: Ticks | None = None

    @property
    def per_snapshot_s(self) -> float:
        """Seconds a snapshot has taken from the training, on average."""
        return self.taken_s / max(1, self._snapshots)

    def begin(self) -> None:
        """A snapshot is about to be written."""
        if self._since is None:
            self._since, self._before = self._clock(), self._ticks()

    def wrote(self, busy_s: float) -> None:
        """It was written.

        Args:
            busy_s: Processor time of the writer thread.
        """
        self._snapshots += 1
        self._unjudged += busy_s
        self.settle()

    def settle(self) -> None:
        """Judge what was written, once enough time has passed to tell what was free meanwhile; called now and then."""
        if self._since is None or self._clock() - self._since < WINDOW_S:
            return
        free = cores_free(self._before, self._ticks())
        self.taken_s += self._unjudged * (1.0 - min(1.0, free / ENOUGH_CORES))
        self._unjudged, self._since = 0.0, None


def cores_free(before: Ticks | None, after: Ticks | None) -> float:
    """Cores that were free on average between two looks, of those the process could use both times; 0 where unknown."""
    if before is None or after is None:
        return 0.0
    passed = {core: (after[core][0] - before[core][0], after[core][1] - before[core][1]) for core in before.keys() & after}
    return sum(min(1.0, max(0.0, free / total)) for free, total in passed.values() if total > 0)


def core_ticks() -> Ticks | None:
    """Ticks of every core this process may use. Free is idle, and niced processes that make room for it.

    Linux only (/proc/stat, see proc(5): user, nice, system, idle); None elsewhere. The quota of a container is not seen.
    """
    try:
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        makes_room = os.getpriority(os.PRIO_PROCESS, 0) <= 0  # else the training's own time is in that column, too
        rows = [line.split() for line in _STAT.read_text().splitlines() if line.startswith("cpu")]
        counts = {row[0]: list(map(int, row[1:9])) for row in rows if row[0] in allowed}
        return {core: (ticks[3] + makes_room * ticks[1], sum(ticks)) for core, ticks in counts.items()}
    except (OSError, AttributeError, ValueError, IndexError):
        return None
