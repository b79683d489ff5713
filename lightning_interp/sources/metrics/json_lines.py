# SPDX-License-Identifier: Apache-2.0
"""JSON lines: one object a line, flat, nested, or with the values under ``values`` as in our own records.jsonl."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.json_values import NotJsonError, decoded, flat_cells
from lightning_interp.sources.metrics.numbers import LARGEST_STEP
from lightning_interp.sources.metrics.text_file import lines_of, open_text, start_of
from lightning_interp.store.surviving_records import lost_to_infinity, valid_rows


def matches(path: Path) -> Path | None:
    """A file whose first character that is not a space begins an object."""
    return path if start_of(path).lstrip()[:1] == b"{" else None


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of a file of JSON lines; a torn last line is left out.

    Raises:
        MetricsError: A line that is no JSON object.
    """
    with open_text(path) as handle:
        objects = _objects(handle, path, asked)
        first = next(objects, None)
        if first is None:
            return
        chained = chain([first], objects)
        if isinstance(first[1].get("values"), Mapping) and "step" in first[1]:
            yield from _record_rows(chained, path, asked.resumed)
            return
        for line, data in chained:
            try:
                yield line, None, flat_cells(data)
            except NotJsonError as err:
                raise MetricsError(f"{path}, line {line}: {err}. Keep losses and accuracies only.") from err


def _objects(handle: TextIO, path: Path, asked: Asked) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(lines_of(handle, path), start=1):
        if not text.strip(" \t\r\n\0,"):
            continue
        try:
            data = decoded(text.strip().strip("\0"))
        except NotJsonError as err:
            if not text.endswith("\n"):
                asked.note(f"{path}, line {line}: the last line is cut short, left out.")
                return
            raise MetricsError(f"{path}, line {line}: not a JSON object ({err}). Give one object on each line.") from err
        if not isinstance(data, dict):
            raise MetricsError(
                f"{path}, line {line}: {type(data).__name__} in place of a JSON object. Give one on each line."
            )
        yield line, data


def _record_rows(records: Iterator[tuple[int, dict[str, Any]]], path: Path, resumed: Mapping[int, int]) -> Iterator[Row]:
    """Our own records: what a later start took back is dropped, the last row of a step stands, sorted by step."""
    keyed = ((_step(data, f"{path}, line {line}"), _attempt(data), (line, data)) for line, data in records)
    for step, (line, data) in valid_rows(keyed, resumed).items():
        lost = lost_to_infinity(_mapping(data.get("skipped")))  # a loss that was not finite comes back as NaN
        yield line, step, [*flat_cells(_mapping(data.get("values"))), *((name, "nan") for name in lost)]


def _step(data: Mapping[str, Any], where: str) -> int:
    step = data.get("step")
    if isinstance(step, int) and not isinstance(step, bool) and 0 <= step <= LARGEST_STEP:
        return step
    raise MetricsError(f"{where}, `step`: {step!r} is not a whole number from 0 on. Give each row its optimizer step.")


def _attempt(data: Mapping[str, Any]) -> int:
    attempt = data.get("attempt", 0)
    return attempt if isinstance(attempt, int) else 0


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}
