# SPDX-License-Identifier: Apache-2.0
"""health.jsonl: the monitor's own events. Lines are noted on any thread and written by one, which may wait for the disk."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_interp.core.typed_values import misfit
from lightning_interp.store.jsonl import append_line, cut_torn_tail, read_lines
from lightning_interp.store.layout import HEALTH
from lightning_interp.store.surviving_records import valid_rows

OfSnapshot = Literal["snapshot", "dropped", "removed", "logged"]
"""Events with the step of a snapshot: written, not written, removed to make room, something logged after it."""
Event = (
    OfSnapshot
    | Literal["thinned", "overhead", "contention", "analyzer", "analyzer_failed", "resumed", "closed", "not_followed"]
)
HealthRow = Mapping[str, Any]
"""One line: ``event``, ``attempt`` (number of the start of the training), ``time`` (s since 1970) and the event's fields."""


_KINDS: dict[str, Any] = {
    **dict.fromkeys(("event", "reason", "text"), str | None),
    **dict.fromkeys(("attempt", "step", "resumed_at", "bytes"), int | None),
    **dict.fromkeys(("time", "hook_share", "writer_share", "share", "contention"), float | None),
    "scalars": Mapping[str, Any] | None,
}
"""What readers make use of."""


class HealthLog:
    """The health log of one start of the training."""

    def __init__(self, run_dir: Path, attempt: int) -> None:
        self._path, self._attempt = run_dir / HEALTH, attempt
        self._noted: deque[HealthRow] = deque()
        cut_torn_tail(self._path)

    def __len__(self) -> int:
        """Lines that are not written yet."""
        return len(self._noted)

    def note(self, event: Event, **fields: Any) -> None:
        """Put a line on its way; no file is touched."""
        self._noted.append({"event": event, "attempt": self._attempt, "time": round(time.time(), 3), **fields})

    def write(self) -> None:
        """Append what was noted; on the writer's thread only.

        Raises:
            OSError: It cannot be written now (a full disk). What is left is tried again at the next call.
        """
        while self._noted:
            append_line(self._path, self._noted[0])
            self._noted.popleft()


def append_resumed(run_dir: Path, attempt: int, *, step: int) -> None:
    """Append that a start of the training continues from a step; before its own log is open."""
    cut_torn_tail(run_dir / HEALTH)
    append_line(run_dir / HEALTH, {"event": "resumed", "attempt": attempt, "resumed_at": step})


def read_health(run_dir: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Lines from a byte offset on, and the offset to go on from; those of another form are left out and named."""
    return read_lines(run_dir / HEALTH, offset, check=lambda row: misfit(row, _KINDS))


def events(health: Iterable[HealthRow], *kinds: Event) -> list[HealthRow]:
    """Lines of these kinds, in the order of the file."""
    return [row for row in health if row.get("event") in kinds]


def valid_events(health: Iterable[HealthRow], kind: OfSnapshot, resumed: Mapping[int, int]) -> dict[int, HealthRow]:
    """Lines of one kind by step, ascending: the last of each step that no later start took back, see `valid_rows`."""
    rows = [row for row in events(health, kind) if isinstance(row.get("step"), int)]
    return valid_rows(((row["step"], row.get("attempt", 0), row) for row in rows), resumed)


def times(health: Iterable[HealthRow]) -> list[float]:
    """When lines were noted, in seconds since 1970; old ones may not say."""
    return [row["time"] for row in health if isinstance(row.get("time"), int | float)]
