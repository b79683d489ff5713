# SPDX-License-Identifier: Apache-2.0
"""The course of each column over the steps: blanks by NaN, rows that come twice, and new starts after a crash."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.grid import Grid
from lightning_interp.sources.metrics.refusals import no_run, several_runs
from lightning_interp.sources.metrics.steps import Steps

_MOST_STARTS = 20
_MOST_DOUBLE = 0.1


@dataclass
class Course:
    """Points of one column in the order of the file, later in that of their steps.

    Attributes:
        rows: Row of each point.
        steps: Step of each point.
        values: Value of each point; NaN and infinity are what was logged.
    """

    rows: list[int]
    steps: list[int]
    values: list[float]

    def keep(self, chosen: Iterable[int]) -> None:
        """Keep points by their index, in this order."""
        chosen = list(chosen)
        self.rows, self.steps, self.values = ([each[at] for at in chosen] for each in (self.rows, self.steps, self.values))  # type: ignore[assignment]


def courses_of(grid: Grid, columns: Iterable[str], steps: Steps, rows: set[int]) -> dict[str, Course]:
    """Courses of columns, as they stand in the file, without what NaN says was not logged."""
    found = {}
    for name in columns:
        column = grid.columns[name]
        points = [(row, value) for row, value in zip(column.at, column.values, strict=True) if row in rows]
        if points and not any(row in steps.of for row, _ in points):
            points, at = _after_steps(grid, points, steps)
            if points:
                grid.asked.note(f"Rows of `{name}` have no step; they are taken for that of the row before.")
        else:
            at = {row: steps.of[row] for row, _ in points if row in steps.of}
        kept = [(row, at[row], value) for row, value in points if row in at]
        found[name] = Course([row for row, _, _ in kept], [step for _, step, _ in kept], [value for _, _, value in kept])
    _drop_blanks(found)
    return {name: course for name, course in found.items() if course.rows}


def _after_steps(
    grid: Grid, points: list[tuple[int, float]], steps: Steps
) -> tuple[list[tuple[int, float]], dict[int, int]]:
    """For a column whose rows have no step, such as one row at the end of each epoch: the last step before each."""
    known = sorted(steps.of)
    at: dict[int, int] = {}
    index = -1
    for row, _ in points:
        while index + 1 < len(known) and known[index + 1] < row:
            index += 1
        if index >= 0 and grid.file_of(known[index]) == grid.file_of(row):
            at[row] = steps.of[known[index]]
    return [point for point in points if point[0] in at], at


def _drop_blanks(courses: Mapping[str, Course]) -> None:
    """NaN before a finite value was not logged, and NaN at the end was not where another column is finite from there on.

    Weights that broke give NaN everywhere, and for good.
    """
    last = {name: _last_finite(course) for name, course in courses.items()}
    for name, course in courses.items():
        end = max((row for other, row in last.items() if other != name), default=-1)
        finite_until = last[name] if last[name] >= 0 else math.inf
        chosen = [
            at
            for at, (row, value) in enumerate(zip(course.rows, course.values, strict=True))
            if not math.isnan(value) or not (row < finite_until < math.inf or row <= end)
        ]
        if len(chosen) < len(course.rows) and (chosen or last[name] >= 0 or end >= 0):
            course.keep(chosen)


def _last_finite(course: Course) -> int:
    pairs = zip(reversed(course.rows), reversed(course.values), strict=True)
    return next((row for row, value in pairs if math.isfinite(value)), -1)


def put_in_order(grid: Grid, courses: Mapping[str, Course], path: Path) -> str | None:
    """Make the steps of courses increase: after a new start what was written last counts, as of rows of one step.

    Returns:
        The run that was asked for by its number, if the file begins anew.

    Raises:
        MetricsError: Steps begin anew from the first one on and no start was asked for; they are in no order; or rows of one
            step contradict each other throughout.
    """
    for course in courses.values():
        _sort_if_plain(course)
    starts = _starts(courses)
    run = _choose_start(grid, courses, starts, path)
    starts = _starts(courses)
    if len(starts) > _MOST_STARTS and len(starts) > 0.05 * max(len(course.rows) for course in courses.values()):
        row = starts[0][0]
        raise MetricsError(
            f"{grid.where(row)}: step {starts[0][1]} comes after a later one, and so {len(starts):,} times. Sort "
            "the file by step; of several runs in one file keep one."
        )
    for row, step in starts:
        grid.asked.note(
            f"{grid.where(row)}: steps go back to {step:,}, a new start; of what was written before, steps from there on do "
            "not count."
        )
        for course in courses.values():
            pairs = enumerate(zip(course.rows, course.steps, strict=True))
            course.keep([at for at, (own, logged) in pairs if own >= row or logged < step])
    for name, course in courses.items():
        _last_of_each_step(grid, name, course)
    return run


def _sort_if_plain(course: Course) -> None:
    """Sort a course that is written newest first, or in the order of names, and holds no step twice."""
    back = sum(after < before for before, after in pairwise(course.steps))
    by_name = course.steps in (sorted(course.steps, key=str), sorted(course.steps, reverse=True))
    distinct = len(set(course.steps)) == len(course.steps)  # a crash or two leave steps twice
    if distinct and (back > 2 or (back > 0 and by_name)):
        course.keep(sorted(range(len(course.steps)), key=course.steps.__getitem__))


def _starts(courses: Mapping[str, Course]) -> list[tuple[int, int]]:
    """Row and step of every new start: where a column goes back. Columns may lag behind each other."""
    found: dict[int, int] = {}
    for course in courses.values():
        points = list(zip(course.rows, course.steps, strict=True))
        for (_, before), (row, step) in pairwise(points):
            if step < before:
                found[row] = min(step, found.get(row, step))
    return sorted(found.items())


def _choose_start(grid: Grid, courses: Mapping[str, Course], starts: list[tuple[int, int]], path: Path) -> str | None:
    """Of a file whose steps begin anew from the first one on keep the start that was asked for."""
    first = min(course.steps[0] for course in courses.values())
    anew = [row for row, step in starts if step <= first]
    anew = [row for at, row in enumerate(anew) if at == 0 or row - anew[at - 1] > len(courses)]
    asked = grid.asked.run
    if not anew:
        return None
    begins = [min(course.rows[0] for course in courses.values()), *anew]
    names = [str(number) for number in range(1, len(begins) + 1)]
    if asked is None:
        places = ", ".join(
            f"{name} from {grid.where(row) if at else grid.line(row)}"
            for at, (name, row) in enumerate(zip(names, begins, strict=True))
            if at < 10
        )
        raise several_runs(path, names, f"steps begin again at {first:,}: run {places}")
    if asked not in names:
        raise no_run(path, asked, names)
    begin = begins[int(asked) - 1]
    end = begins[int(asked)] if int(asked) < len(begins) else math.inf
    for course in courses.values():
        course.keep([at for at, row in enumerate(course.rows) if begin <= row < end])
    return asked


def _last_of_each_step(grid: Grid, name: str, course: Course) -> None:
    last: dict[int, int] = {}
    contradicted = None
    count = 0
    for at, step in enumerate(course.steps):
        before = last.get(step)
        if before is not None and not _same(course.values[before], course.values[at]):
            count += 1
            contradicted = contradicted or (course.rows[at], course.values[at], course.values[before], step)
            if math.isnan(course.values[at]):
                continue
        last[step] = at
    if contradicted and count > max(3, _MOST_DOUBLE * len(last)):
        row, value, first, step = contradicted
        raise MetricsError(
            f"{grid.where(row)}, column `{name}`: {value:g} contradicts {first:g}, logged before at the same step {step:,}, "
            f"and so at {count:,} of {len(last):,} steps. Keep one row for each step; several runs in one file need a "
            "column `run`."
        )
    if contradicted:
        row, value, first, step = contradicted
        grid.asked.note(
            f"{grid.where(row)}, column `{name}`: {value:g} after {first:g} at the same step {step:,}; the last one counts."
        )
    course.keep(last[step] for step in sorted(last))


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
