# SPDX-License-Identifier: Apache-2.0
"""What ``lightning-interp compare`` shows to people: runs, boundaries, statistics, similarity, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_interp.comparison import Boundary, Comparison, LayerSimilarity, PhaseSimilarity
from lightning_interp.console import printable

_FINAL = {
    "train_loss": "train loss",
    "heldout_loss": "held-out loss",
    "heldout_accuracy": "held-out accuracy",
    "weight_norm": "weight norm",
}
_NONE = "–"
_NAME_WIDTH = 40
_WIDE = 100
_OF_PHASES = ("start of", "end of")  # columns of names that are broken between words, before they are shown


def show(comparison: Comparison, console: Console) -> None:
    """Print everything.

    Args:
        comparison: What was found.
        console: Where to.
    """
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
    for note in _notes(comparison):
        console.print(Text(note, style="yellow"))


def runs_table(comparison: Comparison) -> Table:
    """Verdict, last step and last values of each run."""
    numbers = ("last step", *_FINAL.values())
    table = _table("run", "verdict", title="Runs, with values at the last step", numbers=numbers)
    for run in comparison.runs:
        values = [_NONE if name not in run.final else f"{run.final[name]:.3g}" for name in _FINAL]
        verdict = _NONE if run.verdict is None else run.verdict.replace("_", " ")
        _add_row(table, run.name, verdict, _step(run.last_step), *values)
    return table


def boundary_table(comparison: Comparison) -> Table:
    """Start of each phase in each run, over the interval it can lie in; the longer list goes down the page."""
    runs, boundaries = [run.name for run in comparison.runs], comparison.boundaries
    cells = [[_start(boundary, run) for boundary in boundaries] for run in runs]
    heads, names = [_name(boundary) for boundary in boundaries], runs
    if len(runs) < len(boundaries):
        heads, names, cells = runs, heads, [list(column) for column in zip(*cells, strict=True)]
    table = _table("run" if names is runs else "start of", title="Starts of phases", numbers=heads)
    for name, row in zip(names, cells, strict=True):
        _add_row(table, name, *row)
    return table


def statistics_table(comparison: Comparison, *, width: int) -> Table:
    """Median, its interval, quartiles, range and spread of each start over runs; names are broken for a narrow terminal."""
    numbers = ("runs", "median", "95 %", "25–75 %", "range", "decades", "meet")
    table = _table("start of", title="Over runs", numbers=numbers)
    for boundary in comparison.boundaries:
        found = boundary.summary
        meet = _NONE if boundary.intervals_meet is None else "yes" if boundary.intervals_meet else "no"
        _add_row(
            table,
            _broken(_name(boundary), width),
            f"{found.n} of {len(comparison.runs)}",
            f"{found.median:,.0f}",
            _range(found.median_interval),
            _range(found.quartiles),
            _range((found.lowest, found.highest)),
            _NONE if found.spread_decades is None else f"{found.spread_decades:.2f}",
            meet,
        )
    return table


def similarity_table(comparison: Comparison, *, width: int) -> Table:
    """CKA and Procrustes distance of each layer at the end of each phase, beside what shuffled stimuli give."""
    numbers = ("CKA", "shuffled", "Procrustes", "shuffled", "at steps")
    table = _table("end of", "layer", title="Representations at matched phases", numbers=numbers)
    for phase in comparison.similarity:
        for layer in phase.layers:
            if layer.reason is None:
                _add_row(table, _broken(phase.phase.replace("_", " "), width), layer.layer, *_cells(layer), _steps(phase))
    return table


def _table(*names: str, title: str, numbers: Sequence[str]) -> Table:
    """An empty table; what does not fit is folded, since a number cut short would be another number."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)  # the widest one just fits into 80 columns
    for heading in names:
        table.add_column(heading, overflow="fold", no_wrap=heading in _OF_PHASES, max_width=_NAME_WIDTH)
    for heading in numbers:
        table.add_column(Text(printable(heading)), justify="right", overflow="fold")
    return table


def _add_row(table: Table, *cells: str) -> None:
    """A row of plain text: names of runs and layers are neither markup nor obeyed by the terminal."""
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _broken(name: str, width: int) -> str:
    """Between words where the terminal is narrow, for a column that is no wider than the longest of them."""
    return fill(name, len("memorization")) if width < _WIDE else name


def _name(boundary: Boundary) -> str:
    return "held-out solved" if boundary.name == "grokking_step" else printable(boundary.name.replace("_", " "))


def _start(boundary: Boundary, run: str) -> str:
    start, interval = boundary.starts.get(run), boundary.intervals.get(run)
    return _step(start) if interval is None else f"{_step(start)}\n{_range(interval)}"


def _step(step: int | None) -> str:
    return _NONE if step is None else f"{step:,}"


def _range(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return _NONE
    low, high = ends
    return f"{low:,.0f}" if low == high else f"{low:,.0f} – {high:,.0f}"


def _cells(layer: LayerSimilarity) -> list[str]:
    return [
        _over_pairs(layer.cka or ()),
        _number(layer.shuffled_cka or 0.0, 2),
        _over_pairs(layer.procrustes or ()),
        _number(layer.shuffled_procrustes or 0.0, 2),
    ]


def _over_pairs(matrix: Sequence[Sequence[float]]) -> str:
    """Mean over pairs of runs, and the range where there are several."""
    pairs = [value for row, values in enumerate(matrix) for value in values[row + 1 :]]
    mean = _number(sum(pairs) / len(pairs), 3)
    return mean if len(pairs) == 1 else f"{mean} ({_number(min(pairs), 3)} to {_number(max(pairs), 3)})"


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # the sum turns -0.0 into 0.0


def _steps(phase: PhaseSimilarity) -> str:
    steps = list(phase.steps.values())
    return ", ".join(f"{step:,}" for step in steps) if len(steps) <= 3 else _range((min(steps), max(steps)))


def _notes(comparison: Comparison) -> Iterator[str]:
    """What is not known, one sentence each, the same one once."""
    for run in comparison.runs:
        missing = [_FINAL[key] for key, reason in run.reasons.items() if reason == "not recorded"]
        others = {key: reason for key, reason in run.reasons.items() if reason != "not recorded"}
        if missing:
            yield _sentence(f"Not recorded in {run.name}: {', '.join(missing)}")
        yield from (_sentence(f"{run.name}, {key.replace('_', ' ')}: {reason}") for key, reason in others.items())
        for name, reason in run.alignment.left_out.items():
            yield _sentence(f"{run.name}, {name.replace('_', ' ')}: not used for phase time, {reason}")
    yield from (_sentence(f"No {what}: {reason}") for what, reason in comparison.reasons.items())
    for note, names in _by_note(comparison).items():
        yield _sentence(f"{', '.join(names)}: {note}")
    for phase in comparison.similarity:
        where = f"End of {phase.phase.replace('_', ' ')}"
        if 0 < len(phase.still_open) < len(phase.ends):
            yield _sentence(f"{where}: still open in {', '.join(phase.still_open)}, compared at the last stored step there")
        if phase.reason is not None:
            yield _sentence(f"{where}, not compared: {phase.reason}")
        yield from (_sentence(f"{where}, layer {x.layer}: {x.reason}") for x in phase.layers if x.reason is not None)


def _by_note(comparison: Comparison) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for boundary in comparison.boundaries:
        notes = list(boundary.summary.notes)
        if boundary.repeated:
            notes.append(f"came back after another phase in {', '.join(boundary.repeated)}; the first beginning counts")
        for note in notes:
            found.setdefault(note, []).append(_name(boundary))
    return found


def _sentence(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if line.endswith(".") else f"{line}."
