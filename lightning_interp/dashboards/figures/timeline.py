# SPDX-License-Identifier: Apache-2.0
"""The phases of a run as bars, with where each boundary can lie, the alarms, and the stages of the loss curve."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from lightning_interp.core.timeline import LossStage, Phase, Timeline
from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.figures.time_axis import TimeAxis, last_of, note_axes, step_offset
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.dashboards.theme import LIGHT, MARK, NEUTRAL, STAGE_COLORS, contrast, phase_color

_PHASES, _STAGES, _ALARMS = 0, 1, 2
_ROWS = {_PHASES: "phase", _STAGES: "shape of the loss", _ALARMS: "alarm"}
ALARM_SYMBOLS = {"early_warning": "star", "phase_began": "line-ns-open", "collapse": "x", "divergence": "x"}
_BAR_PX, _BELOW = 26, 0.36
"""Height of a bar in pixels, and how far under its middle the whiskers lie, in rows."""
_FEWEST_DECADES = 0.25
"""Width of a bar in decades of steps from which its name fits into it."""


def timeline_figure(run: RunView) -> go.Figure:
    """Phases, stages and alarms over the same steps.

    Whiskers are as wide as the interval a boundary can lie in. An alarm stands at the step at which the detector knew, which
    is later than the boundary it reports. Stages are there once the history is finished.
    """
    timeline = run.timeline
    axis = TimeAxis(step_offset(run.series), run.last_step)
    rows = [
        row for row, there in ((_PHASES, True), (_STAGES, bool(timeline.stages)), (_ALARMS, bool(timeline.alarms))) if there
    ]
    figure = go.Figure()
    figure.add_traces([_bar(phase, rows.index(_PHASES), axis, phase_color(phase)) for phase in timeline.phases])
    if timeline.phases[1:]:
        figure.add_trace(_whiskers(timeline.phases[1:], axis))
    colors = [STAGE_COLORS.get(stage.name, NEUTRAL) for stage in timeline.stages]
    figure.add_traces([_bar(s, rows.index(_STAGES), axis, color) for s, color in zip(timeline.stages, colors, strict=True)])
    figure.add_traces(_alarms(timeline, axis, rows.index(_ALARMS)) if timeline.alarms else [])
    figure.update_layout(
        template=LIGHT,
        height=120 + 56 * len(rows),
        margin={"l": 64, "r": 28, "t": 40, "b": 48},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
        barmode="overlay",
    )
    names = [_ROWS[row] for row in rows]
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.45, -0.55], showgrid=False, zeroline=False
    )
    figure.update_xaxes(title_text="optimizer step", zeroline=False)
    note_axes(figure, axis, time_axes=["xaxis"])
    return figure


def _bar(stretch: Phase | LossStage, row: int, axis: TimeAxis, color: str) -> go.Scatter:
    """A thick line with its name above its middle, in log time; a narrow bar has its name in the hover text only."""
    until = "open" if stretch.end is None else f"{stretch.end:,}"
    name = stretch.name.replace("_", " ")
    if isinstance(stretch, Phase):
        fact = f"confidence {stretch.confidence:.2f}"
    else:
        fact = f"slope {stretch.slope:+.2f} per e-fold of steps"
    hover = f"{as_text(name)}, steps {stretch.start:,} to {until}, {fact}"
    start, end = axis.place((stretch.start, last_of(stretch, axis)))
    middle = round((start * end) ** 0.5)
    fits = _decades(start, end) > _FEWEST_DECADES + 0.022 * len(name) * _decades(axis.offset, axis.offset + axis.last) / 4
    return go.Scatter(
        x=[start, middle, end],
        y=[row] * 3,
        mode="lines+text",
        line={"color": color, "width": _BAR_PX},
        text=["", as_text(name) if fits else "", ""],
        textposition="middle center",
        textfont={"size": 12, "color": "#000000" if contrast(color, "#000000") > contrast(color, "#ffffff") else "#ffffff"},
        hovertext=[hover] * 3,
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
        showlegend=False,
    )


def _decades(start: int, end: int) -> float:
    return math.log10(max(end, 1)) - math.log10(max(start, 1))


def _whiskers(phases: Sequence[Phase], axis: TimeAxis) -> go.Scatter:
    """Where boundaries can lie, one trace: low, boundary, high, gap."""
    x: list[int | None] = []
    texts: list[str] = []
    sizes: list[int] = []
    for phase in phases:
        low, high = phase.start_interval
        text = f"{as_text(phase.name.replace('_', ' '))} from {phase.start:,}; can lie in {low:,} to {high:,}"
        x += [*axis.place((low, phase.start, high)), None]
        texts += [text] * 4
        sizes += [0, 12, 0, 0]
    return go.Scatter(
        x=x,
        y=[_PHASES + _BELOW] * len(x),
        mode="lines+markers",
        line={"color": MARK, "width": 3},
        marker={"size": sizes, "symbol": "line-ns", "line": {"color": MARK, "width": 3}},
        hovertext=texts,
        hovertemplate="%{hovertext}<extra></extra>",
        name="where a boundary can lie",
    )


def _alarms(timeline: Timeline, axis: TimeAxis, row: int) -> list[go.Scatter]:
    traces = []
    for name in dict.fromkeys(alarm.name for alarm in timeline.alarms):
        steps = [alarm.step for alarm in timeline.alarms if alarm.name == name]
        label = name.replace("_", " ")
        traces.append(
            go.Scatter(
                x=axis.place(steps),
                y=[row] * len(steps),
                customdata=steps,
                mode="markers",
                marker={
                    "symbol": ALARM_SYMBOLS.get(name, "diamond"),
                    "size": 13,
                    "color": "#D55E00" if name in ("collapse", "divergence") else "#0072B2",
                    "line": {"width": 2, "color": "#D55E00" if name in ("collapse", "divergence") else "#0072B2"},
                },
                name=as_text(label),
                hovertemplate=f"{as_text(label)}, known at step %{{customdata:,}}<extra></extra>",
            )
        )
    return traces
