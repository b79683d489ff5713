# SPDX-License-Identifier: Apache-2.0
"""What the monitor cost and how it fared: time of copies and writes, share of the wall time, what was dropped."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.dashboards.figures.thinning import thin
from lightning_interp.dashboards.figures.time_axis import TimeAxis, note_axes, step_offset
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.dashboards.theme import CURVE_COLORS, LIGHT

_ROW_PX = 150


def health_figure(run: RunView) -> go.Figure:
    """Milliseconds of each snapshot on the training thread and on the writer's, and what was dropped or removed."""
    taken = run.events("snapshot")
    steps = [int(row["step"]) for row in taken]
    lost = {kind: [int(row["step"]) for row in run.events(kind)] for kind in ("dropped", "removed")}
    axis = TimeAxis(step_offset({"": (steps, [])}), max([run.last_step, *steps], default=0))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.12)
    curves = (("copy_ms", "copied on the training thread"), ("write_ms", "written by the writer's thread"))
    for (key, label), color in zip(curves, CURVE_COLORS, strict=False):
        figure.add_trace(_cost(taken, key, label, axis, color), row=1, col=1)
    for row, (kind, label) in enumerate((("snapshot", "kept"), ("removed", "removed to make room"), ("dropped", "dropped"))):
        gone = set(lost["removed"])
        at = [step for step in steps if step not in gone] if kind == "snapshot" else lost[kind]
        figure.add_trace(_marks(at, row, label, axis), row=2, col=1)
    figure.update_layout(
        template=LIGHT,
        height=3 * _ROW_PX,
        margin={"l": 64, "r": 28, "t": 48, "b": 52},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    figure.update_yaxes(title_text="time a snapshot (ms)", row=1, col=1)
    figure.update_yaxes(
        tickvals=[0, 1, 2], ticktext=["kept", "removed", "dropped"], range=[2.5, -0.5], showgrid=False, row=2, col=1
    )
    figure.update_xaxes(title_text="optimizer step", row=2, col=1)
    note_axes(figure, axis, time_axes=["xaxis", "xaxis2"], value_axes=["yaxis"])
    return figure


def _cost(rows: Sequence[Mapping[str, Any]], key: str, label: str, axis: TimeAxis, color: str) -> go.Scatter:
    """Points of one kind of cost; zeros, which a logarithmic axis cannot show, are left out."""
    pairs = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
    steps, values = thin([step for step, _ in pairs], [value for _, value in pairs])
    return go.Scatter(
        x=axis.place(steps),
        y=values,
        customdata=steps,
        mode="lines+markers",
        line={"color": color, "width": 1},
        marker={"size": 4},
        name=label,
        hovertemplate="step %{customdata:,}: %{y:.3g} ms<extra>%{fullData.name}</extra>",
    )


def _marks(steps: Sequence[int], row: int, label: str, axis: TimeAxis) -> go.Scatter:
    kept, _ = thin(sorted(steps), sorted(steps))
    color = ("#008F68", "#777777", "#D55E00")[row]
    return go.Scatter(
        x=axis.place(kept),
        y=[row] * len(kept),
        customdata=kept,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 11, "color": color},
        showlegend=False,
        hovertemplate=f"step %{{customdata:,}}: {label}<extra></extra>",
    )
