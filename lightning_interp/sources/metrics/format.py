# SPDX-License-Identifier: Apache-2.0
"""What a format of metrics files is: a module that says which paths it reads, and gives their rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lightning_interp.core.errors import MetricsError

Row = tuple[int, int | None, list[tuple[str, Any]]]
"""Line in the file (or number of the record), step if the format itself knows it, (column, cell) pairs."""

MOST_NOTES = 50


@dataclass
class Asked:
    """What the caller wants of a file, and what a format has to tell beside the rows.

    Attributes:
        resumed: Of a resumed run of the monitor: by attempt, the step it continued from.
        columns: Column to take for a record name, or for ``step``.
        also: Columns to take beside those that are understood, with the name of the series.
        run: Which run to take of a file that holds several: its name, or its number from 1 on.
        notes: Sentences about what was left out or taken for something; formats add to them while their rows are read.
        row: What `Row` counts, "line" or "record".
        where: The file that the last row came from, for formats that read several.
        given: Everything that is read together.
    """

    resumed: Mapping[int, int] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None
    notes: list[str] = field(default_factory=list)
    row: str = "line"
    where: Path | None = None
    given: tuple[Path, ...] = ()
    _runs: dict[str, Path] = field(default_factory=dict)

    def take_run(self, run: str, file: Path) -> None:
        """Note which run a file is of, for formats that know.

        Raises:
            MetricsError: Files of another run are read together with it.
        """
        self._runs.setdefault(run, file)
        if len(self._runs) > 1:
            (one, first), (other, second) = list(self._runs.items())[:2]
            raise MetricsError(f"2 runs were given, {one} ({first}) and {other} ({second}). Give the files of one of them.")

    def note(self, sentence: str) -> None:
        """Tell the reader something, once; what is too much to read is left out."""
        if len(self.notes) < MOST_NOTES and sentence not in self.notes:
            self.notes.append(sentence)


class MetricsFormat(Protocol):
    """A format is a module with these two functions, and a line in `registry`. Both raise `MetricsError`."""

    def matches(self, path: Path, /) -> Path | None:
        """The one file or folder of this format that a path stands for, None if there is none."""
        ...

    def rows(self, path: Path, asked: Asked, /) -> Iterator[Row]:
        """Rows of what `matches` gave, in the order in which they were written."""
        ...
