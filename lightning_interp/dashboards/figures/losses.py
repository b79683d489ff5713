# SPDX-License-Identifier: Apache-2.0
"""Figures of a run, one pure function each: plain values in, a plotly figure out. All are importable from here."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.dashboards.component_figure import components_figure
from lightning_interp.dashboards.component_values import ComponentModel
from lightning_interp.dashboards.pages import write_html, write_image, write_page
from lightning_interp.dashboards.rank_figure import rank_selection_figure
from lightning_interp.dashboards.time_axis import (
    PHASE_COLORS,
    TimeAxis,
    phase_key,
    scale_buttons,
    shade_phase,
    step_offset,
    tick_labels,
    tick_steps,
)
from lightning_interp.timeline import INTENSITY_NAMES, Phase, Timeline

__all__ = [
    "CURVE_STYLES",
    "ERROR_STYLES",
    "MAX_POINTS",
    "PHASE_COLORS",
    "ComponentModel",
    "TimeAxis",
    "components_figure",
    "phase_timeline_figure",
    "rank_selection_figure",
    "step_offset",
    "tick_steps",
    "write_html",
    "write_image",
    "write_page",
]

CURVE_STYLES = {
    "train_loss": ("train loss", "#000000", "dash"),
    "heldout_loss": ("held-out loss", "#CC3311", "solid"),
    "excluded_loss_max": ("excluded loss (train)", "#CC79A7", "dot"),
}
ERROR_STYLES = {
    "train_accuracy": ("train error", "#000000", "dash"),
    "heldout_accuracy": ("held-out error", "#CC3311", "solid"),
}
SCORES = {"generalization": ("early warning", "#333333", "dot")}
INTENSITY_STYLES = {
    name: SCORES.get(name, (name.replace("_", " "), PHASE_COLORS.get(name, "#333333"), "solid")) for name in INTENSITY_NAMES
}
MAX_POINTS = 2000
"""Points drawn of one curve; longer ones are thinned evenly in log time."""


def phase_timeline_figure(
    series: Mapping[str, tuple[list[int], list[float]]], timeline: Timeline, *, title: str
) -> go.Figure:
    """Losses over log time with the phases behind them, and the intensities of the three processes below.

    Args:
        series: By record name, (optimizer steps, values). Losses in nats are drawn; accuracies, as
            errors, where no loss is there.
        timeline: Phases to shade, boundaries with the interval they can lie in, and intensities.
        title: Plain text; it is escaped.

    Returns:
        A figure with buttons for linear and logarithmic axes. The x position is the step plus an offset
        (`step_offset`), so that step 0 can be drawn; ticks and hover text show the step itself. A bar above a boundary is as
        wide as the interval it can lie in.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.07)
    axis = TimeAxis(step_offset(series), _last_step(series, timeline))
    losses = any(name in series for name in CURVE_STYLES)
    _add_curves(figure, series, CURVE_STYLES if losses else ERROR_STYLES, axis)
    _add_intensities(figure, timeline, axis)
    for phase in timeline.phases:
        _add_phase(figure, phase, axis)
    _lay_out(figure, title, timeline, "loss (nats)" if losses else "error (1 − accuracy)")
    _label_axes(figure, axis)
    return figure


def _add_curves(
    figure: go.Figure,
    series: Mapping[str, tuple[list[int], list[float]]],
    styles: Mapping[str, tuple[str, str, str]],
    axis: TimeAxis,
) -> None:
    for name, (label, color, dash) in styles.items():
        if name not in series:
            continue
        steps, values = series[name]
        points = _thin(steps, [1 - value for value in values] if name.endswith("accuracy") else values)
        line = {"color": color, "dash": dash, "width": 2}
        figure.add_trace(_trace(points, axis, name=label, line=line, legend="legend", number="%{y:.4g}"), row=1, col=1)


