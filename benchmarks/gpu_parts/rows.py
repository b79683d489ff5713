# SPDX-License-Identifier: Apache-2.0
"""Rows of the table: what was measured, how much it varied, what it should be, and whether it is."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["", "held", "missed", "failed", "not run"]
"""Empty: a number without an aim. ``failed``: the measurement broke. ``not run``: something it needs is not here."""
VERDICTS: tuple[Verdict, ...] = ("held", "missed", "failed", "not run")
COLUMNS = ("section", "what", "value", "unit", "spread", "aim", "verdict", "note")
ONLY_ON_A_GPU = "only on a GPU"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: The number, or a word.
        unit: Its unit.
        spread: Range over repeats.
        aim: What it should be.
        verdict: Whether it is.
        note: What else to know, first of all why it failed.
    """

    name: str
    value: float | str = ""
    unit: str = ""
    spread: str = ""
    aim: str = ""
    verdict: Verdict = ""
    note: str = ""


def number(value: float | str) -> str:
    """Three digits that matter, whole numbers as they are.

    >>> [number(value) for value in (0.0012345, 12.0, 1234.5, "cpu")]
    ['0.00123', '12', '1234', 'cpu']
    """
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def repeated(
    name: str, values: Sequence[float], unit: str, *, wanted: int, aim: str = "", held: bool | None = None, note: str = ""
) -> Row:
    """Median and range of repeats; says so where there was no time for all of them."""
    short = f"{len(values)} of {wanted} repeats, time was short" if len(values) < wanted else f"{len(values)} repeats"
    return Row(
        name,
        statistics.median(values),
        unit,
        f"[{number(min(values))} .. {number(max(values))}]",
        aim,
        verdict_of(held),
        "; ".join(filter(None, [short, note])),
    )


def verdict_of(held: bool | None) -> Verdict:
    """Whether a claim held, nothing for none."""
    return "" if held is None else "held" if held else "missed"


def gpu_only(name: str) -> Row:
    """A row of the rehearsal for what means nothing on a CPU."""
    return Row(name, note=ONLY_ON_A_GPU)


def broken(name: str, err: BaseException) -> Row:
    """A measurement that ended with an error. A package that is not here is no fault of what is measured."""
    missing = isinstance(err, ModuleNotFoundError) and not (err.name or "").startswith("lightning_interp")
    reason = " ".join(f"{type(err).__name__}: {err}".split())[:400]
    return Row(name, verdict="not run" if missing else "failed", note=f"{err.name} is not installed" if missing else reason)


def counts(rows: Iterable[Row]) -> str:
    """How many of each verdict there are, in words."""
    found = [row.verdict for row in rows]
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS)


def markdown(rows: Iterable[tuple[str, Row]]) -> str:
    """The table.

    Args:
        rows: Pairs of a section and a row.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for section, row in rows:
        cells = (section, row.name, number(row.value), row.unit, row.spread, row.aim, row.verdict, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)
