# SPDX-License-Identifier: Apache-2.0
"""Long tables: a column says which metric, or which data, the numbers of a row are of."""

from collections.abc import Iterable, Iterator
from typing import Any

from lightning_interp.measures.curve_names import HELDOUT_WORDS, TRAIN_WORDS
from lightning_interp.sources.metrics.format import Row

_METRIC = ("metric", "metric_name", "key", "tag", "name", "variable", "series")
_VALUE = ("value", "metric_value", "val", "scalar")
_SPLIT = ("phase", "split", "mode", "stage", "subset", "set", "partition", "type", "dataset", "data")


def wide(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of which each number has its own name, whatever the form of the table.

    >>> list(wide([(2, None, [("epoch", "0"), ("phase", "val"), ("loss", "1.5")])]))
    [(2, None, [('epoch', '0'), ('val/loss', '1.5')])]
    >>> list(wide([(2, None, [("step", "0"), ("metric", "val_loss"), ("value", "1.5")])]))
    [(2, None, [('step', '0'), ('val_loss', '1.5')])]
    """
    for line, step, cells in rows:
        yield line, step, _by_split(_by_metric(cells))


def _by_metric(cells: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    if len(cells) > 20:
        return cells
    plain = {name.strip().lower(): name for name, _ in cells}
    metric = next((plain[name] for name in _METRIC if name in plain), None)
    value = next((plain[name] for name in _VALUE if name in plain), None)
    if metric is None or value is None:
        return cells
    held = dict(cells)
    name = held[metric]
    if not isinstance(name, str) or not name.strip():
        return cells
    return [(each, cell) for each, cell in cells if each not in (metric, value)] + [(name.strip(), held[value])]


def _by_split(cells: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    found = next((pair for pair in cells if pair[0].strip().lower() in _SPLIT and _is_split(pair[1])), None)
    if found is None:
        return cells
    split = str(found[1]).strip().lower()
    return [(f"{split}/{name}" if _is_bare(name) else name, cell) for name, cell in cells if name != found[0]]


def _is_split(cell: Any) -> bool:
    return isinstance(cell, str) and cell.strip().lower() in HELDOUT_WORDS | TRAIN_WORDS


def _is_bare(name: str) -> bool:
    return not any(word in name.lower() for word in ("epoch", "step", "iter", "time", "lr", "run", "seed", "fold"))
