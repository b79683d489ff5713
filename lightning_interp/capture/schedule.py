# SPDX-License-Identifier: Apache-2.0
"""When to take a snapshot: small functions of the optimizer step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

from lightning_interp.core.errors import ConfigError

FIRST_STEPS = (0, 1, 2, 5, 10)
"""Steps of the default schedule before spacing begins: the first updates move the weights most."""
SHARE_OF_STEP = 0.04
"""Spacing of the default schedule as a share of the step: even in log(step)."""
MOST_PER_RUN = 100
"""The default schedule is no denser than the whole run divided by this, where the length of the run is known."""


class Schedule(ABC):
    """Decides at which optimizer steps a snapshot is due. Subclass and give `next_after` for a schedule of your own."""

    @abstractmethod
    def next_after(self, step: int) -> int:
        """The first scheduled step greater than `step`; -1 gives the first of all."""

    def due(self, previous: int, current: int) -> bool:
        """Whether a scheduled step lies in (previous, current]; steps can jump by resume or several optimizers."""
        return self.next_after(previous) <= current

    def steps_until(self, last: int) -> Iterator[int]:
        """Scheduled steps from 0 to `last`, both included, one at a time: there may be very many."""
        step = self.next_after(-1)
        while step <= last:
            yield step
            step = self.next_after(step)


class EveryNSteps(Schedule):
    """Due at step 0 and at every multiple of `n_steps`.

    Raises:
        ConfigError: `n_steps` is not a positive integer.
    """

    def __init__(self, n_steps: int) -> None:
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 1:
            raise ConfigError(f"every_n_steps: expected a positive integer, got {n_steps!r}.")
        self.n_steps = n_steps

    def next_after(self, step: int) -> int:
        """The next multiple of `n_steps`."""
        return 0 if step < 0 else (step // self.n_steps + 1) * self.n_steps

    def __repr__(self) -> str:
        return f"every {self.n_steps} steps"


class LogSpaced(Schedule):
    """Due at 0, 1, 2, 5, 10, then every 4 % of the step, no denser than a hundredth of the run where that is known.

    Args:
        max_steps: Length of the run in optimizer steps, None where it is open.
    """

    def __init__(self, max_steps: int | None = None) -> None:
        self.max_steps = max_steps
        self._coarsest_start = 1 if max_steps is None else max(1, math.ceil(max_steps / MOST_PER_RUN))
        self._steps = list(FIRST_STEPS)

    def next_after(self, step: int) -> int:
        """The first scheduled step after `step`, from a list grown as the run goes on."""
        while self._steps[-1] <= step:
            last = self._steps[-1]
            self._steps.append(last + max(self._coarsest_start, int(SHARE_OF_STEP * last), 1))
        # The answer is almost always the last entry, so look from the end.
        index = len(self._steps) - 1
        while index > 0 and self._steps[index - 1] > step:
            index -= 1
        return self._steps[index]

    def __repr__(self) -> str:
        spacing = f", at least {self._coarsest_start} apart" if self._coarsest_start > 1 else ""
        return f"steps {', '.join(map(str, FIRST_STEPS))}, then every {SHARE_OF_STEP:.0%} of the step{spacing}"
