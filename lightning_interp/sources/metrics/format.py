# SPDX-License-Identifier: Apache-2.0
"""What a format of metrics files is: a module that says which paths it reads, and gives their rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

Row = tuple[int, int, list[tuple[str, Any]]]
"""Line in the file (or number of the record), optimizer step, (column, cell) pairs without blank cells."""


class MetricsFormat(Protocol):
    """A format is a module with these two functions, and a line in `registry`. Both raise `MetricsError`."""

    def matches(self, path: Path, /) -> Path | None:
        """The one file or folder of this format that a path stands for, None if there is none."""
        ...

    def rows(self, path: Path, resumed: Mapping[int, int], /) -> Iterator[Row]:
        """Rows of what `matches` gave; `resumed`, the step each later start continued from, is for rows with an attempt."""
        ...
