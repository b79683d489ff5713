# SPDX-License-Identifier: Apache-2.0
"""Records, one for each step in order, out of the two forms a metrics history can have in memory."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_interp.core.errors import MetricsError

Row = tuple[int, dict[str, float]]
Series = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps and values of what was logged under one name."""


class HistoryTable:
    """A whole history by columns.

    Args:
        series: Increasing steps, and values, by record name.

    Attributes:
        steps: Every step at which something was logged, increasing.
    """

    def __init__(self, series: Mapping[str, Series]) -> None:
        union = np.unique(np.concatenate([steps for steps, _ in series.values()]))
        self.steps: list[int] = union.astype(np.int64).tolist()
        self._values = {name: np.full(len(union), np.nan) for name in series}
        self._logged = {name: np.zeros(len(union), dtype=bool) for name in series}
        for name, (steps, values) in series.items():
            at = np.searchsorted(union, steps)
            self._values[name][at] = values
            self._logged[name][at] = True

    def __len__(self) -> int:
        return len(self.steps)

    def row(self, at: int) -> Row:
        """Step and values of one record."""
        return self.steps[at], {name: float(self._values[name][at]) for name, there in self._logged.items() if there[at]}

    def first_from(self, step: float, at: int) -> int:
        """Index of the first record at or after a step, counted from record `at` on."""
        return bisect_left(self.steps, step, lo=at)

    def finite(self, name: str, at: int, end: int) -> tuple[list[int], list[float]]:
        """Steps and values of the finite points of one name in records [at, end)."""
        values = self._values[name][at:end]
        kept = np.flatnonzero(np.isfinite(values))
        return [self.steps[at + index] for index in kept.tolist()], values[kept].tolist()

    def names(self) -> list[str]:
        """Names of the series."""
        return list(self._values)

    def holding(self, names: Iterable[str]) -> list[int]:
        """Indices of the records that hold a value of one of these names, finite or not."""
        return self._where(self._logged[name] for name in names if name in self._logged)

    def nonfinite(self, names: Iterable[str]) -> list[int]:
        """Indices of the records that hold a value of one of these names that is not finite."""
        here = (name for name in names if name in self._logged)
        return self._where(self._logged[name] & ~np.isfinite(self._values[name]) for name in here)

    def over(self, names: Iterable[str], limit: float) -> list[int]:
        """Indices of the records that hold a value of one of these names over a limit."""
        return self._where(self._values[name] > limit for name in names if name in self._values)

    def _where(self, masks: Iterable[NDArray[np.bool_]]) -> list[int]:
        found = np.zeros(len(self), dtype=bool)
        for mask in masks:
            found |= mask
        indices: list[int] = np.flatnonzero(found).tolist()
        return indices


def records_of(metrics: Mapping[str, Any], names: Sequence[str]) -> HistoryTable:
    """The records of a history in order of their steps; those that hold no value are left out.

    Args:
        metrics: A table of equally long columns, one of them ``step`` (NaN and None: not logged), or a history
            ``{name: (steps, values)}``.
        names: Columns to keep; others are skipped.

    Raises:
        MetricsError: See `detect_phases`.
    """
    known = [name for name in names if name in metrics]
    if not known:
        found = ", ".join(sorted(str(name) for name in metrics)) or "nothing"
        raise MetricsError(f"detect_phases: none of the names {', '.join(names)} is there; found {found}.")
    return HistoryTable(_table_series(metrics, known) if "step" in metrics else _history_series(metrics, known))


def rows_of(metrics: Mapping[str, Any], names: Sequence[str]) -> Iterator[Row]:
    """Step and values of each record of a history; arguments and errors as for `records_of`."""
    records = records_of(metrics, names)
    return (records.row(at) for at in range(len(records)))


def _table_series(metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, Series]:
    steps, found = _steps(metrics["step"], "step"), {}
    for name in names:
        column = np.asarray(metrics[name], dtype=np.float64)
        if len(column) != len(steps):
            raise MetricsError(
                f"detect_phases: column `{name}` has {len(column)} values for {len(steps)} steps. "
                "Give every column one value for each step, NaN where nothing was logged."
            )
        logged = ~np.isnan(column)
        found[name] = steps[logged], column[logged]
    return found


def _history_series(metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, Series]:
    found = {}
    for name in names:
        steps, values = metrics[name]
        if len(steps) != len(values):
            raise MetricsError(
                f"detect_phases: `{name}` has {len(values)} values for {len(steps)} steps; give equally many."
            )
        found[name] = _steps(steps, name), np.asarray(values, dtype=np.float64)
    return found


def _steps(raw: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Whole, increasing steps; they are exact up to 2^53."""
    steps = np.asarray(raw, dtype=np.float64)
    before = np.concatenate([[-1.0], steps[:-1]])
    wrong = np.flatnonzero(~((steps == np.floor(steps)) & np.isfinite(steps) & (steps > before)))
    if len(wrong):
        index = int(wrong[0])
        raise MetricsError(
            f"detect_phases: steps of `{name}` must be whole numbers, not negative and increasing; got {raw[index]} at "
            f"position {index} after {raw[index - 1] if index else 'nothing'}. Sort and merge rows."
        )
    return steps
