# SPDX-License-Identifier: Apache-2.0
"""Courses of several records below each other, each on an axis of its own, with the phases behind them."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.core.series import Series
from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.figures.labels import MEANING_COLORS, label_for, loss_unit
from lightning_interp.dashboards.figures.thinning import thin
from lightning_interp.dashboards.figures.time_axis import TimeAxis, note_axes, shade_phases, step_offset
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.dashboards.theme import CURVE_COLORS, LIGHT
from lightning_interp.measures.label import NATS, Label

ROW_PX, GAP_PX = 130, 44
MOST_ROWS = 12
"""Rows of one figure; what does not fit is in the run directory."""


def courses_figure(run: RunView, series: Series, names: Sequence[str]) -> go.Figure:
    """One row a record of `series`, at most `MOST_ROWS` of `names`, under a heading with its unit; phases are the run's."""
    shown = drawn(series, names)
    labels = [label_for(name, run.labels) for name in shown]
    plot = len(shown) * ROW_PX + (len(shown) - 1) * GAP_PX
    figure = make_subplots(
        rows=len(shown), cols=1, shared_xaxes=True, vertical_spacing=GAP_PX / plot if len(shown) > 1 else 0
    )
    axis = TimeAxis(step_offset(run.series or series), run.last_step)
    for row, name in enumerate(shown):
        figure.add_trace(_course(series[name], name, labels[row].label, row, axis), row=row + 1, col=1)
    shade_phases(figure, run.timeline.phases, axis, panels=range(1, len(shown) + 1))
    headings = [_heading(label, run, row) for row, label in enumerate(labels)]
    figure.update_layout(
        template=LIGHT,
        height=plot + 100,
        margin={"l": 64, "r": 28, "t": 42, "b": 58},
        showlegend=False,
        annotations=headings,
    )
    figure.update_yaxes(nticks=4, exponentformat="power")
    figure.update_xaxes(title_text="optimizer step", row=len(shown), col=1)
    logarithmic = [row for row, name in enumerate(shown) if labels[row].log and min(series[name][1], default=0.0) > 0]
    numbers = ["", *(str(row + 1) for row in range(1, len(shown)))]
    note_axes(figure, axis, time_axes=[f"xaxis{n}" for n in numbers], value_axes=[f"yaxis{numbers[r]}" for r in logarithmic])
    return figure


def drawn(series: Mapping[str, object], names: Sequence[str]) -> list[str]:
    """The names that are there, the first `MOST_ROWS` of them."""
    return [name for name in names if name in series][:MOST_ROWS]


def _heading(label: Label, run: RunView, row: int) -> dict[str, object]:
    text = f"{label.label} (own unit)" if label.unit == NATS and loss_unit(run) != NATS else label.title
    number = "" if row == 0 else row + 1
    place = {"xref": f"x{number} domain", "yref": f"y{number} domain"}
    style = {"x": 0, "y": 1, "yshift": 3, "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 13}}
    return {"text": as_text(text), **place, **style}


def _course(points: tuple[list[int], list[float]], name: str, label: str, row: int, axis: TimeAxis) -> go.Scatter:
    finite = [(step, value) for step, value in zip(*points, strict=True) if math.isfinite(value)]
    steps, values = thin([step for step, _ in finite], [value for _, value in finite])
    color = MEANING_COLORS.get(name, CURVE_COLORS[row % len(CURVE_COLORS)])
    return go.Scatter(
        x=axis.place(steps),
        y=values,
        customdata=steps,
        mode="lines" if len(steps) > 1 else "markers",
        line={"color": color, "width": 2},
        name=as_text(label),
        hovertemplate="step %{customdata:,}: %{y:.5g}<extra></extra>",
    )