def _add_intensities(figure: go.Figure, timeline: Timeline, axis: TimeAxis) -> None:
    for name in INTENSITY_NAMES:
        pairs = timeline.intensities.get(name, ())
        points = _thin([step for step, _ in pairs], [value for _, value in pairs])
        if name in SCORES and not any(points[1]):  # its series are not recorded: it has nothing to say
            continue
        label, color, dash = INTENSITY_STYLES[name]
        line = {"color": color, "dash": dash, "width": 2}
        figure.add_trace(_trace(points, axis, name=label, line=line, legend="legend2", number="%{y:.2f}"), row=2, col=1)


def _trace(points: tuple[list[int], list[float]], axis: TimeAxis, *, number: str, **style: Any) -> go.Scatter:
    steps, values = points
    x = [step + axis.offset for step in steps]
    hover = f"step %{{customdata:,}}: {number}"
    return go.Scatter(x=x, y=values, customdata=steps, mode="lines", hovertemplate=hover, **style)


def _add_phase(figure: go.Figure, phase: Phase, axis: TimeAxis) -> None:
    """Shade one phase in both panels; draw its end as a dotted line under a bar as wide as the interval it can lie in."""
    shade_phase(figure, phase, axis, row="all")
    if phase.end is None or phase.end_interval is None:
        return
    low, high = phase.end_interval
    bar = {"color": "#333333", "width": 5}
    x0, x1 = low + axis.offset, high + axis.offset
    figure.add_shape(type="line", xref="x", yref="paper", x0=x0, x1=x1, y0=1.008, y1=1.008, line=bar)
    figure.add_vline(x=phase.end + axis.offset, line={"color": "#333333", "width": 1, "dash": "dot"}, row="all", col=1)


def _lay_out(figure: go.Figure, title: str, timeline: Timeline, unit: str) -> None:
    verdict = escape(timeline.verdict.replace("_", " "))
    figure.update_layout(
        title={"text": f"{escape(title)}<br><sub>verdict: {verdict}</sub>", "x": 0.02},
        template="plotly_white",
        font={"size": 13},
        height=720,
        margin={"l": 80, "r": 20, "t": 130, "b": 110},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        legend2={"orientation": "h", "x": 1, "xanchor": "right", "y": 0.3, "yanchor": "bottom"},
        updatemenus=[
            scale_buttons(["yaxis.type"], "y", x=0.78, y=1.23),
            scale_buttons(["xaxis.type", "xaxis2.type"], "x", x=1.0, y=1.23),
        ],
        hovermode="x unified",
    )
    figure.update_yaxes(type="log", exponentformat="power", title_text=unit, row=1, col=1)
    figure.update_yaxes(title_text="intensity (0 to 1)", range=[-0.03, 1.05], row=2, col=1)
    _add_phase_key(figure, timeline)


def _label_axes(figure: go.Figure, axis: TimeAxis) -> None:
    figure.update_xaxes(type="log", **tick_labels(axis))
    figure.update_xaxes(title_text="optimizer step", row=2, col=1)


def _add_phase_key(figure: go.Figure, timeline: Timeline) -> None:
    """The phases in their colors and steps, under the picture."""
    text = phase_key(timeline.phases)
    if len(timeline.phases) > 1:
        text += "<br>Black bars: where a boundary can lie."
    anchor = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"}
    figure.add_annotation(text=text, x=0, y=-0.12, showarrow=False, align="left", **anchor)


def _last_step(series: Mapping[str, tuple[list[int], list[float]]], timeline: Timeline) -> int:
    ends = [steps[-1] for steps, _ in series.values() if steps]
    return max([*ends, *(phase.end or phase.start for phase in timeline.phases)], default=0)


def _thin(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """At most `MAX_POINTS` points: every one while they are far apart in log time, then evenly in log time, and the last."""
    if len(steps) <= MAX_POINTS:
        return list(steps), list(values)
    ratio = ((steps[-1] + 1) / (steps[0] + 1)) ** (1 / (MAX_POINTS - 1))
    kept: list[int] = []
    due = float(steps[0])
    for index, step in enumerate(steps):
        if step >= due or index == len(steps) - 1:
            kept.append(index)
            due = (step + 1) * ratio - 1
    return [steps[index] for index in kept], [values[index] for index in kept]
