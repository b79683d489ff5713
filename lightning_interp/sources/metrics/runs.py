# SPDX-License-Identifier: Apache-2.0
"""Which run each column and row of a file is of; two runs are never read as one."""

from collections.abc import Iterable
from pathlib import Path

from lightning_interp.sources.metrics.axis import EPOCH_NAMES, STEP_NAMES, axis_name
from lightning_interp.sources.metrics.columns import run_of
from lightning_interp.sources.metrics.grid import RUN_NAMES, Grid
from lightning_interp.sources.metrics.refusals import no_run, several_runs


def columns_of_run(grid: Grid, curves: Iterable[str], path: Path) -> tuple[list[str], str | None]:
    """Curves of the only run, or of the one that was asked for, by the names before them in W&B's exports.

    Raises:
        MetricsError: Several runs, and none was asked for.
    """
    curves = list(curves)
    runs = list(dict.fromkeys(run for name in curves if (run := run_of(name)) is not None))
    if not runs:
        return curves, None
    asked = grid.asked.run
    if asked is None and len(runs) > 1:
        raise several_runs(path, runs, "their names stand before the columns")
    run = asked if asked in runs else runs[0] if asked is None else _by_number(runs, asked)
    if run is None:
        raise no_run(path, str(asked), runs)
    return [name for name in curves if run_of(name) in (run, None)], run


def rows_of_run(grid: Grid, rows: list[int], path: Path) -> tuple[list[int], str | None]:
    """Rows of the only run, or of the one that was asked for, by a column that names the run.

    Values that follow each other in steps are parts of one run, whatever the column is called.

    Raises:
        MetricsError: Several runs, and none was asked for.
    """
    for column in sorted(grid.texts, key=lambda name: RUN_NAMES.index(name.strip().lower())):
        texts = grid.texts[column]
        named = {row: texts[row] for row in rows if row < len(texts) and texts[row]}
        runs = list(dict.fromkeys(named.values()))
        if len(runs) < 2 or not _overlap(grid, named, runs):
            continue
        asked = grid.asked.run
        if asked is None:
            raise several_runs(path, runs, f"column `{column}` names them")
        run = asked if asked in runs else _by_number(runs, asked)
        if run is None:
            raise no_run(path, asked, runs)
        return [row for row in rows if named.get(row) == run], run
    return rows, None


def _overlap(grid: Grid, named: dict[int, str], runs: list[str]) -> bool:
    """Whether several runs hold the same steps or epochs, or nobody says what step a row is."""
    axes = [name for spelling in (*STEP_NAMES, *EPOCH_NAMES) for name in grid.columns if axis_name(name) == spelling]
    for column in axes:
        here = grid.axis_values(column)
        seen: dict[str, set[float]] = {run: set() for run in runs}
        for row, run in named.items():
            if row in here:
                seen[run].add(here[row])
        filled = [values for values in seen.values() if values]
        if filled:
            return len(set.union(*filled)) < sum(map(len, filled))
    return True


def _by_number(runs: list[str], asked: str | None) -> str | None:
    return runs[int(asked) - 1] if asked is not None and asked.isdecimal() and 0 < int(asked) <= len(runs) else None
