# SPDX-License-Identifier: Apache-2.0
"""How much slower the training's steps are while the analyzer works: it is paused and let go on in short turns.

Nothing else tells: on a machine with a core to spare the analyzer costs nothing, on a full one it may cost as much as it
takes, and steps differ among themselves more than by that.
"""

import statistics
from collections.abc import Callable

WINDOW_S = 0.5
"""Least length of a turn, in seconds."""
LEAST_STEPS = 10
"""Least steps in a turn; slow steps make long turns."""
PAIRS = 6
"""Turns of each kind in one measurement."""
PAUSE_BETWEEN_S = 60.0
"""Seconds to the second measurement; each further one waits twice as long."""
LONGEST_WINDOW_S = 5.0
"""A turn that has not seen enough steps by then is given up, and with it the measurement: pausing would hold up results."""


class Contention:
    """Takes turns of steps with the analyzer paused and working, and compares their speed.

    Args:
        pause: Halts the analyzer; False where that is not possible.
        resume: Lets it go on.
        first_s: Seconds of training before the first measurement.
    """

    def __init__(self, pause: Callable[[], bool], resume: Callable[[], None], *, first_s: float = 5.0) -> None:
        self.slower: float | None = None
        self.spread: tuple[float, float] | None = None
        self._pause, self._resume = pause, resume
        self._next_s, self._wait_s = first_s, PAUSE_BETWEEN_S
        self._rates: dict[bool, list[float]] = {True: [], False: []}
        self._is_paused: bool | None = None  # None: no measurement is going on
        self._since: tuple[float, int] = (0.0, 0)

    @property
    def measuring(self) -> bool:
        """Whether turns are being taken now."""
        return self._is_paused is not None

    @property
    def certain(self) -> float | None:
        """The slow-down where every pair of turns shows one, else 0: steps vary by themselves. None while unmeasured."""
        if self.slower is None or self.spread is None:
            return None
        return self.slower if self.spread[0] > 0 else 0.0

    def look(self, now: float, step: int, *, analyzer_works: bool) -> bool:
        """Called between steps, now and then.

        Args:
            now: Seconds of training.
            step: Optimizer step.
            analyzer_works: Whether the analyzer has anything to do.

        Returns:
            Whether a measurement just ended.
        """
        if self._is_paused is None:
            if analyzer_works and now >= self._next_s:
                self._turn(now, step, paused=True)
            return False
        seconds, steps = now - self._since[0], step - self._since[1]
        if not analyzer_works or seconds > LONGEST_WINDOW_S:
            self._stop(now)
            return False
        if seconds < WINDOW_S or steps < LEAST_STEPS:
            return False
        self._rates[self._is_paused].append(steps / seconds)
        if len(self._rates[False]) == PAIRS:
            self._conclude()
            self._stop(now)
            return True
        self._turn(now, step, paused=not self._is_paused)
        return False

    def stop(self) -> None:
        """Let the analyzer go on, whatever was being measured."""
        if self._is_paused is not None:
            self._stop(self._since[0])

    def _turn(self, now: float, step: int, *, paused: bool) -> None:
        if not paused:
            self._resume()
        elif not self._pause():
            self._next_s = float("inf")  # nothing to pause: an analyzer in a thread, or none any more
            return
        self._is_paused, self._since = paused, (now, step)

    def _stop(self, now: float) -> None:
        self._resume()
        self._is_paused = None
        self._rates = {True: [], False: []}
        self._next_s, self._wait_s = now + self._wait_s, 2 * self._wait_s

    def _conclude(self) -> None:
        """Median over pairs of neighbouring turns, so that a training that changes its pace does not count."""
        pairs = zip(self._rates[True], self._rates[False], strict=True)
        slower = sorted(alone / beside - 1 for alone, beside in pairs)
        self.slower = statistics.median(slower)
        self.spread = (slower[0], slower[-1])
