# SPDX-License-Identifier: Apache-2.0
"""A request with one more option, as somebody who adds one would write it. Its value tells which processes it came to."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightning_interp.core.request import AnalysisRequest


@dataclass(frozen=True)
class Arrival:
    """Writes the number of every process that it is unpickled in to a file."""

    log: Path

    def __reduce__(self) -> "tuple[Callable[[Path], Arrival], tuple[Path]]":
        return _arrived, (self.log,)

    def processes(self) -> set[int]:
        """The processes it has come to, this one left out."""
        return {int(line) for line in self.log.read_text().split()} - {os.getpid()} if self.log.exists() else set()


def _arrived(log: Path) -> Arrival:
    with log.open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    return Arrival(log)


@dataclass(frozen=True)
class WiderRequest(AnalysisRequest):
    """A request with a new option."""

    arrival: Arrival | None = None
