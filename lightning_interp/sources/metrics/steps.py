# SPDX-License-Identifier: Apache-2.0
"""The step of every row of a file, and what its steps are."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.axis import (
    EPOCH_NAMES,
    OPTIMIZER_STEPS,
    OWN_STEP,
    STEP_NAMES,
    WANDB_COUNT,
    Axis,
    Kind,
    axis_name,
)
from lightning_interp.sources.metrics.columns import run_of
from lightning_interp.sources.metrics.grid import Grid
from lightning_interp.sources.metrics.numbers import whole

_MOST_DOUBLE = 0.1
"""Largest share of values of a column at an epoch they share with the one before, if epochs are the axis."""
_LIGHTNING = "trainer/global_step"


class Steps:
    """Steps by row, of the rows that hold a curve.

    Attributes:
        axis: What they are.
        of: Step by row; rows without one are not in it.
    """

    def __init__(self, axis: Axis, of: Mapping[int, int]) -> None:
        self.axis, self.of = axis, of


def find_steps(grid: Grid, rows: Iterable[int], curves: Iterable[str]) -> Steps:
    """Find the axis of a file.

    Args:
        grid: The file.
        rows: Rows that count, increasing; others are of runs that were not asked for.
        curves: Names of the columns that hold curves.

    Raises:
        MetricsError: The column that says the step holds what is none.
    """
    rows = list(rows)
    if any(grid.steps[row] >= 0 for row in rows[:1]):
        return Steps(OPTIMIZER_STEPS, {row: grid.steps[row] for row in rows if grid.steps[row] >= 0})
    asked = grid.asked.columns.get("step")
    if asked is not None:
        kind: Kind = "epochs" if axis_name(asked) in EPOCH_NAMES else "optimizer steps"
        return Steps(Axis(kind, asked), _whole_steps(grid, asked, rows))
    named = _by_spelling(grid)
    if OWN_STEP in named:
        return _beside_own_rows(grid, named, rows)
    for spelling, column in named.items():
        found = _usable(grid, spelling, column, rows, curves, named)
        if found is not None:
            return found
    return Steps(Axis("log calls"), _counted(grid, rows))


def _by_spelling(grid: Grid) -> dict[str, str]:
    """Columns that may be the axis, the surest first; Lightning's own name is surer than any `step`."""
    found = {axis_name(name): name for name in grid.columns if axis_name(name) and grid.columns[name].at}
    order = (_LIGHTNING, *STEP_NAMES, *EPOCH_NAMES)
    return {spelling: found[spelling] for spelling in dict.fromkeys(order) if spelling in found}


def _beside_own_rows(grid: Grid, named: Mapping[str, str], rows: list[int]) -> Steps:
    """The monitor's own rows have their step with them; beside them W&B's count is no step, and rows without one go."""
    own = _whole_steps(grid, named[OWN_STEP], rows)
    others = [row for row in rows if row not in own]
    for spelling in named:
        if spelling in STEP_NAMES and spelling not in (OWN_STEP, WANDB_COUNT):
            found = _whole_steps(grid, named[spelling], others)
            if 2 * len(found) >= len(others) and not _is_log_count(grid, spelling, named[spelling]):
                own = {**found, **own}
                break
    if len(own) < len(rows):
        grid.asked.note(f"{len(rows) - len(own):,} rows without an optimizer step beside those of the monitor: left out.")
    return Steps(Axis("optimizer steps", named[OWN_STEP]), own)


def _usable(
    grid: Grid, spelling: str, column: str, rows: list[int], curves: Iterable[str], named: Mapping[str, str]
) -> Steps | None:
    """Steps by one column, None if it cannot be the axis: few rows have it, or it is constant or begins anew each epoch."""
    here = grid.axis_values(column)
    wrong = grid.columns[column].wrong
    held = [row for row in rows if row in here]
    if 2 * len(held) < len(rows) and not (wrong and spelling in STEP_NAMES):
        return None
    if spelling in EPOCH_NAMES:
        return _by_epochs(grid, column, held, curves)
    if len(held) > 1 and len({here[row] for row in held}) == 1 and len(rows) > 1:
        grid.asked.note(f"Column `{column}` is {here[held[0]]:g} in every row, so it is not the step.")
        return None
    epoch = next((named[each] for each in EPOCH_NAMES if each in named), None)
    if epoch is not None and _begins_anew(here, grid.axis_values(epoch), held):
        grid.asked.note(f"Column `{column}` begins anew with every `{epoch}`, so it is not the optimizer step.")
        return None
    kind: Kind = "log calls" if _is_log_count(grid, spelling, column) else "optimizer steps"
    found = _whole_steps(grid, column, rows)
    without = [row for row in rows if row not in found]
    if without:
        grid.asked.note(f"{len(without):,} rows without `{column}`, the first {grid.where(without[0])}.")
    return Steps(Axis(kind, column), found)


def _is_log_count(grid: Grid, spelling: str, column: str) -> bool:
    """Whether a column is W&B's count of log calls, called `Step` in its exports."""
    return spelling == WANDB_COUNT or (column == "Step" and any(run_of(name) for name in (*grid.columns, *grid.others)))


def _by_epochs(grid: Grid, column: str, held: list[int], curves: Iterable[str]) -> Steps | None:
    here = grid.axis_values(column)
    if len(held) > 1 and len({here[row] for row in held}) == 1:
        grid.asked.note(f"Column `{column}` is {here[held[0]]:g} in every row, so rows are counted.")
        return None
    if any(whole(here[row]) is None for row in held):
        return None
    for curve in curves:
        at = [here[row] for row in grid.columns[curve].at if row in here]
        double = sum(before == after for before, after in pairwise(at))
        if double > max(1, _MOST_DOUBLE * len(at)):
            grid.asked.note(f"Several rows of `{curve}` have the same `{column}`, so rows are counted.")
            return None
    return Steps(Axis("epochs", column), _whole_steps(grid, column, held))


def _begins_anew(steps: Mapping[int, float], epochs: Mapping[int, float], held: list[int]) -> bool:
    """Whether steps go back just where epochs go on, more than once and mostly."""
    back = [(before, row) for before, row in pairwise(held) if steps[row] < steps[before]]
    risen = sum(epochs.get(row, 0) > epochs.get(before, 0) for before, row in back)
    return len(back) > 1 and 2 * risen > len(back)


def _whole_steps(grid: Grid, column: str, rows: Iterable[int]) -> dict[int, int]:
    if column not in grid.columns:
        return {}
    here, found = grid.axis_values(column), {}
    wrong = grid.columns[column].wrong
    for row in rows:
        if wrong is not None and row == wrong[0]:
            raise _no_step(grid, column, row, wrong[1])
        if row in here:
            step = whole(here[row])
            if step is None:
                raise _no_step(grid, column, row, f"{here[row]:.17g}")
            found[row] = step
    return found


def _no_step(grid: Grid, column: str, row: int, cell: str) -> MetricsError:
    return MetricsError(
        f"{grid.where(row)}, column `{column}`: {cell!r} is not a whole number from 0 on. Give each row its optimizer step, "
        "or name the column that holds it: --columns step=COLUMN"
    )


def _counted(grid: Grid, rows: list[int]) -> dict[int, int]:
    """Rows counted from 0 on, in each file of its own."""
    found, counts = {}, dict[int, int]()
    for row in rows:
        file = grid.file_of(row)
        found[row] = counts[file] = counts.get(file, -1) + 1
    return found
