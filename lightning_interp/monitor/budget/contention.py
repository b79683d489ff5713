# SPDX-License-Identifier: Apache-2.0
"""The analyzer works in turns: to measure how much slower the training's steps are beside it, and to hold the budget.

Nothing else tells what it costs: on a machine with a core to spare the analyzer costs nothing, on a full one, or where cores
share their memory's bandwidth, it may cost as much as it takes. And nothing else bounds it: what is not captured is lost,
what is not yet analyzed is analyzed later.
"""

from collections.abc import Callable

from lightning_interp.monitor.budget.slow_down import ENOUGH_PAIRS, SlowDown

WINDOW_S = 0.5
"""Least length of a turn, in seconds."""
LEAST_STEPS = 4
"""Least steps in a turn; slow steps make long turns."""
LONGEST_WINDOW_S = 10.0
"""A turn ends by then, and tells nothing where it has not seen enough steps."""
PAUSE_BETWEEN_S = 60.0
"""Seconds to the second measurement; each further one waits twice as long, up to the longest."""
LONGEST_BETWEEN_S = 600.0
MOST_HALTED = 17
"""It is halted for at most so many times as long as it worked before: an observation then takes 18 times as long, within the
twenty of its limit."""
LONGEST_HALT_S = 50.0
"""It is halted for at most so long in one piece, within the least limit of an observation."""


class Contention:
    """Halts the analyzer and lets it go on, turn by turn, and compares the speed of the steps.

    Args:
        pause: Halts the analyzer; False where that is not possible.
        resume: Lets it go on.
        first_s: Seconds of training before the first measurement.
    """

    def __init__(self, pause: Callable[[], bool], resume: Callable[[], None], *, first_s: float = 2.0) -> None:
        self.slow_down = SlowDown()
        self.halted = False
        self._pause, self._resume = pause, resume
        self._can_halt_from = 0.0
        self._next_s, self._wait_s = first_s, PAUSE_BETWEEN_S
        self._to_measure = 0  # turns that are still to alternate
        self._new_pairs = 0  # since the last measurement began
        self._turn: tuple[float, int] | None = None  # when and at which step it began
        self._since, self._worked_s = 0.0, 0.0  # when the halt, or the work, began, and how long the last work lasted
        self._before: tuple[bool, float] | None = None  # the turn before, where no pair has it yet

    def look(self, now: float, step: int, *, analyzer_works: bool, may_work: bool) -> bool:
        """Called between steps, now and then; `now` is in seconds of training.

        Returns:
            Whether a measurement just ended.
        """
        if not analyzer_works or now < self._can_halt_from:
            self.stop()  # a measurement goes on with its other turns when there is work again
            return False
        if self._turn is None:
            self._begin(now, step, halted=self._next(now, may_work=may_work))
            return False
        seconds, steps = now - self._turn[0], step - self._turn[1]
        measuring = self._to_measure > 0
        wants_more = steps < LEAST_STEPS and seconds < LONGEST_WINDOW_S and (measuring or may_work)
        if seconds < WINDOW_S or wants_more:
            return False
        self._end_turn(now, seconds, steps)
        if self._to_measure > 1 or self.slow_down.known:
            self._to_measure = max(0, self._to_measure - 1)
        self._begin(now, step, halted=self._next(now, may_work=may_work))
        return measuring and not self._to_measure

    def stop(self) -> None:
        """Let the analyzer go on, whatever was being measured."""
        if self.halted:
            self._resume()
        self.halted, self._turn, self._before = False, None, None

    def _next(self, now: float, *, may_work: bool) -> bool:
        """Whether the next turn is one without the analyzer."""
        if not self._to_measure and now >= self._next_s:
            if self._new_pairs < ENOUGH_PAIRS:  # turns that hold the budget tell as well
                self._to_measure = 2 * ENOUGH_PAIRS
                self.slow_down.age()
            self._new_pairs, self._next_s = 0, now + self._wait_s
            self._wait_s = min(LONGEST_BETWEEN_S, 2 * self._wait_s)
        if self._to_measure and (may_work or self.slow_down.slower is None):
            return not self.halted
        return not may_work and (not self.halted or now - self._since < min(MOST_HALTED * self._worked_s, LONGEST_HALT_S))

    def _begin(self, now: float, step: int, *, halted: bool) -> None:
        if halted and not self.halted and not self._pause():  # an analyzer in a thread, or none just now
            self._can_halt_from = now + PAUSE_BETWEEN_S
            self.stop()
            return
        if self.halted and not halted:
            self._resume()
        if self._turn is None or halted != self.halted:
            self._worked_s = now - self._since if halted and self._turn is not None else WINDOW_S
            self._since = now
        self.halted, self._turn = halted, (now, step)

    def _end_turn(self, now: float, seconds: float, steps: int) -> None:
        if steps >= LEAST_STEPS and seconds <= 1.5 * LONGEST_WINDOW_S:
            self._tell(steps / seconds)
            return
        self._before = None  # too few steps to tell, or a validation in between
        if seconds >= LONGEST_WINDOW_S:
            self._give_up(now)

    def _tell(self, rate: float) -> None:
        """A turn ended. Only neighbours are compared, so that a training that changes its pace does not count."""
        if self._before is None or self._before[0] == self.halted:
            self._before = (self.halted, rate)
            return
        alone, beside = (rate, self._before[1]) if self.halted else (self._before[1], rate)
        self.slow_down.add(alone, beside)
        self._new_pairs += 1
        self._before = None

    def _give_up(self, now: float) -> None:
        """Steps are too slow to compare: measuring would only hold up results."""
        self._to_measure, self._before = 0, None
        self._next_s = max(self._next_s, now + PAUSE_BETWEEN_S)
