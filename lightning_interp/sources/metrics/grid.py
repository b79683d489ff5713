# SPDX-License-Identifier: Apache-2.0
"""The rows of a file as columns of numbers, with where each came from, for messages."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.axis import axis_name
from lightning_interp.sources.metrics.columns import meaning_of
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.numbers import NotNumberError, number

MOST_VALUES = 60_000_000
"""Most numbers that are kept of a file; they take 16 bytes each."""
MOST_NAMES = 100_000

RUN_NAMES: tuple[str, ...] = (
    "run_id",
    "run id",
    "run_uuid",
    "run",
    "run_name",
    "run name",
    "experiment_name",
    "experiment",
    "exp_name",
    "exp",
    "trial",
    "trial_id",
    "trial_number",
    "model_id",
    "job_id",
    "seed",
    "fold",
)
"""Columns that say which run a row is of, in lower case, the surest first."""
_LONGEST_TEXT = 200


@dataclass
class Column:
    """Numbers of one column; blank cells are left out.

    Attributes:
        at: Number of the row of each value, from 0 on, increasing.
        values: The values.
        wrong: Row and content of the first cell that was neither blank nor a number, None if there was none.
    """

    at: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    wrong: tuple[int, str] | None = None


@dataclass
class Grid:
    """Everything of a file that may matter.

    Attributes:
        columns: Columns that are understood or asked for, axes among them.
        others: Number of filled cells of every other column.
        texts: Row by row what columns that may name a run hold, as text.
        steps: The step of each row where the format knows it, -1 where it does not.
    """

    asked: Asked
    columns: dict[str, Column] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    _lines: "array[int]" = field(default_factory=lambda: array("q"))
    _files: list[tuple[int, Path, str]] = field(default_factory=list)
    _kept: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def add_file(self, path: Path, rows: Iterable[Row]) -> None:
        """Take in all rows of a file.

        Raises:
            MetricsError: It cannot be read, or holds more than what is read.
        """
        self.asked.where, self.asked.row = None, "line"
        begun: Path | None = None
        for line, step, cells in rows:
            file = self.asked.where or path
            if file != begun:
                self._files.append((len(self), file, self.asked.row))
                begun = file
            for name, cell in cells:
                self._add(name, cell)
            self.steps.append(-1 if step is None else step)
            self._lines.append(line)

    def where(self, row: int) -> str:
        """File and line of a row, as messages begin."""
        _, file, kind = self._files[self.file_of(row)]
        return f"{file}, {kind} {self._lines[row]}"

    def line(self, row: int) -> str:
        """Line of a row, without the file."""
        return f"{self._files[self.file_of(row)][2]} {self._lines[row]}"

    def file_of(self, row: int) -> int:
        """Number of the file a row is of."""
        return bisect_right(self._files, row, key=lambda begun: begun[0]) - 1

    def axis_values(self, column: str) -> dict[int, float]:
        """Values of an axis column by row."""
        found = self.columns[column]
        return dict(zip(found.at, found.values, strict=True))

    def _add(self, name: str, cell: Any) -> None:
        column = self.columns.get(name)
        if column is None:
            if name in self.others:
                self.others[name] += _is_filled(cell)
                return
            column = self._new(name, cell)
            if column is None:
                return
        if name in self.texts:
            texts = self.texts[name]
            texts += [""] * (len(self) - len(texts))
            texts.append(str(cell)[:_LONGEST_TEXT].strip())
        try:
            value = number(cell)
        except NotNumberError:
            column.wrong = column.wrong or (len(self), str(cell)[:_LONGEST_TEXT])
            return
        if value is not None:
            column.at.append(len(self))
            column.values.append(value)
            self._kept += 1
            if self._kept > MOST_VALUES:
                raise MetricsError(
                    f"{self.asked.where or ''}: over {MOST_VALUES:,} values. Give a part of the columns or rows."
                )

    def _new(self, name: str, cell: Any) -> Column | None:
        """A new column if it may matter, else its name is noted among the others."""
        if len(self.columns) + len(self.others) >= MOST_NAMES:
            raise MetricsError(
                f"{self.asked.where or 'the file'}: over {MOST_NAMES:,} names. Give losses and accuracies only."
            )
        wanted = name in self.asked.also or name in self.asked.columns.values()
        runs = name.strip().lower() in RUN_NAMES
        if not (wanted or runs or axis_name(name) or meaning_of(name)):
            self.others[name] = int(_is_filled(cell))
            return None
        if runs:
            self.texts[name] = []
        self.columns[name] = Column()
        return self.columns[name]


def _is_filled(cell: Any) -> bool:
    return cell is not None and bool(str(cell)[:_LONGEST_TEXT].strip())
