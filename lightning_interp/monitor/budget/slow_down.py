# SPDX-License-Identifier: Apache-2.0
"""How much slower steps are beside a working analyzer, and how sure that is: from pairs of turns that follow each other."""

import math
import statistics
from collections import deque

LEAST_PAIRS = 3
"""Pairs from which on there is an estimate."""
ENOUGH_PAIRS = 10
"""Pairs from which on their spread tells how good it is. Of ten, it is half too small one time in ten."""
KEPT_PAIRS = 60
"""Pairs it rests on; older ones are forgotten, for what else runs on the machine changes."""
CLOSE_ENOUGH = 0.03
"""Standard error from which on an estimate is relied on, as a share."""
ASSUMED = 0.05
"""How much slower steps are taken to be as long as nobody knows."""
_MEDIAN_ERROR = 1.2533 * 1.4826
"""Standard error of a median, in median absolute deviations over the root of the number, where these are normal."""


class SlowDown:
    """Collects pairs of step rates. Steps vary by themselves by more than the analyzer costs: only many pairs tell.

    Attributes:
        slower: How much longer a step takes while the analyzer works, as a share: median of the pairs. None while unknown.
    """

    def __init__(self) -> None:
        self._pairs: deque[float] = deque(maxlen=KEPT_PAIRS)
        self.slower: float | None = None
        self._error = math.inf

    def add(self, alone: float, beside: float) -> None:
        """A pair of turns: steps per second with the analyzer halted, and with it working."""
        self._pairs.append(alone / beside - 1)
        self._judge()

    def age(self) -> None:
        """Forget all but the latest few pairs: new ones must be heard where the machine has changed."""
        while len(self._pairs) > ENOUGH_PAIRS:
            self._pairs.popleft()
        self._judge()

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._pairs)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Two standard errors around `slower`."""
        return None if self.slower is None else (self.slower - 2 * self._error, self.slower + 2 * self._error)

    @property
    def certain(self) -> float | None:
        """What is charged: `slower` where it is more than its standard error, else 0, once that can be relied on.

        Chance is charged in one of four trainings that lose nothing. That mends itself: whoever is over the budget takes
        turns, and turns of enough steps are compared.
        """
        if self.slower is not None and self.slower > self._error:
            return self.slower
        return 0.0 if self.known else None

    @property
    def known(self) -> bool:
        """Whether there are enough pairs, as much as they vary."""
        pairs = len(self._pairs)
        return pairs == KEPT_PAIRS or (pairs >= ENOUGH_PAIRS and self._error <= CLOSE_ENOUGH)

    def _judge(self) -> None:
        """Once a pair: the estimate is looked at far more often, on the training thread."""
        if len(self._pairs) < LEAST_PAIRS:
            return
        self.slower = middle = statistics.median(self._pairs)
        deviation = statistics.median(abs(pair - middle) for pair in self._pairs)
        self._error = _MEDIAN_ERROR * deviation / math.sqrt(len(self._pairs))
