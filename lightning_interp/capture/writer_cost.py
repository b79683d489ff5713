# SPDX-License-Identifier: Apache-2.0
"""What the writer thread takes from a training that leaves no core idle: one of its own threads waits meanwhile."""

import os
import time
from collections.abc import Callable
from pathlib import Path

WINDOW_S = 0.25
"""Least seconds between two looks at the machine's counters, which count in hundredths."""
ENOUGH_CORES = 0.5
"""Cores idle on average from which on the writer is taken to cost the training nothing."""
_STAT = Path("/proc/stat")


class WriterCost:
    """Counts the writer's processor time, as far as no core was free for it. Used by the writer thread, read by others.

    Args:
        free: Core-seconds so far in which a core was idle or ran a niced process; None where the system does not tell,
            and then all of the writer's time counts.
        clock: Seconds from any origin.
    """

    taken_s: float = 0.0
    """Seconds taken from the training so far."""

    def __init__(
        self, free: Callable[[], float | None] | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._free, self._clock = free or core_seconds_free, clock
        self._snapshots = 0
        self._unjudged = 0.0
        self._since, self._free_then = clock(), self._free()

    @property
    def per_snapshot_s(self) -> float:
        """Seconds a snapshot has taken from the training, on average."""
        return self.taken_s / max(1, self._snapshots)

    def wrote(self, busy_s: float) -> None:
        """A snapshot was written.

        Args:
            busy_s: Processor time of the writer thread.
        """
        self._snapshots += 1
        self._unjudged += busy_s
        now = self._clock()
        if now - self._since < WINDOW_S:
            return
        free_now = self._free()
        free_s = 0.0 if free_now is None or self._free_then is None else free_now - self._free_then
        cores = free_s / (now - self._since)
        self.taken_s += self._unjudged * max(0.0, 1.0 - cores / ENOUGH_CORES)
        self._unjudged, self._since, self._free_then = 0.0, now, free_now


def core_seconds_free() -> float | None:
    """Seconds since the machine's start that cores this process may use were idle or ran niced processes, which make room.

    Linux only (/proc/stat, see proc(5): user, nice, system, idle); None elsewhere. The quota of a container is not seen.
    """
    try:
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in _STAT.read_text().splitlines() if line.startswith("cpu")]
        ticks = sum(int(row[2]) + int(row[4]) for row in rows if row[0] in allowed)
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return None
