# SPDX-License-Identifier: Apache-2.0
"""What ``lightning-interp tca`` shows to people: what was done, the table of ranks, the null, the components in words."""

from collections.abc import Mapping
from textwrap import wrap

from rich.table import Table

from lightning_interp.core.terminal import PlainConsole
from lightning_interp.posthoc.component_findings import LayerComponents

CLOSE_TO_NULL = 0.95
"""A fit whose error is over this share of its null's is called no better than it."""

_COLUMNS = {
    "relative_error": ("relative error", "{:.4f}"),
    "heldout_error": ("held-out error", "{:.4f}"),
    "similarity": ("similarity", "{:.3f}"),
    "core_consistency": ("core consistency", "{:.0f} %"),
}


def show(found: LayerComponents, console: PlainConsole) -> None:
    """Print everything that was found in one layer."""
    console.say(f"Layer {found.layer}", "bold")
    console.say(_size(found))
    for note in found.notes:
        console.say(note, "dim")
    console.print(rank_table(found))
    console.say(f"Recommended rank: {found.selection.recommended}", "bold")
    for reason in found.selection.reasons:
        for line in wrap(reason, max(20, console.width - 4), initial_indent="  ", subsequent_indent="    "):
            console.say(line)
    console.say(_quality(found))
    if found.fit.relative_error > CLOSE_TO_NULL * found.null.relative_error:
        console.say("Hardly better than without lasting units: do not read much into these components.", "yellow")
    for description in found.descriptions:
        for line in wrap(description.sentence(), max(20, console.width - 2), subsequent_indent="  "):
            console.say(line)
    console.say("Components describe activations; they are not mechanisms.", "dim")
    console.print()


def rank_table(found: LayerComponents) -> Table:
    """One row per rank, the recommended one marked."""
    table = Table("")
    table.add_column("rank", justify="right")
    for heading, _ in _COLUMNS.values():
        table.add_column(heading, justify="right")
    for row in found.selection.table:
        recommended = row["rank"] == found.selection.recommended
        table.add_row("→" if recommended else "", *_cells(row), style="bold" if recommended else None)
    return table


def _cells(row: Mapping[str, float | int | None]) -> list[str]:
    values = {name: row.get(name) for name in _COLUMNS}
    return [str(row["rank"]), *("–" if value is None else _COLUMNS[name][1].format(value) for name, value in values.items())]


def _size(found: LayerComponents) -> str:
    snapshots, stimuli, units = found.prepared.tensor.shape
    steps = found.prepared.steps
    factors = "non-negative" if found.nonnegative else "signed"
    return (
        f"{snapshots} snapshots (steps {steps[0]:,} to {steps[-1]:,}) × {stimuli} stimuli × {units} units; "
        f"factors {factors}: {found.why}."
    )


def _quality(found: LayerComponents) -> str:
    flags = f" Flags: {', '.join(found.fit.flags)}." if found.fit.flags else ""
    return (
        f"Relative error {found.fit.relative_error:.4f}; with unit labels shuffled in every snapshot "
        f"{found.null.relative_error:.4f}.{flags}"
    )
