# SPDX-License-Identifier: Apache-2.0
"""Folders with a table for each series, as DVCLive writes them: ``plots/metrics/train/loss.tsv``."""

from collections.abc import Iterator
from pathlib import Path

from lightning_interp.sources.metrics import csv_table
from lightning_interp.sources.metrics.format import Asked, Row

_PLACES = ("plots/metrics", "dvclive/plots/metrics", "metrics", ".")
_SUFFIX = ".tsv"
_AXES = ("step", "timestamp")


def matches(path: Path) -> Path | None:
    """The folder of series that a folder of DVCLive is or holds."""
    if not path.is_dir():
        return None
    folders = (path / place for place in _PLACES)
    return next((each for each in folders if each.is_dir() and next(each.rglob(f"*{_SUFFIX}"), None) is not None), None)


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of every table, one after the other; a series is called by its place in the folder.

    Raises:
        MetricsError: A table that cannot be read.
    """
    for file in sorted(path.rglob(f"*{_SUFFIX}")):
        asked.where = file
        name = file.relative_to(path).with_suffix("").as_posix()
        for line, step, cells in csv_table.rows(file, asked):
            axes = [(column, cell) for column, cell in cells if column in _AXES]
            values = [cell for column, cell in cells if column not in _AXES]
            yield line, step, [*axes, *((name, cell) for cell in values[:1])]
