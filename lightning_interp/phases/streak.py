# SPDX-License-Identifier: Apache-2.0
"""Hysteresis: a condition counts after three hits in a row and stops counting after five misses in a row."""

ENTER = 3
LEAVE = 5


class Streak:
    """Counts consecutive evaluations at which a condition holds.

    Attributes:
        on: Whether the condition counts now.
        since: Step of the first hit of the streak that switched it on most recently; kept after it is switched off.
        first_since: The same for the first time it was switched on.
        last: Step of the latest hit while it was on, None before that.
        hits: Hits in a row up to the latest evaluation.
        tried: Whether the condition could be judged at least once.
    """

    def __init__(self) -> None:
        self.on = False
        self.since: int | None = None
        self.first_since: int | None = None
        self.last: int | None = None
        self.hits = 0
        self.tried = False
        self._misses = 0
        self._begun = 0
        self._seen = -1

    @property
    def at_the_end(self) -> bool:
        """Whether the condition held at each of the latest three evaluations."""
        return self.hits >= ENTER

    def update(self, hit: bool, step: int, evaluation: int) -> None:
        """Count one evaluation, whose number in the deciding series is counted once: no streak comes of one value."""
        if evaluation == self._seen:
            return
        self._seen = evaluation
        self.tried = True
        if hit:
            self._hit(step)
        else:
            self._miss()

    def _hit(self, step: int) -> None:
        self._misses = 0
        self.hits += 1
        if self.hits == 1:
            self._begun = step
        if self.hits >= ENTER and not self.on:
            self.on = True
            self.since = self._begun
            self.first_since = self._begun if self.first_since is None else self.first_since
        if self.on:
            self.last = step

    def _miss(self) -> None:
        self.hits = 0
        self._misses += 1
        if self._misses >= LEAVE:
            self.on = False
