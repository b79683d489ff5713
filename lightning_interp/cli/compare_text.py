# SPDX-License-Identifier: Apache-2.0
"""What ``lightning-interp compare`` shows to people: runs, boundaries, statistics, similarity, and what is missing."""

from collections.abc import Sequence
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lightning_interp.cli.compare_words import (
    FINAL,
    NONE,
    SIMILARITY,
    STATISTICS,
    boundary_name,
    notes,
    similarity_rows,
    span,
    statistics_rows,
    step_text,
)
from lightning_interp.core.console import one_line
from lightning_interp.core.terminal import PlainConsole, cell
from lightning_interp.posthoc.comparison import Boundary, Comparison

_NAME_WIDTH = 40
_WIDE = 100
_OF_PHASES = ("start of", "end of")  # columns of names that are broken between words, before they are shown


def show(comparison: Comparison, console: PlainConsole) -> None:
    """Print everything."""
    console.print(runs_table(comparison))
    if comparison.boundaries:
        console.print(boundary_table(comparison))
        console.print(statistics_table(comparison, width=console.width))
        console.print(
            "Steps are optimizer steps. A range below a start is where it can lie. Decades: log10 of the latest over the "
            "earliest. 95 %: bootstrap interval of the median over runs.",
            style="dim",
        )
    if any(phase.layers for phase in comparison.similarity):
        console.print(similarity_table(comparison, width=console.width))
        console.print(
            "Compared at the last stored step of each phase, its end included. CKA (debiased, linear): 1 is the same up to "
            "rotation and scale. Procrustes distance: 0 is the same, 1 nothing shared. Shuffled: the same with stimuli in "
            "another order, which is what unrelated activations give. Of several pairs: mean, lowest to highest.",
            style="dim",
        )
    for note in notes(comparison):
        console.say(note, "yellow")


def runs_table(comparison: Comparison) -> Table:
    """Verdict, last step and last values of each run."""
    numbers = ("last step", *FINAL.values())
    table = _table("run", "verdict", title="Runs, with values at the last step", numbers=numbers)
    for run in comparison.runs:
        values = [NONE if name not in run.final else f"{run.final[name]:.3g}" for name in FINAL]
        verdict = NONE if run.verdict_words is None else one_line(run.verdict_words)
        _add_row(table, one_line(run.name), verdict, step_text(run.last_step), *values)
    return table


def boundary_table(comparison: Comparison) -> Table:
    """Start of each phase in each run, over the interval it can lie in; the longer list goes down the page."""
    runs, boundaries = [one_line(run.name) for run in comparison.runs], comparison.boundaries
    cells = [[_start(boundary, run.name) for boundary in boundaries] for run in comparison.runs]
    heads, names = [boundary_name(boundary) for boundary in boundaries], runs
    if len(runs) < len(boundaries):
        heads, names, cells = runs, heads, [list(column) for column in zip(*cells, strict=True)]
    table = _table("run" if names is runs else "start of", title="Starts of phases", numbers=heads)
    for name, row in zip(names, cells, strict=True):
        _add_row(table, name, *row)
    return table


def statistics_table(comparison: Comparison, *, width: int) -> Table:
    """Statistics of each start over runs; names are broken for a narrow terminal."""
    table = _table(STATISTICS[0], title="Over runs", numbers=STATISTICS[1:])
    for name, *cells in statistics_rows(comparison):
        _add_row(table, _broken(name, width), *cells)
    return table


def similarity_table(comparison: Comparison, *, width: int) -> Table:
    """Likeness of each layer at the end of each phase, beside what shuffled stimuli give."""
    table = _table(*SIMILARITY[:2], title="Representations at matched phases", numbers=SIMILARITY[2:])
    for phase, *cells in similarity_rows(comparison):
        _add_row(table, _broken(phase, width), *cells)
    return table


def _table(*names: str, title: str, numbers: Sequence[str]) -> Table:
    """An empty table; what does not fit is folded, since a number cut short would be another number."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)  # the widest one just fits into 80 columns
    for heading in names:
        table.add_column(heading, overflow="fold", no_wrap=heading in _OF_PHASES, max_width=_NAME_WIDTH)
    for heading in numbers:
        table.add_column(cell(heading), justify="right", overflow="fold")
    return table


def _add_row(table: Table, *cells: str) -> None:
    """A row of plain text, in which only we break lines: names are made inert where they become a cell."""
    table.add_row(*(Text(text) for text in cells))


def _broken(name: str, width: int) -> str:
    """Between words where the terminal is narrow, for a column that is no wider than the longest of them."""
    return fill(name, len("memorization")) if width < _WIDE else name


def _start(boundary: Boundary, run: str) -> str:
    start, interval = boundary.starts.get(run), boundary.intervals.get(run)
    return step_text(start) if interval is None else f"{step_text(start)}\n{span(interval)}"
