# SPDX-License-Identifier: Apache-2.0
"""What every figure over training steps shares: the logarithmic step axis, phases shaded behind it, and their key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from lightning_interp.timeline import Phase

PHASE_COLORS = {
    "warm_up": "#999999",
    "fitting": "#56B4E9",
    "memorization": "#E69F00",
    "circuit_formation": "#0072B2",
    "cleanup": "#009E73",
    "converged": "#F0E442",
    "collapse": "#D55E00",
}
"""Phase colors, from the palette of Okabe and Ito, which color-blind readers can tell apart."""


@dataclass(frozen=True)
class TimeAxis:
    """Positions on the time axis.

    Attributes:
        offset: Added to each step, in steps.
        last: Last step to draw.
    """

    offset: int
    last: int


def step_offset(series: Mapping[str, tuple[list[int], list[float]]]) -> int:
    """Steps to add before the logarithm: a fifth of the first positive step, at least 1, so that no empty decades are drawn.

    >>> step_offset({"train_loss": ([0, 100, 200], [4.0, 2.0, 1.0])})
    20
    """
    firsts = [next((step for step in steps if step > 0), 1) for steps, _ in series.values()]
    return max(1, min(firsts, default=1) // 5)


def tick_steps(last: int, offset: int = 1) -> list[int]:
    """Steps to label on a logarithmic axis: 0, then 1, 2 and 5 times powers of ten, thinned so that labels do not touch.

    >>> tick_steps(16000, 20)
    [0, 50, 100, 200, 500, 1000, 2000, 5000, 10000]
    """
    steps = [0]
    power = 1
    while power <= last:
        steps += [step for step in (power, 2 * power, 5 * power) if offset < step <= last]
        power *= 10
    return thinned_ticks(steps, most=14)


def thinned_ticks(steps: list[int], *, most: int) -> list[int]:
    """The first tick and every other of the rest, counted from the last, until there are few enough.

    >>> thinned_ticks([0, 1, 2, 5, 10], most=3)
    [0, 2, 10]
    """
    while len(steps) > most:
        steps = [steps[0], *steps[1:][::-1][::2][::-1]]
    return steps


def tick_labels(axis: TimeAxis, *, most: int = 14) -> dict[str, Any]:
    """Positions and texts of the ticks, as a plotly axis takes them."""
    steps = thinned_ticks(tick_steps(axis.last, axis.offset), most=most)
    return {"tickvals": [step + axis.offset for step in steps], "ticktext": [f"{step:,}" for step in steps]}


def shade_phase(figure: go.Figure, phase: Phase, axis: TimeAxis, *, row: int | str) -> None:
    """Shade one phase in the first column of a row, or of every row with "all"."""
    end = axis.last if phase.end is None else phase.end
    span = {"x0": phase.start + axis.offset, "x1": end + axis.offset}
    style = {"fillcolor": phase_color(phase), "opacity": 0.2, "line_width": 0, "layer": "below"}
    figure.add_vrect(**span, **style, row=row, col=1)


def phase_key(phases: Sequence[Phase]) -> str:
    """One line with the phases in their colors and steps; narrow phases have no room for a label."""
    parts = [
        f'<span style="color:{phase_color(phase)}">■</span> {escape(phase.name.replace("_", " "))} '
        f"{phase.start:,}–{'' if phase.end is None else format(phase.end, ',')}"
        for phase in phases
    ]
    return " &nbsp; ".join(parts) or "no phase found yet"


def phase_color(phase: Phase) -> str:
    """Color of a phase, gray for a name of another version."""
    return PHASE_COLORS.get(phase.name, "#999999")


def scale_buttons(keys: Sequence[str], letter: str, *, x: float, y: float) -> dict[str, object]:
    """A pair of buttons that switch axes between logarithmic and linear.

    Args:
        keys: Axes to switch together, e.g. ``xaxis.type``.
        letter: Name of the axis on the buttons.
        x: Right end of the pair, as a share of the picture's width.
        y: Upper end, as a share of the picture's height.
    """
    buttons = [
        {"label": f"{letter} {kind}", "method": "relayout", "args": [dict.fromkeys(keys, kind)]}
        for kind in ("log", "linear")
    ]
    place = {"x": x, "xanchor": "right", "y": y, "yanchor": "top"}
    return {"type": "buttons", "direction": "right", "buttons": buttons, **place, "showactive": True, "active": 0}
