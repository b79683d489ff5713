# SPDX-License-Identifier: Apache-2.0
"""Rows of a CSV, JSONL or W&B metrics file: line number, optimizer step, and the cells that are not blank."""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.metric_names import OWN_STEP, STEP_NAMES, understood
from lightning_interp.sources.metrics.wandb_file import wandb_history
from lightning_interp.store.surviving_records import lost_to_infinity, valid_rows

Row = tuple[int, int, list[tuple[str, Any]]]
"""Line in the file, optimizer step, (column, cell) pairs."""

BLANK = frozenset(("", "none", "null"))
_IGNORED = frozenset(("epoch", "attempt"))


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, and tell people in one sentence why it cannot be read.

    Raises:
        MetricsError: Missing, a folder, empty, not readable or not text.
    """
    if path.is_dir():
        raise MetricsError(
            f"{path}: a folder without run.json. Give a CSV or JSONL file, a run directory, a W&B run or a TensorBoard log."
        )
    try:
        with path.open("rb") as binary:
            start = binary.read(4096)
        if not start.strip():
            raise MetricsError(f"{path}: the file is empty. Give a file with a header and at least one record.")
        if b"\0" in start:
            raise MetricsError(f"{path}: a binary file. Give the metrics as CSV or JSONL text.")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            yield handle
    except FileNotFoundError as err:
        raise MetricsError(f"{path}: no such file. Check the path.") from err
    except UnicodeDecodeError as err:
        raise MetricsError(f"{path}: not UTF-8 text ({err.reason}). Give the metrics as CSV or JSONL text.") from err
    except OSError as err:
        raise MetricsError(f"{path}: cannot be read ({err.strerror or err}).") from err


def is_jsonl(path: Path) -> bool:
    """Whether a file holds JSON lines, by its first character that is not a space."""
    with path.open("rb") as binary:
        return binary.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def csv_rows(handle: TextIO, path: Path) -> Iterator[Row]:
    """Rows of a CSV file; columns are separated by commas, semicolons or tabs, whichever the header holds.

    In a W&B history with rows of the monitor, these have a step of their own; rows with no optimizer step are left out.

    Raises:
        MetricsError: No step column, a column twice, a row longer than the header, or a step that is no whole number.
    """
    header = handle.readline()
    delimiter = max(",;\t", key=header.count)
    try:
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
        steps_at = _step_columns(columns, path)
        ignored = {"", *_IGNORED, *(columns[at].lower() for at in steps_at)}
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
    step = _step(row[step_at] if step_at < len(row) else "", where)
    width = len(row)
    return step, [(name, row[at]) for at, name in used if at < width and row[at].strip().lower() not in BLANK]


def _step(cell: Any, where: str) -> int:
    try:
        step = float(cell)
        if step >= 0 and step == int(step):
            return int(step)
    except (TypeError, ValueError, OverflowError):
        pass
    raise MetricsError(
        f"{where}, column `step`: {cell!r} is not a whole number from 0 on. Give each row its optimizer step."
    )


def jsonl_rows(handle: TextIO, path: Path, resumed: Mapping[int, int]) -> Iterator[Row]:
    """Rows of a JSONL file, flat or with the values under ``values``; a torn last line is left out.

    Raises:
        MetricsError: A line that is no JSON object, or has no step.
    """
    rows = _decoded(handle, path)
    first = next(rows, None)
    if first is None:
        return
    chained = chain([first], rows)
    if "values" in first[1]:
        yield from _record_rows(chained, path, resumed)
        return
    for line, data in chained:
        yield line, _json_step(data, f"{path}, line {line}"), _cells(data)


def wandb_rows(path: Path) -> Iterator[Row]:
    """Rows of a W&B run on disk; the line is the number of the record in its file.

    Raises:
        MetricsError: See `wandb_history`.
    """
    for number, step, values in wandb_history(path):
        yield number, _step(step, f"{path}, record {number}"), _cells(values)


def _decoded(handle: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(handle, start=1):
        if not text.strip():
            continue
        try:
            data = json.loads(text)
        except ValueError as err:
            if not text.endswith("\n"):
                return
            raise MetricsError(f"{path}, line {line}: not a JSON object ({err}). Give one object on each line.") from err
        if not isinstance(data, dict):
            raise MetricsError(
                f"{path}, line {line}: {type(data).__name__} in place of a JSON object. Give one on each line."
            )
        yield line, data


def _record_rows(rows: Iterator[tuple[int, dict[str, Any]]], path: Path, resumed: Mapping[int, int]) -> Iterator[Row]:
    """Our own records: what a later start took back is dropped, the last row of a step stands, sorted by step."""
    keyed = ((_json_step(data, f"{path}, line {line}"), data.get("attempt", 0), (line, data)) for line, data in rows)
    for step, (line, data) in valid_rows(keyed, resumed).items():
        yield line, step, _record_cells(data)


def _record_cells(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Values of a record; a loss skipped because it was not finite comes back as NaN."""
    lost = lost_to_infinity(data.get("skipped") or {})
    return [*_cells(data.get("values") or {}), *((name, "nan") for name in lost)]


def _cells(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    skipped = (*STEP_NAMES, *_IGNORED)
    return [(name, cell) for name, cell in data.items() if name not in skipped and _is_cell(cell)]


def _is_cell(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() not in BLANK
    return isinstance(cell, int | float)


def _json_step(data: Mapping[str, Any], where: str) -> int:
    for name in STEP_NAMES:
        if data.get(name) is not None:
            return _step(data[name], where)
    raise MetricsError(f"{where}: no `step`. {understood()}; found {', '.join(data) or 'nothing'}.")
