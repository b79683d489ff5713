# SPDX-License-Identifier: Apache-2.0
"""Cells of a row: which of them is the optimizer step, which are blank."""

from collections.abc import Mapping
from typing import Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.columns import STEP_NAMES

BLANK = frozenset(("", "none", "null"))
NO_METRIC = frozenset(("epoch", "attempt"))


def whole_step(cell: Any, where: str) -> int:
    """The optimizer step a cell holds.

    Raises:
        MetricsError: It holds none.
    """
    try:
        step = float(cell)
        if step >= 0 and step == int(step):
            return int(step)
    except (TypeError, ValueError, OverflowError):
        pass
    raise MetricsError(
        f"{where}, column `step`: {cell!r} is not a whole number from 0 on. Give each row its optimizer step."
    )


def filled_cells(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Name and cell of everything in an object that may be a metric."""
    skipped = (*STEP_NAMES, *NO_METRIC)
    return [(name, cell) for name, cell in data.items() if name not in skipped and _is_cell(cell)]


def _is_cell(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() not in BLANK
    return isinstance(cell, int | float)
