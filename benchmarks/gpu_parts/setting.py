# SPDX-License-Identifier: Apache-2.0
"""What a section is told: device, size, time, and where its files go."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpu_parts.rows import Row


class Budget:
    """The time of a section.

    Args:
        seconds: How much there is from now on.
        clock: Seconds from any origin.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    @property
    def left(self) -> float:
        """Seconds left, none below zero."""
        return max(0.0, self._end - self._clock())

    def rounds(self, wanted: int, *, least: int = 1, share: float = 1.0) -> Iterator[int]:
        """Numbers of repeats: as many as wanted, fewer where another would not fit, at least a few in any case.

        Args:
            wanted: Most repeats.
            least: Fewest.
            share: Part of the time left that they may take.
        """
        may_end = self._clock() + share * self.left
        longest = 0.0
        for repeat in range(wanted):
            started = self._clock()
            if repeat >= least and started + longest > may_end:
                return
            yield repeat
            longest = max(longest, self._clock() - started)


@dataclass(frozen=True)
class Setting:
    """How a section is run.

    Attributes:
        device: ``cuda:0``, or ``cpu`` for a rehearsal.
        quick: Tiny sizes and few repeats.
        scratch: Empty folder for what is not kept.
        keep: Folder and stem of files beside the table.
        budget: Its time.
    """

    device: str
    quick: bool
    scratch: Path
    keep: Path
    budget: Budget = field(default_factory=lambda: Budget(3600))

    @property
    def on_gpu(self) -> bool:
        """Whether this is no rehearsal."""
        return self.device != "cpu"

    def folder(self, name: str) -> Path:
        """A new folder in the scratch folder."""
        path = self.scratch / name
        path.mkdir(parents=True)
        return path

    def kept(self, suffix: str) -> Path:
        """A file beside the table."""
        return self.keep.with_name(self.keep.name + suffix)


Part = Callable[[Setting], Iterator[Row]]
"""One measurement; what it has yielded counts also where it breaks later."""
