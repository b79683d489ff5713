# SPDX-License-Identifier: Apache-2.0
"""What is kept of what the monitor recorded of a run: a table, and what it found out about its data."""

import gzip
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lightning_interp.store.analysis_state import read_state
from lightning_interp.store.run import Run

DIGITS = 6
"""Significant digits that are kept."""
FOUND = ("null_loss", "null_error", "heldout_examples")
"""What the monitor finds out about the data by itself, and tells the detector."""


def write_metrics(run: Run, precursors: Mapping[str, Mapping[int, float]], path: Path) -> int:
    """A column for each measure, an empty cell where it had no value. The same run gives the same bytes.

    What a precursor saw stands in the first row at or after its step, so that it is never known earlier than it was.
    """
    values = {row.step: dict(row.values) for row in run.all_records}
    steps = sorted(values)
    for name, series in precursors.items():
        for step, value in sorted(series.items()):
            if (at := bisect_left(steps, step)) < len(steps):
                values[steps[at]][name] = value
    names = sorted({name for row in values.values() for name in row})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        lines = [["step", *names]]
        for step in steps:
            row = values[step]
            lines.append([str(step), *(f"{row[name]:.{DIGITS}g}" if name in row else "" for name in names)])
        packed.write("\n".join(",".join(line) for line in lines).encode() + b"\n")
    partial.replace(path)
    return len(lines) - 1


def found_by_monitor(run_dir: Path) -> dict[str, float]:
    """What the monitor found out about the data of a run, to as many digits as metrics have."""
    state = asdict(read_state(run_dir))
    return {name: rounded(state[name]) for name in FOUND if state[name] is not None}


def rounded(value: float) -> float:
    """A number to the digits that are kept; whole ones stay whole."""
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
