# SPDX-License-Identifier: Apache-2.0
"""Metrics of an MLflow run in a file store: ``metrics/NAME`` with lines of time, value and step."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.numbers import NotNumberError, number, whole
from lightning_interp.sources.metrics.text_file import lines_of, open_text, start_of

_FOLDER = "metrics"
_LINE = re.compile(rb"^\d{9,14} \S+( -?\d+)?( \S+){0,2}\s*(\n|$)")
_SHOWN = 10
_MOST_FILES = 20_000


def matches(path: Path) -> Path | None:
    """A run's folder, its ``metrics`` folder, one file of it, or a folder with exactly one run somewhere below it.

    Raises:
        MetricsError: More than one run lies below the folder.
    """
    if path.is_file():
        return path if _LINE.match(start_of(path)) else None
    if not path.is_dir():
        return None
    for folder in (path / _FOLDER, path):
        if _holds_series(folder):
            return folder
    found = sorted(_runs(path))
    if len(found) > 1:
        names = [str(each.parent.relative_to(path)) for each in found[:_SHOWN]] + ["…"] * (len(found) > _SHOWN)
        raise MetricsError(f"{path}: holds {len(found)} MLflow runs. Name one of them: {', '.join(names)}.")
    return found[0] if found else None


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of a run, series by series; names of series may have folders in them.

    Where every step is 0 nobody gave steps: the order of the values stands for them.

    Raises:
        MetricsError: A line that is no time, value and step.
    """
    files = [path] if path.is_file() else sorted(_files(path))
    for file in files:
        asked.where = file
        name = _series_name(path) if path.is_file() else file.relative_to(path).as_posix()
        values = list(_values(file, asked))
        counted = len(values) > 1 and all(step == values[0][1] for _, step, _ in values)
        if counted:
            asked.note(f"{file}: every value has step {values[0][1]}; their order stands for steps.")
        for at, (line, step, value) in enumerate(values):
            yield line, at if counted else step, [(name, value)]


def _values(file: Path, asked: Asked) -> Iterator[tuple[int, int, float]]:
    with open_text(file) as handle:
        for line, text in enumerate(lines_of(handle, file), start=1):
            parts = text.split()
            if not parts:
                continue
            try:
                value = number(parts[1])
                step = whole(float(parts[2])) if len(parts) > 2 else line - 1
            except (IndexError, NotNumberError, ValueError):
                value = step = None
            if value is None or step is None:
                if not text.endswith("\n"):
                    asked.note(f"{file}, line {line}: the last line is cut short, left out.")
                    return
                raise MetricsError(f"{file}, line {line}: not time, value and step as MLflow writes them. Remove the line.")
            yield line, step, value


def _series_name(file: Path) -> str:
    parts = file.parts
    return "/".join(parts[parts.index(_FOLDER) + 1 :]) if _FOLDER in parts[:-1] else file.name


def _holds_series(folder: Path) -> bool:
    first = next(iter(sorted(_files(folder))), None) if folder.name == _FOLDER and folder.is_dir() else None
    return first is not None and _LINE.match(start_of(first)) is not None


def _files(folder: Path) -> Iterator[Path]:
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > _MOST_FILES:
                raise MetricsError(f"{folder}: over {_MOST_FILES:,} files below it. Give the folder of one run.")
            yield Path(parent, name)


def _runs(root: Path) -> Iterator[Path]:
    """Folders of series below a folder of MLflow's: beside each lies the run's meta.yaml."""
    for seen, (folder, below, files) in enumerate(os.walk(root)):
        if seen > _MOST_FILES:
            return
        if "meta.yaml" in files and _FOLDER in below:
            below.clear()
            if any(_files(Path(folder, _FOLDER))):
                yield Path(folder, _FOLDER)
