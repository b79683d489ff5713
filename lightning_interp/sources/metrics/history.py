# SPDX-License-Identifier: Apache-2.0
"""A metrics history from the rows of files, whatever their format.

Rows of one step are merged; blank cells, null and NaN before a later value mean not logged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.logged_curves import VALUES
from lightning_interp.core.series import Series
from lightning_interp.sources.metrics.axis import OPTIMIZER_STEPS, Axis
from lightning_interp.sources.metrics.choice import UNSURE, choose, converted
from lightning_interp.sources.metrics.columns import CURVE_NAMES, Meaning, is_own, meaning_of
from lightning_interp.sources.metrics.courses import Course, courses_of, put_in_order
from lightning_interp.sources.metrics.format import Asked
from lightning_interp.sources.metrics.grid import Grid
from lightning_interp.sources.metrics.long_tables import wide
from lightning_interp.sources.metrics.refusals import no_column, no_curve, no_run
from lightning_interp.sources.metrics.registry import format_of
from lightning_interp.sources.metrics.runs import columns_of_run, rows_of_run
from lightning_interp.sources.metrics.steps import find_steps

_A_COURSE = 2


@dataclass(frozen=True)
class MetricsHistory:
    """What metrics files hold.

    Attributes:
        series: By record name: (steps, values); losses in nats, accuracies as shares.
        mapping: Columns that were used, with the record name each stands for.
        unused: Columns that were not.
        path: The file, the first of several.
        axis: What steps are.
        notes: Sentences about what was left out or taken for something.
        run: The run that was read of several, None where there is one.
    """

    series: Series
    mapping: Mapping[str, str]
    unused: tuple[str, ...]
    path: Path
    axis: Axis = OPTIMIZER_STEPS
    notes: tuple[str, ...] = field(default=())
    run: str | None = None


def read_metrics(
    path: str | Path | Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    run: str | None = None,
    resumed: Mapping[int, int] | None = None,
    also: Mapping[str, str] | None = None,
) -> MetricsHistory:
    """Read a metrics file, or several that hold one run together.

    Args:
        path: A file or folder in one of the formats of `registry`, or several: series of one run, or starts of it.
        columns: Column to take for a record name (``{"train_loss": "box_loss"}``), or for ``step``.
        run: Which run to read where several are in one file: its name, or its number from 1 on.
        resumed: Of a resumed run of the monitor: by attempt, the step it continued from; earlier attempts' rows after it are
            dropped.
        also: Columns to take beside those that are understood, if they are there, with the name of the series.

    Returns:
        The series under record names, and how columns were understood.

    Raises:
        MetricsError: A file is missing, empty or binary, has no loss or accuracy column, several runs, or a line that cannot
            be read; the message names file, line, column and a way out.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    asked = Asked(resumed or {}, columns or {}, also or {}, run, given=tuple(paths))
    grid = Grid(asked)
    for each in paths:
        source, place = format_of(each)
        grid.add_file(place, wide(source.rows(place, asked)))
    if not len(grid):
        raise MetricsError(f"{paths[0]}: holds no rows. Give a file with at least one record below its header.")
    return _history(grid, paths[0])


def _history(grid: Grid, path: Path) -> MetricsHistory:
    asked = grid.asked
    meanings = _meanings(grid, path)
    curves, run = columns_of_run(grid, meanings, path)
    rows, by_column = rows_of_run(grid, sorted({row for name in curves for row in grid.columns[name].at}), path)
    steps = find_steps(grid, rows, [name for name in curves if grid.columns[name].at])
    courses = courses_of(grid, curves, steps, set(rows))
    by_start = _in_order(grid, courses, meanings, path)
    courses = {name: course for name, course in courses.items() if course.rows}  # a new start may leave nothing of one
    run = run or by_column or by_start
    if asked.run is not None and run is None:
        raise no_run(path, asked.run, ())
    chosen = choose(grid, courses, {name: meanings[name] for name in curves})
    taken = {name: record for name, record in asked.also.items() if name in courses}
    _check_cells(grid, (*chosen, *taken, *_lost(grid, curves, meanings, chosen)))
    if not any(
        name in CURVE_NAMES or name in VALUES for name in (*(each.name for each in chosen.values()), *taken.values())
    ):
        raise no_curve(path, _filled(grid), " ".join(("", *asked.notes))[1:] + " " * bool(asked.notes))
    series = {
        meaning.name: (courses[name].steps, converted(grid, name, courses[name], meaning))
        for name, meaning in chosen.items()
    }
    series |= {record: (courses[name].steps, courses[name].values) for name, record in taken.items()}
    if all(len(steps) < _A_COURSE for steps, _ in series.values()):
        asked.note("Every curve holds one value only, of which nothing can be said about a course.")
    mapping = {name: meaning.name for name, meaning in chosen.items()} | taken
    unused = tuple(name for name in _filled(grid) if name not in mapping and name != steps.axis.column)
    return MetricsHistory(series, mapping, unused, path, steps.axis, tuple(asked.notes), run)


def _meanings(grid: Grid, path: Path) -> dict[str, Meaning]:
    """What columns with values mean, by their names and by what was asked for.

    Raises:
        MetricsError: A column that was asked for is not there.
    """
    asked = {column: record for record, column in grid.asked.columns.items()}
    for wanted in asked:
        if wanted not in grid.columns or not grid.columns[wanted].at:
            _check_cells(grid, [wanted] if wanted in grid.columns else [])
            raise no_column(path, wanted, _filled(grid))
    found: dict[str, Meaning] = {}
    for name, column in grid.columns.items():
        meaning = meaning_of(name)
        if name in asked and asked[name] != "step":
            meaning = Meaning(asked[name], -1)
        elif meaning is not None and (name in asked or meaning.name in grid.asked.columns):
            meaning = None
        if (column.at or column.wrong) and (meaning is not None or name in grid.asked.also):
            found[name] = meaning or Meaning(grid.asked.also[name], 0)
    if not any(column.at for name, column in grid.columns.items() if name in found):
        _check_cells(grid, found)
        raise no_curve(path, _filled(grid))
    return found


def _in_order(grid: Grid, courses: Mapping[str, Course], meanings: Mapping[str, Meaning], path: Path) -> str | None:
    """Order courses, the monitor's own apart from the training's: they come late, below rows of later steps."""
    run = None
    for own in (False, True):
        family = {name: course for name, course in courses.items() if is_own(name) is own and name in meanings}
        if family:
            run = put_in_order(grid, family, path) or run
    return run


def _lost(grid: Grid, curves: Sequence[str], meanings: Mapping[str, Meaning], chosen: Mapping[str, Meaning]) -> list[str]:
    """Columns that would give a curve which no other column gives, if their cells were numbers."""
    given = {meaning.name for meaning in chosen.values()}
    plain = [name for name in curves if meanings[name].said and meanings[name].rank < UNSURE]
    return [name for name in plain if grid.columns[name].wrong is not None and meanings[name].name not in given]


def _check_cells(grid: Grid, names: Iterable[str]) -> None:
    for name in names:
        wrong = grid.columns[name].wrong
        if wrong is not None:
            raise MetricsError(
                f"{grid.where(wrong[0])}, column `{name}`: {wrong[1]!r} is not a number. Leave the cell blank "
                "where nothing was logged."
            )


def _filled(grid: Grid) -> list[str]:
    """Columns with values in them."""
    return [
        *(name for name, column in grid.columns.items() if column.at),
        *(name for name, count in grid.others.items() if count),
    ]
