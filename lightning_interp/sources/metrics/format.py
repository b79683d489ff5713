# SPDX-License-Identifier: Apache-2.0
"""What a format of metrics files is: a module that says which paths it reads, and gives their rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

Row = tuple[int, int, list[tuple[str, Any]]]
"""Line in the file (or number of the record), optimizer step, (column, cell) pairs without blank cells."""


class MetricsFormat(Protocol):
    """A format is a module with these two functions, and a line in `registry`."""

    def matches(self, path: Path, /) -> Path | None:
        """The file or folder of this format that a path stands for, None if there is none.

        Raises:
            MetricsError: It stands for several.
        """
        ...

    def rows(self, path: Path, resumed: Mapping[int, int], /) -> Iterator[Row]:
        """Rows of what `matches` gave, in the order of the file.

        Args:
            path: The file or folder.
            resumed: Of a resumed run: by attempt, the step it continued from. For formats whose rows have an attempt.

        Raises:
            MetricsError: It cannot be read; the message names file, line, column and a way out.
        """
        ...
