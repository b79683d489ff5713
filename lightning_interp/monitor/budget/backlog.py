# SPDX-License-Identifier: Apache-2.0
"""Snapshots that wait for the analyzer, and how long it will take for them."""

from collections import deque


class Backlog:
    """Counts snapshots in and out. The time until the first is done is the analyzer's start, and no measure for others."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._started = False
        self._done = 0
        self._worked_s = 0.0

    def __len__(self) -> int:
        """Snapshots that wait."""
        return len(self._waiting)

    def captured(self, step: int) -> None:
        """A snapshot was taken at this step."""
        self._waiting.append(step)

    def analyzed(self, step: int) -> bool:
        """The analyzer is done with everything up to this step, -1 for nothing; whether anything is left."""
        done = 0
        while self._waiting and self._waiting[0] <= step:
            self._waiting.popleft()
            done += 1
        if self._started:
            self._done += done
        self._started = self._started or done > 0
        return bool(self._waiting)

    def worked(self, seconds: float) -> None:
        """The analyzer worked for so long."""
        if self._started:
            self._worked_s += seconds

    def to_do_s(self, more: int = 0) -> float:
        """Seconds it will work for what waits and so many more, 0 as long as nobody knows."""
        return (len(self) + more) * self._worked_s / self._done if self._done else 0.0
