# SPDX-License-Identifier: Apache-2.0
"""Rows, one for each step in order, out of the two forms a metrics history can have in memory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_interp.errors import MetricsError

Row = tuple[int, dict[str, float]]


def rows_of(metrics: Mapping[str, Any], names: Sequence[str]) -> Iterator[Row]:
    """The records of a history in order of their steps.

    Args:
        metrics: A table of equally long columns, one of them ``step`` (NaN and None: not logged), or a history
            ``{name: (steps, values)}``.
        names: Columns to keep; others are skipped.

    Returns:
        Step and values of each record that holds at least one value.

    Raises:
        MetricsError: See `detect_phases`.
    """
    known = [name for name in names if name in metrics]
    if not known:
        found = ", ".join(sorted(str(name) for name in metrics)) or "nothing"
        raise MetricsError(f"detect_phases: none of the names {', '.join(names)} is there; found {found}.")
    return iter(_table_rows(metrics, known) if "step" in metrics else _history_rows(metrics, known))


def _table_rows(metrics: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
    steps = _steps(metrics["step"], "step")
    rows: list[Row] = [(step, {}) for step in steps]
    for name in names:
        column = metrics[name]
        if len(column) != len(steps):
            raise MetricsError(
                f"detect_phases: column `{name}` has {len(column)} values for {len(steps)} steps. "
                "Give every column one value for each step, NaN where nothing was logged."
            )
        for (_, values), value in zip(rows, column, strict=True):
            if value is not None and not math.isnan(value):
                values[name] = float(value)
    return [row for row in rows if row[1]]


def _history_rows(metrics: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
    merged: dict[int, dict[str, float]] = {}
    for name in names:
        steps, values = metrics[name]
        if len(steps) != len(values):
            raise MetricsError(
                f"detect_phases: `{name}` has {len(values)} values for {len(steps)} steps; give equally many."
            )
        for step, value in zip(_steps(steps, name), values, strict=True):
            merged.setdefault(step, {})[name] = float(value)
    return sorted(merged.items())


def _steps(raw: Sequence[Any], name: str) -> list[int]:
    """Whole, increasing steps."""
    steps = [int(step) for step in raw]
    for index, (given, step) in enumerate(zip(raw, steps, strict=True)):
        if given != step or step < 0 or (index and step <= steps[index - 1]):
            raise MetricsError(
                f"detect_phases: steps of `{name}` must be whole numbers, not negative and increasing; got {given} at "
                f"position {index} after {steps[index - 1] if index else 'nothing'}. Sort and merge rows."
            )
    return steps
