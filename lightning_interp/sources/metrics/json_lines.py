# SPDX-License-Identifier: Apache-2.0
"""JSON lines: one object a line, flat or with the values under ``values`` as in our own records.jsonl."""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.cells import filled_cells, whole_step
from lightning_interp.sources.metrics.columns import STEP_NAMES, understood
from lightning_interp.sources.metrics.format import Row
from lightning_interp.sources.metrics.text_file import open_text
from lightning_interp.store.surviving_records import lost_to_infinity, valid_rows


def matches(path: Path) -> Path | None:
    """A file whose first character that is not a space begins an object."""
    try:
        with path.open("rb") as binary:
            start = binary.read(4096)
    except OSError:  # whoever takes the path says why
        return None
    return path if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else None


def rows(path: Path, resumed: Mapping[int, int]) -> Iterator[Row]:
    """Rows of a file of JSON lines; a torn last line is left out.

    Raises:
        MetricsError: A line that is no JSON object, or has no step.
    """
    with open_text(path) as handle:
        decoded = _decoded(handle, path)
        first = next(decoded, None)
        if first is None:
            return
        chained = chain([first], decoded)
        if "values" in first[1]:
            yield from _record_rows(chained, path, resumed)
            return
        for line, data in chained:
            yield line, _json_step(data, f"{path}, line {line}"), filled_cells(data)


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


def _record_rows(records: Iterator[tuple[int, dict[str, Any]]], path: Path, resumed: Mapping[int, int]) -> Iterator[Row]:
    """Our own records: what a later start took back is dropped, the last row of a step stands, sorted by step."""
    keyed = ((_json_step(data, f"{path}, line {line}"), data.get("attempt", 0), (line, data)) for line, data in records)
    for step, (line, data) in valid_rows(keyed, resumed).items():
        lost = lost_to_infinity(data.get("skipped") or {})  # a loss that was not finite comes back as NaN
        yield line, step, [*filled_cells(data.get("values") or {}), *((name, "nan") for name in lost)]


def _json_step(data: Mapping[str, Any], where: str) -> int:
    for name in STEP_NAMES:
        if data.get(name) is not None:
            return whole_step(data[name], where)
    raise MetricsError(f"{where}: no `step`. {understood()}; found {', '.join(data) or 'nothing'}.")
