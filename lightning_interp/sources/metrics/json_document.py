# SPDX-License-Identifier: Apache-2.0
"""A JSON document that holds a whole history: ``trainer_state.json``, Keras histories, lists of objects or of values."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.json_values import NotJsonError, decoded, flat_cells
from lightning_interp.sources.metrics.text_file import lines_of, open_text, start_of

LARGEST = 64 * 2**20
"""Most characters of a document; one that is held whole costs about ten times that."""

_DEEPEST = 3
_KIND = "a JSON document"


def matches(path: Path) -> Path | None:
    """A file that begins as a JSON list, or as an object that does not end on its first line."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return None
    start = start_of(path).lstrip()
    if start[:1] == b"[":
        return path
    if start[:1] != b"{":
        return None
    first, following = _first_lines(path)
    if following:
        return None if _is_object(first) else path
    return path if b"[" in start or path.suffix.lower() == ".json" else None


def _first_lines(path: Path) -> tuple[str, str]:
    """The first two lines that are not blank."""
    with open_text(path) as handle:
        filled = (line.strip() for line in lines_of(handle, path) if line.strip())
        return next(filled, ""), next(filled, "")


def _is_object(line: str) -> bool:
    """Whether a line is an object, or would be with its end: JSON lines begin with one."""
    return line.startswith("{") and line.endswith(("}", "},")) and line.count("{") == line.count("}")


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of a document: the entries of its list of objects, or one for each place in its lists of numbers.

    In place of a line, the number of the entry.

    Raises:
        MetricsError: No JSON, larger than what is read, or without a history.
    """
    asked.row = "entry"
    content = _content(path)
    entries = _entries(content)
    if entries is None:
        series = _series(content)
        if not series:
            raise MetricsError(
                f"{path}: {_KIND} without a history: looked for a list of objects (such as `log_history`) or lists of "
                "numbers by name. Give CSV or JSONL."
            )
        yield from _of_series(series)
        return
    for number, entry in enumerate(entries, start=1):
        try:
            yield number, None, flat_cells(entry)
        except NotJsonError as err:
            raise MetricsError(f"{path}, entry {number}: {err}. Keep losses and accuracies only.") from err


def _content(path: Path) -> Any:
    with open_text(path) as handle:
        text = handle.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise MetricsError(f"{path}: {_KIND} of over {LARGEST:,} characters. Give one object on each line (JSONL), or CSV.")
    try:
        return decoded(text)
    except NotJsonError as err:
        raise MetricsError(
            f"{path}: neither {_KIND} nor JSON lines ({err}). Mend it there, or give one object on each line."
        ) from err


def _entries(content: Any) -> list[Mapping[str, Any]] | None:
    """The longest list of objects in a document."""
    lists = [found for found in _within(content, _DEEPEST) if isinstance(found, list)]
    objects = [[entry for entry in found if isinstance(entry, Mapping)] for found in lists]
    longest = max(objects, key=len, default=[])
    if not longest and isinstance(content, Mapping):
        numbered = [value for name, value in content.items() if str(name).isdigit() and isinstance(value, Mapping)]
        longest = numbered if len(numbered) > 1 else []
    return longest or None


def _series(content: Any) -> dict[str, list[Any]]:
    """Lists of numbers by name, of the object that holds most of them, with names of objects within it."""
    found: dict[str, list[Any]] = {}
    for holder in _within(content, _DEEPEST):
        here = _lists(holder, "", _DEEPEST) if isinstance(holder, Mapping) else {}
        found = here if len(here) > len(found) else found
    return found


def _lists(holder: Mapping[str, Any], before: str, depth: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in holder.items():
        if isinstance(value, list) and value and not any(isinstance(each, list | Mapping) for each in value):
            found[f"{before}{name}"] = value
        elif isinstance(value, Mapping) and len(value) > 1 and _is_numbered(value):
            found[f"{before}{name}"] = list(value.values())
        elif isinstance(value, Mapping) and depth:
            found |= _lists(value, f"{before}{name}/", depth - 1)
    return found


def _is_numbered(value: Mapping[str, Any]) -> bool:
    """Whether an object is a list as pandas writes one: its values under their places."""
    return all(name == str(at) and not isinstance(each, list | Mapping) for at, (name, each) in enumerate(value.items()))


def _of_series(series: Mapping[str, list[Any]]) -> Iterator[Row]:
    length = max(map(len, series.values()))
    for at in range(length):
        yield at + 1, None, [(name, values[at]) for name, values in series.items() if at < len(values)]


def _within(content: Any, depth: int) -> Iterator[Any]:
    """A value and the objects and lists in it, outer ones first."""
    yield content
    if depth and isinstance(content, Mapping):
        for value in content.values():
            if isinstance(value, Mapping | list):
                yield from _within(value, depth - 1)
