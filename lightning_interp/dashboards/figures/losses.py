# SPDX-License-Identifier: Apache-2.0
"""Losses over log time with the phases behind them, and below the intensities of the processes that make them up."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.core.series import Series
from lightning_interp.core.timeline import INTENSITY_NAMES, Timeline
from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.figures.labels import loss_unit
from lightning_interp.dashboards.figures.thinning import thin
from lightning_interp.dashboards.figures.time_axis import (
    TimeAxis,
    mark_intervals,
    note_axes,
    shade_phases,
    step_offset,
)
from lightning_interp.dashboards.run_view import RunView, view_history
from lightning_interp.dashboards.theme import EXCLUDED, HELDOUT, LIGHT, NEUTRAL, PHASE_COLORS, RESTRICTED, TRAIN
from lightning_interp.measures.label import NATS

CURVE_STYLES = {
    "train_loss": ("train loss", TRAIN, "dash"),
    "heldout_loss": ("held-out loss", HELDOUT, "solid"),
    "excluded_loss_max": ("excluded loss (train)", EXCLUDED, "dot"),
    "restricted_loss": ("restricted loss (held-out)", RESTRICTED, "dashdot"),
}
ERROR_STYLES = {
    "train_accuracy": ("train error", TRAIN, "dash"),
    "heldout_accuracy": ("held-out error", HELDOUT, "solid"),
}
SCORES = {"generalization": ("early warning", NEUTRAL, "dot")}
INTENSITY_STYLES = {
    name: SCORES.get(name, (name.replace("_", " "), PHASE_COLORS.get(name, NEUTRAL), "solid")) for name in INTENSITY_NAMES
}
_HEIGHT = 560


def losses_figure(run: RunView) -> go.Figure:
    """Losses with phases shaded, boundaries with their uncertainty, and intensities in [0, 1] below.

    Accuracies are drawn as errors, on a linear axis, where no loss is recorded. Where nothing was judged, as in a training
    without held-out data, the intensities are left out. Where the probe gives no curves those that the training logged are
    drawn.
    """
    series = {**run.series, **run.logged}
    losses = any(name in series for name in CURVE_STYLES)
    styles = CURVE_STYLES if losses else ERROR_STYLES
    axis = TimeAxis(step_offset(series), run.last_step)
    shown = shown_intensities(run.timeline)
    figure = _panels(len(shown) > 0)
    figure.add_traces(_curves(series, styles, axis), rows=1, cols=1)
    if shown:
        figure.add_traces(_intensities(run.timeline, shown, axis), rows=2, cols=1)
    shade_phases(figure, run.timeline.phases, axis, panels=(1, 2) if shown else (1,))
    negative = any(value < 0 for name in styles if name in series for value in series[name][1])
    unit = loss_unit(run)
    title = f"loss ({unit if unit == NATS else 'own unit'})" if losses else "error (1 − accuracy)"
    _lay_out(figure, axis, title, two=bool(shown), logarithmic=losses and not negative)
    mark_intervals(figure, run.timeline.phases, axis)
    return figure


def phase_timeline_figure(series: Series, timeline: Timeline, *, title: str) -> go.Figure:
    """The losses figure of a metrics history, to stand alone.

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
    from lightning_interp.dashboards.figures.title_and_buttons import stand_alone

    return stand_alone(losses_figure(view_history(title, series, timeline)), title=title, timeline=timeline)


def shown_intensities(timeline: Timeline) -> tuple[str, ...]:
    """Processes with something to say: a score whose series are not recorded stays at zero throughout."""
    found = {name: timeline.intensities.get(name, ()) for name in INTENSITY_NAMES}
    if not any(found.values()):
        return ()
    return tuple(name for name, pairs in found.items() if name not in SCORES or any(value for _, value in pairs))


def _panels(two: bool) -> go.Figure:
    if two:
        return make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.09)
    return make_subplots(rows=1, cols=1)


def _curves(series: Series, styles: Mapping[str, tuple[str, str, str]], axis: TimeAxis) -> list[go.Scatter]:
    traces = []
    for name, (label, color, dash) in styles.items():
        if name in series:
            steps, values = series[name]
            points = thin(steps, [1 - value for value in values] if name.endswith("accuracy") else values)
            line = {"color": color, "dash": dash, "width": 2}
            traces.append(_trace(points, axis, name=label, line=line, legend="legend", number="%{y:.4g}"))
    return traces


def _intensities(timeline: Timeline, names: tuple[str, ...], axis: TimeAxis) -> list[go.Scatter]:
    traces = []
    for name in names:
        pairs = timeline.intensities.get(name, ())
        points = thin([step for step, _ in pairs], [value for _, value in pairs])
        label, color, dash = INTENSITY_STYLES[name]
        line = {"color": color, "dash": dash, "width": 2}
        traces.append(_trace(points, axis, name=label, line=line, legend="legend2", number="%{y:.2f}"))
    return traces


def _trace(points: tuple[list[int], list[float]], axis: TimeAxis, *, number: str, **style: Any) -> go.Scatter:
    steps, values = points
    hover = f"step %{{customdata:,}}: {number}"
    return go.Scatter(x=axis.place(steps), y=values, customdata=steps, mode="lines", hovertemplate=hover, **style)


def _lay_out(figure: go.Figure, axis: TimeAxis, value_title: str, *, two: bool, logarithmic: bool) -> None:
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
    figure.update_layout(
        template=LIGHT,
        height=_HEIGHT if two else 400,
        margin={"l": 64, "r": 28, "t": 56, "b": 48},
        legend={**legend, "y": 1.025},
        legend2={**legend, "y": 0.305} if two else {},
    )
    rows = 2 if two else 1
    figure.update_yaxes(title_text=as_text(value_title), row=1, col=1)
    if two:
        figure.update_yaxes(title_text="intensity (0 to 1)", range=[-0.03, 1.05], row=2, col=1)
    figure.update_xaxes(title_text="optimizer step", row=rows, col=1)
    names = ["xaxis", "xaxis2"][:rows]
    note_axes(figure, axis, time_axes=names, value_axes=("yaxis",) if logarithmic else ())
