# SPDX-License-Identifier: Apache-2.0
"""When to take snapshots, given what they cost: the schedule asked for, thinned where the monitor takes too much time."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from lightning_interp.capture.schedule import Schedule
from lightning_interp.capture.writer_cost import WriterCost
from lightning_interp.monitor.budget.backlog import Backlog
from lightning_interp.monitor.budget.contention import Contention
from lightning_interp.monitor.budget.overhead import Overhead
from lightning_interp.monitor.budget.thinning import ThinnedSchedule

NOTE_EVERY_S = 30.0
WORTH_TELLING = 0.0005
"""Share of the wall time from which on the writer is named in the closing words."""
AMPLE = 4
"""Snapshots this many times as dear must be affordable before they are taken at half the distance again."""
LONGEST_BETWEEN_LOOKS_S = 10.0
"""Seconds between two looks that are taken to be all training, however little the analyzer had to do."""
_SAMPLES = 101


class SnapshotThrottle:
    """Follows a schedule within a budget of wall time. On the training thread; nothing here waits or reads a file.

    Args:
        schedule: The schedule asked for.
        limit: Most of the wall time the monitor may take, as a share.
        contention: Measures how much the analyzer slows the training, and halts it where the budget is spent.
        note: Puts a line into the health log.
        writer: What the writer takes from the training, as far as it is known.
        clock: Seconds from any origin.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        limit: float,
        contention: Contention,
        note: Callable[..., Any],
        writer: WriterCost,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._backlog = Backlog()
        self.schedule = ThinnedSchedule(schedule)
        self.overhead = Overhead(limit, writing=lambda: writer.taken_s, clock=clock)
        self._contention = contention
        self._note, self._writer = note, writer
        self._looked = (0.0, 0)
        self._works = False  # whether anything waited for the analyzer at the last look
        self._noted = 0.0
        self._checks: deque[float] = deque(maxlen=_SAMPLES)

    def may_take(self, step: int, *, waiting: int) -> bool:
        """Whether the snapshot that is due is affordable; where not, the schedule is thinned until there is room again."""
        to_write_s, to_analyze_s = (waiting + 1) * self._writer.per_snapshot_s, self._backlog.to_do_s(1)
        if self.overhead.affords_snapshot(to_write_s=to_write_s, to_analyze_s=to_analyze_s):
            if self.overhead.affords_snapshot(to_write_s=to_write_s, to_analyze_s=to_analyze_s, times=AMPLE):
                self.schedule.relax()
            return True
        self.schedule.thin()
        self._note("thinned", step=step, spacing=self.schedule.spacing, **self._figures())
        return False

    def captured(self, step: int) -> None:
        """There is a snapshot of the step, and the analyzer has it to do."""
        self._backlog.captured(step)

    def look(self, step: int, *, check_s: float, observed: int, waiting: int) -> None:
        """Called every half second or so.

        Args:
            step: Optimizer step.
            check_s: Seconds one look at whether anything is due takes, measured now.
            observed: Step of the latest snapshot that the analyzer is known to be done with.
            waiting: Snapshots that wait for the writer.
        """
        now = self.overhead.wall
        then, step_then = self._looked
        self._looked = (now, step)
        self._checks.append(check_s)
        self.overhead.spend(max(0, step - step_then) * statistics.median(self._checks) if step_then else 0.0)
        if self._works and not self._contention.halted:
            # No longer than what waited should take: a validation or a checkpoint may lie between two looks.
            beside = min(now - then, max(LONGEST_BETWEEN_LOOKS_S, self._backlog.to_do_s()))
            self.overhead.spend_beside_analyzer(beside)
            self._backlog.worked(beside)
        self._works = self._backlog.analyzed(observed)
        may_work = self.overhead.affords_analyzer
        measured = self._contention.look(now, step, analyzer_works=self._works, may_work=may_work)
        found = self._contention.slow_down
        self.overhead.contention = found.certain
        if measured:
            self._note("contention", step=step, slower=_rounded(found.slower), interval=found.interval)
        if now - self._noted >= NOTE_EVERY_S:
            self._noted = now
            self._note("overhead", step=step, waiting=waiting, **self._figures())

    def stop(self) -> None:
        """The training ended: let the analyzer go on, and count no further."""
        self._contention.stop()
        self.overhead.stop()

    def summary(self) -> str:
        """What it cost, in words for the user."""
        text = f"{self.overhead.hook_share:.2%} of wall time in hooks"
        writing = self.overhead.in_writing / self.overhead.wall
        if writing >= WORTH_TELLING:
            text += f", {writing:.2%} for writing on cores that were all busy"
        slower = self._contention.slow_down.slower
        if slower is not None and self.overhead.contention is not None:
            found = f"steps {slower:.1%} slower" if self.overhead.contention else "steps not measurably slower"
            share = self.overhead.beside_analyzer / self.overhead.wall
            text += f", {found} while the analyzer works ({share:.0%} of the time)"
        if self.schedule.spacing:
            text += f", schedule thinned to {self.schedule.spacing:.0%} of the step apart"
        return text

    def _figures(self) -> dict[str, float | None]:
        overhead = self.overhead
        return {
            "hook_share": _rounded(overhead.hook_share),
            "writer_share": _rounded(overhead.in_writing / overhead.wall),
            "share": _rounded(overhead.share),
            "contention": _rounded(overhead.contention),
            "analyzer_share": _rounded(overhead.beside_analyzer / overhead.wall),
            "backlog": len(self._backlog),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
