# SPDX-License-Identifier: Apache-2.0
"""A metrics history from the rows of a file, whatever its format.

Rows of one step are merged where their columns are disjoint or equal; blank cells and null mean not logged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.logged_curves import VALUES
from lightning_interp.core.series import Series
from lightning_interp.sources.metrics.columns import CURVE_NAMES, choose_columns, meaning_of, understood
from lightning_interp.sources.metrics.format import Row
from lightning_interp.sources.metrics.registry import format_of


@dataclass(frozen=True)
class MetricsHistory:
    """What a metrics file holds.

    Attributes:
        series: By record name: (optimizer steps, values); losses in nats, accuracies as shares.
        mapping: Columns that were used, with the record name each stands for.
        unused: Columns that were not.
        path: The file.
    """

    series: Series
    mapping: Mapping[str, str]
    unused: tuple[str, ...]
    path: Path


@dataclass
class _Collected:
    """Columns read so far, the line of each column's last value, for error messages, and the number of rows."""

    steps: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    rows: int = 0


def read_metrics(
    path: str | Path, *, resumed: Mapping[int, int] | None = None, also: Mapping[str, str] | None = None
) -> MetricsHistory:
    """Read a metrics file.

    Args:
        path: A file or folder in one of the formats of `registry`.
        resumed: Of a resumed run: by attempt, the step it continued from; earlier attempts' rows after it are dropped.
        also: Columns to take beside those that are understood, if they are there, with the name of the series.

    Returns:
        The series under record names, and how columns were understood.

    Raises:
        MetricsError: The file is missing, empty or binary, has no step or no loss or accuracy column, or a line cannot be
            read, goes back in steps or contradicts another; the message names file, line, column and a way out.
    """
    path = Path(path)
    source, place = format_of(path)
    collected = _collect(source.rows(place, resumed or {}), place)
    counts = {column: len(values) for column, values in collected.values.items()}
    mapping, unused = choose_columns(collected.values, counts)
    asked = {column: name for column, name in (also or {}).items() if column in collected.values}
    unused = tuple(column for column in unused if column not in asked)
    if not any(name in CURVE_NAMES or name in VALUES for name in (*mapping.values(), *asked.values())):
        found = ", ".join(collected.values) or "none"
        raise MetricsError(f"{path}: no loss or accuracy to judge. {understood()}; columns with values: {found}.")
    series = {name: _series(collected, column, path) for column, name in mapping.items()}
    series |= {name: (collected.steps[column], collected.values[column]) for column, name in asked.items()}
    return MetricsHistory(series, {**mapping, **asked}, unused, path)


def _collect(rows: Iterator[Row], path: Path) -> _Collected:
    collected = _Collected()
    for line, step, cells in rows:
        where = f"{path}, line {line}"
        for column, cell in cells:
            _store(collected, column, cell, step=step, where=where)
            collected.lines[column] = line
        collected.rows += 1
    if not collected.rows:
        raise MetricsError(f"{path}: holds no rows. Give a file with at least one record below its header.")
    return collected


def _store(collected: _Collected, column: str, cell: Any, *, step: int, where: str) -> None:
    value = _number(cell, column, where)
    steps = collected.steps.get(column)
    if steps is None:
        collected.steps[column], collected.values[column] = [step], [value]
    elif steps[-1] == step:
        _check_same(collected, column, value, where)
    else:
        if step < steps[-1]:
            _check_order(collected, column, step, where)
        steps.append(step)
        collected.values[column].append(value)


def _check_order(collected: _Collected, column: str, step: int, where: str) -> None:
    """A column that is used must not go back in steps; columns may lag behind each other.

    CSVLogger writes late results, such as the monitor's own, with the step they belong to below rows of later steps.
    """
    if meaning_of(column) is not None:
        raise MetricsError(
            f"{where}: step {step} comes after step {collected.steps[column][-1]} (line {collected.lines[column]}). "
            "Sort the file by step; of a resumed run keep one start only."
        )


def _number(cell: Any, column: str, where: str) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        if meaning_of(column) is None:
            return float("nan")
        raise MetricsError(
            f"{where}, column `{column}`: {cell!r} is not a number. Leave the cell blank where nothing was logged."
        ) from None


def _check_same(collected: _Collected, column: str, value: float, where: str) -> None:
    before = collected.values[column][-1]
    same = value == before or (value != value and before != before)
    if not same and meaning_of(column) is not None:
        raise MetricsError(
            f"{where}, column `{column}`: {value} contradicts {before}, logged before at the same step "
            f"{collected.steps[column][-1]}. Keep one row for each step, or rename one of the columns."
        )


def _series(collected: _Collected, column: str, path: Path) -> tuple[list[int], list[float]]:
    meaning = meaning_of(column)
    values = collected.values[column]
    if meaning is None or meaning.convert is float:
        return collected.steps[column], values
    if any(value < 0 for value in values):
        raise MetricsError(f"{path}, column `{column}`: a sum of squares cannot be negative, got {min(values)}.")
    return collected.steps[column], [meaning.convert(value) for value in values]
