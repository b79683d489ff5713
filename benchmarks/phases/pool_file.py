# SPDX-License-Identifier: Apache-2.0
"""A pool of recorded runs on disk: ``index.jsonl`` with a line for each run, and its metrics in ``NAME.csv.gz``."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_interp.core.errors import MetricsError

RUNS = Path(__file__).parent / "runs"
"""The pool that is recorded here."""
ORDINARY_RUNS = RUNS.with_name("ordinary_runs")
"""The ordinary trainings, a pool for each of their parts."""
INDEX = "index.jsonl"
NEEDED = ("name", "part", "classes", "weight_decay", "answers_shuffled", "cross_entropy")
NEEDED_ORDINARY = (
    *("name", "part", "family", "config", "kind", "classes", "null_loss", "null_error", "heldout_examples"),
    *("learnable", "switched", "third_party"),
)
COLUMNS = ("step", "train_loss", "train_accuracy", "heldout_loss", "heldout_accuracy", "weight_norm")
"""What labels and rivals read of every run."""
ORDINARY_COLUMNS = ("step", "train_loss", "heldout_loss")
"""What labels read of every ordinary training; accuracies are there where answers are classes."""


@dataclass(frozen=True)
class PoolEntry:
    """One recorded run.

    Attributes:
        facts: Its line in the index, with everything in `NEEDED` (`NEEDED_ORDINARY`).
        metrics: Columns of equal length by record name, ``step`` among them, NaN if there was no value.
    """

    facts: Mapping[str, Any]
    metrics: Mapping[str, NDArray[np.float64]]


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Lines of the index; one that was broken off in writing is left out, and an empty list if there is no index yet.

    Raises:
        MetricsError: A line is no JSON object.
    """
    path = folder / INDEX
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as err:
        raise MetricsError(f"{path}: a line is not a JSON object ({err}). Restore the file.") from err


def read_pool(folder: Path) -> list[PoolEntry]:
    """Every run of a pool, by name.

    Raises:
        MetricsError: There is no index, a line lacks something, or a run's metrics are missing or unreadable.
    """
    return _read(folder, NEEDED, COLUMNS)


def read_ordinary(folder: Path) -> list[PoolEntry]:
    """Every ordinary training, by name; errors as for `read_pool`."""
    return _read(folder, NEEDED_ORDINARY, ORDINARY_COLUMNS)


def pools_in(folder: Path) -> list[Path]:
    """The pools inside a folder; none where there is no folder."""
    return sorted(path.parent for path in folder.glob(f"*/{INDEX}"))


def is_ordinary(folder: Path) -> bool:
    """Whether a pool is one of ordinary trainings, by the first line of its index; errors as for `read_index`."""
    return any("family" in line for line in read_index(folder)[:1])


def _read(folder: Path, needed: Sequence[str], columns: Sequence[str]) -> list[PoolEntry]:
    lines = read_index(folder)
    if not lines:
        raise MetricsError(f"{folder}: no pool of runs ({INDEX} is missing or empty). Record one, or name its folder.")
    return [_entry(folder, facts, needed, columns) for facts in sorted(lines, key=lambda line: str(line.get("name")))]


def _entry(folder: Path, facts: Mapping[str, Any], needed: Sequence[str], columns: Sequence[str]) -> PoolEntry:
    missing = [key for key in needed if key not in facts]
    if missing:
        raise MetricsError(f"{folder / INDEX}: the line of {facts.get('name')!r} lacks {', '.join(missing)}.")
    path = folder / f"{Path(str(facts['name'])).name}.csv.gz"
    try:
        table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True, deletechars="", replace_space=" "))
    except (OSError, EOFError, ValueError, zlib.error) as err:
        raise MetricsError(f"{path}: cannot be read ({err}). Record the run again.") from err
    lacking = [name for name in columns if name not in (table.dtype.names or ())]
    if lacking or not len(table):
        raise MetricsError(f"{path}: no rows, or no column {', '.join(lacking)}. Record the run again.")
    return PoolEntry(facts, {name: table[name].astype(float) for name in table.dtype.names or ()})
