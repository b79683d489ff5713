# SPDX-License-Identifier: Apache-2.0
"""What every figure over training steps shares: the step axis, logarithmic or linear, and phases shaded behind curves.

The x position is the step plus an offset, so that step 0 can be drawn on a logarithmic axis; tick labels and hover texts
show the step itself. `note_axes` writes into ``layout.meta`` which axes can be switched and to which ticks: a page has
buttons of its own for that, `add_buttons` puts plotly's into a figure that stands alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from lightning_interp.core.timeline import LossStage, Phase
from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.theme import BAND, MARK, phase_color

MOST_TICKS = 14
_LINEAR_TICKS = 7


@dataclass(frozen=True)
class TimeAxis:
    """Positions on the time axis.

    Attributes:
        offset: Added to each step, in steps.
        last: Last step to draw.
    """

    offset: int
    last: int

    def place(self, steps: Iterable[int]) -> list[int]:
        """Positions of steps."""
        return [int(step) + self.offset for step in steps]


def step_offset(series: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> int:
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
    return thinned_ticks(steps, most=MOST_TICKS)


def linear_tick_steps(last: int) -> list[int]:
    """Steps to label on a linear axis: multiples of 1, 2 or 5 times a power of ten.

    >>> linear_tick_steps(16000)
    [0, 5000, 10000, 15000]
    """
    rough = max(last, 1) / _LINEAR_TICKS
    power = 10 ** max(0, math.floor(math.log10(rough)))
    every = next(scale * power for scale in (1, 2, 5, 10) if scale * power >= rough)
    return list(range(0, last + 1, every))


def thinned_ticks(steps: list[int], *, most: int) -> list[int]:
    """The first tick and every other of the rest, counted from the last, until there are few enough.

    >>> thinned_ticks([0, 1, 2, 5, 10], most=3)
    [0, 2, 10]
    """
    while len(steps) > most:
        steps = [steps[0], *steps[1:][::-1][::2][::-1]]
    return steps


def tick_labels(axis: TimeAxis, *, most: int = MOST_TICKS) -> dict[str, Any]:
    """Positions and texts of the ticks of a logarithmic axis, as a plotly axis takes them."""
    return _labels(axis, thinned_ticks(tick_steps(axis.last, axis.offset), most=most))


def ticks_of(axis: TimeAxis, *, most: int = MOST_TICKS) -> dict[str, dict[str, Any]]:
    """The ticks by the kind of axis, ``log`` and ``linear``."""
    linear = thinned_ticks(linear_tick_steps(axis.last), most=most)
    return {"log": tick_labels(axis, most=most), "linear": _labels(axis, linear)}


def _labels(axis: TimeAxis, steps: Sequence[int]) -> dict[str, Any]:
    return {"tickvals": axis.place(steps), "ticktext": [f"{step:,}" for step in steps]}


def shade_phases(figure: go.Figure, phases: Sequence[Phase], axis: TimeAxis, *, panels: Sequence[int]) -> None:
    """Shade all phases in some panels, counted from 1; a dotted line where one begins.

    Shapes are set at once: plotly checks a figure anew with every one that is added.
    """
    shapes: list[dict[str, Any]] = []
    for panel in panels:
        number = "" if panel == 1 else str(panel)
        place = {"xref": f"x{number}", "yref": f"y{number} domain", "y0": 0, "y1": 1, "layer": "below"}
        for phase in phases:
            start, end = axis.place((phase.start, last_of(phase, axis)))
            band = {"fillcolor": phase_color(phase), "opacity": BAND, "line": {"width": 0}}
            shapes.append({"type": "rect", "x0": start, "x1": end, **band, **place})
            if phase is not phases[0]:
                line = {"color": MARK, "width": 1, "dash": "dot"}
                shapes.append({"type": "line", "x0": start, "x1": start, "line": line, **place})
    figure.update_layout(shapes=[*figure.layout.shapes, *shapes])


def mark_intervals(figure: go.Figure, phases: Sequence[Phase], axis: TimeAxis) -> None:
    """Bars above the first row, each as wide as the interval in which a boundary can lie."""
    place = {"type": "line", "xref": "x", "yref": "paper", "y0": 1.01, "y1": 1.01, "line": {"color": MARK, "width": 5}}
    bars = [
        {**place, "x0": phase.end_interval[0] + axis.offset, "x1": phase.end_interval[1] + axis.offset}
        for phase in phases
        if phase.end is not None and phase.end_interval is not None
    ]
    figure.update_layout(shapes=[*figure.layout.shapes, *bars])
    figure.layout.meta = {**(figure.layout.meta or {}), "intervals": bool(bars)}


def last_of(phase: Phase | LossStage, axis: TimeAxis) -> int:
    """Last step of a phase or stage that is drawn."""
    return max(axis.last if phase.end is None else phase.end, phase.start)


def phase_key(phases: Sequence[Phase]) -> str:
    """One line with the phases in their colors and steps; narrow phases have no room for a label."""
    parts = [
        f'<span style="color:{phase_color(phase)}">■</span> {as_text(phase.name.replace("_", " "))} '
        f"{phase.start:,}–{'' if phase.end is None else format(phase.end, ',')}"
        for phase in phases
    ]
    return " &nbsp; ".join(parts) or "no phase found yet"


def note_axes(
    figure: go.Figure,
    axis: TimeAxis,
    *,
    time_axes: Sequence[str],
    value_axes: Sequence[str] = (),
    most_ticks: int = MOST_TICKS,
) -> None:
    """Make the time axes logarithmic, and write down what a page or `add_buttons` needs to switch axes.

    Args:
        figure: Figure with its traces.
        axis: Positions of steps.
        time_axes: Names in the layout, such as ``xaxis2``.
        value_axes: Axes whose values can be drawn on a logarithmic scale, and are to begin with.
        most_ticks: Ticks that a time axis has room for.
    """
    ticks = ticks_of(axis, most=most_ticks)
    for name in time_axes:
        figure.layout[name].update(type="log", tickmode="array", **ticks["log"])
    for name in value_axes:
        figure.layout[name].update(type="log", exponentformat="power", nticks=figure.layout[name].nticks or 6)
    figure.layout.meta = {"time_axes": list(time_axes), "value_axes": list(value_axes), "ticks": ticks}


def add_buttons(figure: go.Figure, *, top: float) -> None:
    """Buttons that switch the axes noted in ``layout.meta``; `top` is their upper end as a share of the plot's height."""
    meta = figure.layout.meta or {}
    menus = []
    if meta.get("value_axes"):
        menus.append(scale_buttons(meta["value_axes"], "y", x=0.78, y=top))
    if meta.get("time_axes"):
        menus.append(scale_buttons(meta["time_axes"], "x", x=1.0, y=top, ticks=meta["ticks"]))
    figure.update_layout(updatemenus=menus)


def scale_buttons(
    axes: Sequence[str],
    letter: str,
    *,
    x: float,
    y: float,
    ticks: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, object]:
    """A pair of buttons that switch axes between log and linear; x: right end, y: upper end, as shares of the picture."""
    buttons = []
    for kind in ("log", "linear"):
        changes: dict[str, Any] = {f"{name}.type": kind for name in axes}
        for name in axes if ticks is not None else ():
            changes |= {f"{name}.{key}": value for key, value in (ticks or {})[kind].items()}
        buttons.append({"label": f"{letter} {kind}", "method": "relayout", "args": [changes]})
    place = {"x": x, "xanchor": "right", "y": y, "yanchor": "top"}
    return {"type": "buttons", "direction": "right", "buttons": buttons, **place, "showactive": True, "active": 0}
