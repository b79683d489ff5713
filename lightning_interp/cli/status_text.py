# SPDX-License-Identifier: Apache-2.0
"""What ``lightning-interp status`` shows to people. Everything that comes from a run is printed inert."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_interp.core.terminal import cell
from lightning_interp.dashboards.figures.labels import label_for
from lightning_interp.dashboards.live.run_state import duration
from lightning_interp.dashboards.run_summary import Health, LatestValue, RunSummary
from lightning_interp.measures.label import Labels

MOST_MEASURES = 24
MOST_NOTICES = 8
_COSTS = {
    "hook_share": "of the wall time in hooks",
    "writer_share": "of the wall time for writing",
    "share": "of the wall time in all",
    "contention": "longer steps while the analyzer works",
}


def page(summary: RunSummary, problem: str = "") -> Group:
    """The whole status, to be printed; above it, if the run cannot be read now, why."""
    parts: list[RenderableType] = [
        *([cell(problem, "bold red")] if problem else []),
        cell(summary.run, "bold"),
        cell(summary.sentence),
        *map(cell, summary.loaders),
        cell(f"{summary.training} {summary.analyzer}", "dim"),
        *([cell(f"From {summary.code}.", "dim")] if summary.code else []),
        *(cell(warning, "yellow") for warning in summary.warnings),
        _phases(summary),
    ]
    if summary.measures:
        parts.append(_measures(summary.measures, summary.labels))
    parts += [_table(title, lines) for title, lines in _sections(summary).items() if lines]
    parts += [cell(f"Notice: {notice}", "yellow") for notice in summary.health.notices[:MOST_NOTICES]]
    more = len(summary.health.notices) - MOST_NOTICES
    return Group(*parts, *([cell(f"… and {more} more notices", "dim")] if more > 0 else []))


def size(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> size(999), size(12_345_678)
    ('999 B', '12.3 MB')
    """
    for unit, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.1f} {unit}"
    return f"{count} B"


def _phases(summary: RunSummary) -> RenderableType:
    if not summary.phases:
        return cell("No phase found yet.")
    table = Table("phase")
    for heading in ("start", "can lie in", "end", "confidence"):
        table.add_column(heading, justify="right")
    for phase in summary.phases:
        table.add_row(*_phase_cells(phase))
    return table


def _phase_cells(phase: Mapping[str, Any]) -> tuple[Text, ...]:
    low, high = phase["start_interval"]
    end = "open" if phase["end"] is None else f"{phase['end']:,}"
    cells = (phase["name"].replace("_", " "), f"{phase['start']:,}", f"{low:,}–{high:,}", end, f"{phase['confidence']:.2f}")
    return tuple(map(cell, cells))


def _measures(measures: tuple[LatestValue, ...], own: Labels) -> Table:
    left_out = len(measures) - MOST_MEASURES
    table = Table("measure", caption=f"and {left_out} more" if left_out > 0 else None)
    for heading in ("step", "value", "since the phase began"):
        table.add_column(heading, justify="right")
    for each in measures[:MOST_MEASURES]:
        change = "" if each.change is None else f"{each.change:+.4g}"
        label = replace(label_for(each.name, own), unit=each.unit)  # of losses the unit depends on the run
        table.add_row(cell(label.title), f"{each.step:,}", f"{each.value:.5g}", change)
    return table


def _sections(summary: RunSummary) -> dict[str, list[tuple[str, str]]]:
    return {
        "settings": [(label_for(name).title, f"{value:g}") for name, value in summary.settings.items()],
        "health": _health(summary.health),
        "on disk": [
            *((part, size(count)) for part, count in summary.disk.items() if count),
            ("total", size(sum(summary.disk.values()))),
        ],
    }


def _health(health: Health) -> list[tuple[str, str]]:
    kept = f"{health.snapshots:,}" + (f", of which {health.removed:,} removed again" if health.removed else "")
    lines = [("snapshots written", kept)]
    lines += [(f"dropped: {reason}", f"{count:,}") for reason, count in health.dropped.items()]
    lines += [("schedule thinned", f"{health.thinned:,} times")] if health.thinned else []
    lines += [(_COSTS[name], f"{share:.2%}") for name, share in health.costs.items()]
    if health.seconds_per_snapshot is not None:
        lines.append(("analysis of a snapshot", f"{health.seconds_per_snapshot:.3g} s"))
    if health.pending is not None:
        lines.append(("snapshots to be observed", f"{health.pending:,}"))
    if health.heartbeat_age_s is not None:
        lines.append(("last sign of life of the analyzer", f"{duration(max(0.0, health.heartbeat_age_s))} ago"))
    return lines


def _table(title: str, lines: list[tuple[str, str]]) -> Table:
    table = Table(title, "")
    table.columns[1].justify = "right"
    for name, value in lines:
        table.add_row(cell(name), cell(value))
    return table
