# SPDX-License-Identifier: Apache-2.0
"""CSV tables: one row a step under a header, as CSVLogger writes them and W&B exports them."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.cells import BLANK, NO_METRIC, whole_step
from lightning_interp.sources.metrics.columns import OWN_STEP, STEP_NAMES, understood
from lightning_interp.sources.metrics.format import Row
from lightning_interp.sources.metrics.text_file import open_text


def matches(path: Path) -> Path | None:
    """Any path: what keeps it from being a table is said when its rows are read."""
    return path


def rows(path: Path, _resumed: Mapping[int, int]) -> Iterator[Row]:
    """Rows of a CSV file; columns are separated by commas, semicolons or tabs, whichever the header holds.

    In a W&B history with rows of the monitor, these have a step of their own; rows with no optimizer step are left out.

    Raises:
        MetricsError: No text file, no step column, a column twice, a row longer than the header, or a step that is no whole
            number.
    """
    with open_text(path) as handle:
        yield from _table_rows(handle, path)


def _table_rows(handle: TextIO, path: Path) -> Iterator[Row]:
    header = handle.readline()
    delimiter = max(",;\t", key=header.count)
    try:
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
        steps_at = _step_columns(columns, path)
        ignored = {"", *NO_METRIC, *(columns[at].lower() for at in steps_at)}
        used = [(at, name) for at, name in enumerate(columns) if name.lower() not in ignored]
        reader = csv.reader(handle, delimiter=delimiter)
        for row in reader:
            if row and (step_at := _step_at(row, columns, steps_at)) is not None:
                line = reader.line_num + 1
                yield line, *_csv_row(row, columns, step_at, used, f"{path}, line {line}")
    except csv.Error as err:
        raise MetricsError(f"{path}: not a CSV file ({err}).") from err


def _step_columns(columns: list[str], path: Path) -> list[int]:
    """Where a row can have its step: the surest column, and before it that of the monitor's own rows."""
    repeated = {name for name in columns if name and columns.count(name) > 1}
    if repeated:
        raise MetricsError(f"{path}, line 1: column `{sorted(repeated)[0]}` appears twice. Rename or remove one of them.")
    plain = [name.lower() for name in columns]
    found = [name for name in STEP_NAMES if name in plain]
    if not found:
        raise MetricsError(f"{path}, line 1: no column `step`. {understood()}; found {', '.join(columns)}.")
    if OWN_STEP in found:  # beside optimizer steps W&B's count is none
        found = [OWN_STEP, *(name for name in found if name not in (OWN_STEP, STEP_NAMES[-1]))][:2]
    else:
        found = found[:1]
    return [plain.index(name) for name in found]


def _step_at(row: list[str], columns: list[str], steps_at: list[int]) -> int | None:
    """Where a row has its step; None for one without, which a history with rows of the monitor may hold."""
    filled = (at for at in steps_at if at < len(row) and row[at].strip())
    return next(filled, None if columns[steps_at[0]].lower() == OWN_STEP else steps_at[0])


def _csv_row(
    row: list[str], columns: list[str], step_at: int, used: list[tuple[int, str]], where: str
) -> tuple[int, list[tuple[str, Any]]]:
    if len(row) > len(columns):
        raise MetricsError(f"{where}: {len(row)} cells under {len(columns)} columns. Check the separator and quotes.")
    step = whole_step(row[step_at] if step_at < len(row) else "", where)
    width = len(row)
    return step, [(name, row[at]) for at, name in used if at < width and row[at].strip().lower() not in BLANK]
