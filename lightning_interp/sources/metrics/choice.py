# SPDX-License-Identifier: Apache-2.0
"""One column for each record name: of one family, of the whole course, in the units of records."""

import math
from collections.abc import Mapping

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.judged import LOADER_CURVES
from lightning_interp.core.logged_curves import PERCENT
from lightning_interp.core.outcome import LARGEST_SHARE
from lightning_interp.sources.metrics.columns import CURVE_NAMES, Meaning, choose_bare, is_own
from lightning_interp.sources.metrics.courses import Course
from lightning_interp.sources.metrics.grid import Grid
from lightning_interp.sources.metrics.refusals import listed

ENDS_EARLY = 0.9
"""A series whose last step is under this share of the history's ends early, and does not decide where another goes on."""
_ENOUGH = 10
UNSURE = 30
"""Rank from which on a name holds words that are not understood."""
_SIDES = (("heldout_loss", "heldout_accuracy"), ("train_loss", "train_accuracy"))


def choose(grid: Grid, courses: Mapping[str, Course], meanings: Mapping[str, Meaning]) -> dict[str, Meaning]:
    """What each used column stands for.

    Among columns of one name the preferred one wins, unless it holds under 10 values and another holds more, or it ends
    early and another does not. Curves are all the monitor's own or all the training's.
    """
    known = choose_bare({name: meaning for name, meaning in meanings.items() if name in courses and not meaning.part})
    if not any(meaning.said for meaning in known.values() if _is_curve(meaning)):
        bare = [name for name, meaning in known.items() if not meaning.said]
        if bare:
            grid.asked.note(
                f"{listed(bare, 4)}: of which data is not said; taken for the training's. --columns says otherwise."
            )
    families = [
        _best(grid, courses, {name: each for name, each in known.items() if is_own(name) is own}) for own in (True, False)
    ]
    curves = max(families, key=lambda family: _worth(courses, family))
    others = _best(grid, courses, {name: meaning for name, meaning in known.items() if not _is_curve(meaning)})
    chosen = {name: meaning for name, meaning in curves.items() if _is_curve(meaning)} | others
    return _whole_course_only(grid, courses, chosen)


def converted(grid: Grid, name: str, course: Course, meaning: Meaning) -> list[float]:
    """Values of a column in the units of records: losses in nats, accuracies as shares.

    Raises:
        MetricsError: A sum of squares or accuracy out of bounds.
    """
    values = course.values
    if meaning.convert is not float:
        wrong = next((at for at, value in enumerate(values) if value < 0), None)
        if wrong is not None:
            what = "a perplexity" if meaning.name.endswith("loss") else "a sum of squares"
            raise MetricsError(
                f"{grid.where(course.rows[wrong])}, column `{name}`: {what} cannot be negative, got {values[wrong]:g}."
            )
        return [meaning.convert(value) for value in values]
    return _shares(grid, name, course) if meaning.name.partition("/")[0].endswith("_accuracy") else values


def _shares(grid: Grid, name: str, course: Course) -> list[float]:
    finite = [(value, row) for value, row in zip(course.values, course.rows, strict=True) if math.isfinite(value)]
    highest, at = max(finite, default=(0.0, 0))
    lowest, below = min(finite, default=(0.0, 0))
    if lowest < 0 or highest > PERCENT * LARGEST_SHARE:
        row, value = (below, lowest) if lowest < 0 else (at, highest)
        raise MetricsError(
            f"{grid.where(row)}, column `{name}`: {value:g} is neither a share from 0 to 1 nor a percentage. "
            "Leave the column out, or name the one that holds the accuracy: --columns heldout_accuracy=COLUMN"
        )
    if highest <= LARGEST_SHARE:
        return course.values
    grid.asked.note(f"Column `{name}` goes up to {highest:g}, so it is read as percentages.")
    return [value / PERCENT for value in course.values]


def _is_curve(meaning: Meaning) -> bool:
    return meaning.name in CURVE_NAMES or meaning.name.partition("/")[0] in LOADER_CURVES


def _best(grid: Grid, courses: Mapping[str, Course], known: Mapping[str, Meaning]) -> dict[str, Meaning]:
    options: dict[str, list[str]] = {}
    for name, meaning in known.items():
        options.setdefault(meaning.name, []).append(name)
    found = {}
    for record, names in options.items():
        last = max(courses[name].steps[-1] for name in names)

        def order(name: str, last: int = last) -> tuple[int, bool, int]:
            course = courses[name]
            return -min(len(course.rows), _ENOUGH), course.steps[-1] < ENDS_EARLY * last, known[name].rank

        names.sort(key=order)
        rivals = [name for name in names if order(name) == order(names[0])]
        if len(rivals) > 1 and known[names[0]].rank >= UNSURE:
            grid.asked.note(
                f"{listed(rivals, 6)}: which of them is the {record.replace('_', ' ')} is not said, so none is used."
            )
            continue
        found[names[0]] = known[names[0]]
    return found


def _worth(courses: Mapping[str, Course], family: Mapping[str, Meaning]) -> tuple[int, int, int]:
    """How well a family tells a course: sides with enough values up to the end, then values of the held-out side."""
    last = max((course.steps[-1] for course in courses.values()), default=0)
    good = 0
    held = 0
    for side in _SIDES:
        own = [courses[name] for name, meaning in family.items() if meaning.name in side]
        good += any(len(course.rows) >= _ENOUGH and course.steps[-1] >= ENDS_EARLY * last for course in own)
        held += max((min(len(course.rows), _ENOUGH) for course in own), default=0)
    return good, held, int(any(map(is_own, family)))


def _whole_course_only(grid: Grid, courses: Mapping[str, Course], chosen: dict[str, Meaning]) -> dict[str, Meaning]:
    """Without series that end early, or begin late, where the other of the same data tells the whole course."""
    by_record = {meaning.name: name for name, meaning in chosen.items() if meaning.name in CURVE_NAMES}
    if not by_record:
        return chosen
    last = max(courses[name].steps[-1] for name in by_record.values())
    first = min(courses[name].steps[0] for name in by_record.values())
    late = first + (1 - 0.5) * (last - first)
    for side in _SIDES:
        names = [by_record[record] for record in side if record in by_record]
        whole = [name for name in names if courses[name].steps[-1] >= ENDS_EARLY * last and courses[name].steps[0] <= late]
        for name in set(names) - set(whole) if whole else ():
            steps = courses[name].steps
            grid.asked.note(
                f"Column `{name}` holds steps {steps[0]:,} to {steps[-1]:,} of {last:,} only, so `{whole[0]}` is used alone."
            )
            chosen = {other: meaning for other, meaning in chosen.items() if other != name}
    return chosen
