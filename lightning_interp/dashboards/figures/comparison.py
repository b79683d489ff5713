# SPDX-License-Identifier: Apache-2.0
"""Several runs in one picture: curves over steps, the phases of each run as bars, and the curves again in phase time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from lightning_interp.core.timeline import Phase
from lightning_interp.dashboards.figures.escaping import as_text, end_of
from lightning_interp.dashboards.figures.thinning import kept_with_extremes
from lightning_interp.dashboards.figures.time_axis import TimeAxis, note_axes, shade_phases, step_offset
from lightning_interp.dashboards.figures.title_and_buttons import stand_alone
from lightning_interp.dashboards.theme import LIGHT, MARK, phase_color
from lightning_interp.measures.label import NATS

RUN_COLORS = ("#4477AA", "#D6455D", "#228833", "#AA3377", "#1E8FB0", "#9C8A12", "#777777")
"""Colors of up to seven runs, after Tol's bright scheme, its light colors darkened, in an order that begins with the pairs
easiest to tell apart."""

MOST_POINTS = 1000
"""Points drawn of one curve, evenly in log time."""

_LOSSES = {"heldout_loss": ("held-out", "solid"), "train_loss": ("train", "dash")}
_ERRORS = {"heldout_accuracy": ("held-out", "solid"), "train_accuracy": ("train", "dash")}
_CURVES_PX, _BAR_PX, _TOP, _BOTTOM, _GAP = 300, 24, 12, 110, 78
_MIN_WIDTH = 620
_LINE_PX = 26
_LONGEST_NAME = 28


@dataclass(frozen=True)
class RunCurves:
    """What is drawn of one run.

    Attributes:
        name: Plain text; it is escaped.
        phases: Phases, empty where none are known.
        series: By record name, (optimizer steps, values): losses in nats, accuracies as shares.
        phase_time: By record name, each of those steps in phase time; empty where the run is not aligned.
        unit: Unit of the losses.
    """

    name: str
    phases: Sequence[Phase]
    series: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    phase_time: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unit: str = NATS


@dataclass(frozen=True)
class _Layout:
    """Sizes that depend on the runs: the time axis, and heights in pixels of the bars and above the first panel."""

    axis: TimeAxis
    bars: int
    top: int

    @property
    def plot(self) -> int:
        return 2 * _CURVES_PX + self.bars + 2 * _GAP


def comparison_figure(runs: Sequence[RunCurves], *, title: str) -> go.Figure:
    """As `runs_figure`, to stand alone."""
    return stand_alone(runs_figure(runs), title=title)


def runs_figure(runs: Sequence[RunCurves]) -> go.Figure:
    """Losses of all runs over log steps and in phase time, and between them the phases of each run.

    Args:
        runs: Two or more; phase time is in the steps of the first, whose phases are shaded in the lowest panel.

    Returns:
        A figure whose height grows with the number of runs. The x position is the step plus an offset (`step_offset`), so
        that step 0 can be drawn; ticks and hover text show the step itself. Black marks on the bars are as wide as the
        interval a boundary can lie in. A click on a run in the legend hides its curves.
    """
    layout = _sizes(runs)
    heights = [size / (2 * _CURVES_PX + layout.bars) for size in (_CURVES_PX, layout.bars, _CURVES_PX)]
    figure = make_subplots(rows=3, cols=1, row_heights=heights, vertical_spacing=_GAP / layout.plot)
    losses = any(name in run.series for run in runs for name in _LOSSES)
    styles = _LOSSES if losses else _ERRORS
    for run, color in zip(runs, _colors(len(runs)), strict=True):
        _add_curves(figure, run, color, styles, layout)
    _add_bars(figure, runs, layout.axis)
    shade_phases(figure, runs[0].phases if runs else (), layout.axis, panels=(3,))
    _lay_out(figure, layout)
    unit = NATS if all(run.unit == NATS for run in runs) else "own unit"
    values = [value for run in runs for name in styles for value in run.series.get(name, ((), ()))[1]]
    logarithmic = losses and min(values, default=0.0) >= 0
    _label_axes(figure, runs, layout, f"loss ({unit})" if losses else "error (1 − accuracy)", logarithmic=logarithmic)
    return figure


def _sizes(runs: Sequence[RunCurves]) -> _Layout:
    drawn = {f"{number} {name}": points for number, run in enumerate(runs) for name, points in run.series.items()}
    offset = step_offset({name: (list(steps), []) for name, (steps, _) in drawn.items()})
    ends = [max(steps) for steps, _ in drawn.values() if steps]
    ends += [phase.end or phase.start for run in runs for phase in run.phases]
    times = [max(mapped) for run in runs for mapped in run.phase_time.values() if len(mapped)]
    reference = [phase.end or phase.start for run in runs[:1] for phase in run.phases]
    bars = max(3, len(runs)) * _BAR_PX
    last = round(max([*ends, *times, *reference], default=0))
    return _Layout(TimeAxis(offset, last), bars, _TOP + _legend_lines(runs) * _LINE_PX)


def _legend_lines(runs: Sequence[RunCurves]) -> int:
    """Lines that the legend of runs takes, about: some 7 pixels a letter and 45 for the sample, in an image's width."""
    return 1 + sum(45 + 7 * len(run.name) for run in runs) // 950


def _colors(count: int) -> list[str]:
    if count <= len(RUN_COLORS):
        return list(RUN_COLORS[:count])
    found: list[str] = sample_colorscale("Turbo", [0.05 + 0.9 * k / (count - 1) for k in range(count)])
    return found


def _add_curves(
    figure: go.Figure, run: RunCurves, color: str, styles: Mapping[str, tuple[str, str]], layout: _Layout
) -> None:
    """The run's curves over its own steps above, in phase time below; one entry in the legend."""
    named, in_phase_time = False, ", phase time %{customdata[1]:,.0f}"
    for name, (label, dash) in styles.items():
        steps, values = run.series.get(name, ((), ()))
        if not len(steps):
            continue
        shown = [1 - value for value in values] if name.endswith("accuracy") else list(values)
        panels = [(1, steps), (3, run.phase_time.get(name, ()))]
        for row, times in panels:
            if not len(times):
                continue
            kept = kept_with_extremes([round(time) for time in times], shown, MOST_POINTS)
            figure.add_trace(
                go.Scatter(
                    x=[times[k] + layout.axis.offset for k in kept],
                    y=[shown[k] for k in kept],
                    customdata=[[steps[k], times[k]] for k in kept],
                    mode="lines",
                    line={"color": color, "dash": dash, "width": 2},
                    name=as_text(run.name),
                    legendgroup=f"run {as_text(run.name)}",
                    showlegend=not named,
                    hovertemplate=f"{label} %{{y:.4g}} at step %{{customdata[0]:,}}{in_phase_time if row == 3 else ''}",
                ),
                row=row,
                col=1,
            )
            named = True


def _add_bars(figure: go.Figure, runs: Sequence[RunCurves], axis: TimeAxis) -> None:
    """Phases as thick lines, a trace for each name and run, and black marks where a boundary can lie."""
    known: set[str] = set()
    for place, run in enumerate(runs):
        last = max((max(steps) for steps, _ in run.series.values() if len(steps)), default=0)
        for phase in run.phases:
            end = max(last, phase.start) if phase.end is None else phase.end
            figure.add_trace(
                _bar(run.name, phase, (phase.start, end), place, axis, first=phase.name not in known), row=2, col=1
            )
            known.add(phase.name)
    marked = False
    for place, run in enumerate(runs):
        for phase in run.phases[1:]:
            figure.add_trace(_interval(run.name, phase, place, axis, first=not marked), row=2, col=1)
            marked = True


def _bar(run: str, phase: Phase, span: tuple[int, int], place: int, axis: TimeAxis, *, first: bool) -> go.Scatter:
    name = as_text(phase.name.replace("_", " "))
    until = "open" if phase.end is None else f"{phase.end:,}"
    text = f"{as_text(run)}<br>{name} {phase.start:,}–{until}"
    return go.Scatter(
        x=[step + axis.offset for step in span],
        y=[place, place],
        text=[text, text],
        mode="lines",
        line={"color": phase_color(phase), "width": 0.6 * _BAR_PX},
        name=name,
        legend="legend2",
        legendgroup=f"phase {name}",
        showlegend=first,
        hovertemplate="%{text}<extra></extra>",
    )


def _interval(run: str, phase: Phase, place: int, axis: TimeAxis, *, first: bool) -> go.Scatter:
    low, high = phase.start_interval
    name = as_text(phase.name.replace("_", " "))
    text = f"{as_text(run)}<br>{name} from {phase.start:,}, can lie in {low:,}–{high:,}"
    return go.Scatter(
        x=[step + axis.offset for step in (low, phase.start, high)],
        y=[place] * 3,
        text=[text] * 3,
        mode="lines+markers",
        line={"color": MARK, "width": 3},
        marker={"size": [0, 10, 0], "symbol": "line-ns", "line": {"color": MARK, "width": 2}},
        name="where a boundary can lie",
        legend="legend2",
        legendgroup="interval",
        showlegend=first,
        hovertemplate="%{text}<extra></extra>",
    )


def _lay_out(figure: go.Figure, layout: _Layout) -> None:
    middle = 1 - (_CURVES_PX + _GAP) / layout.plot  # upper end of the bars, as a share of the plot
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
    figure.update_layout(
        template=LIGHT,
        height=layout.plot + layout.top + _BOTTOM,
        margin={"l": 64, "r": 28, "t": layout.top, "b": _BOTTOM},
        legend={**legend, "y": 1 + 8 / layout.plot},
        legend2={**legend, "y": middle + 4 / layout.plot},
        hovermode="closest",
    )


def _label_axes(figure: go.Figure, runs: Sequence[RunCurves], layout: _Layout, unit: str, *, logarithmic: bool) -> None:
    figure.update_xaxes(matches="x", row=2, col=1)
    figure.update_xaxes(title_text="optimizer step", row=2, col=1)
    reference = as_text(end_of(runs[0].name, _LONGEST_NAME)) if runs else ""
    figure.update_xaxes(title_text=f"phase time: optimizer step of {reference}", row=3, col=1)
    for row in (1, 3):
        figure.update_yaxes(title_text=unit, row=row, col=1)
    names = [as_text(end_of(run.name, _LONGEST_NAME)) for run in runs]
    bars: dict[str, Any] = {"tickvals": list(range(len(runs))), "ticktext": names, "showgrid": False, "zeroline": False}
    figure.update_yaxes(**bars, range=[max(3, len(runs)) - 0.4, -0.6], row=2, col=1)
    values = ["yaxis", "yaxis3"] if logarithmic else []
    note_axes(figure, layout.axis, time_axes=["xaxis", "xaxis2", "xaxis3"], value_axes=values)
    figure.layout.meta = {**figure.layout.meta, "min_width": _MIN_WIDTH}
    missing = [as_text(run.name) for run in runs if not run.phase_time]
    notes = ["Solid: held-out, dashed: train. Shaded: phases of the reference."]
    notes += [f"Not in phase time: {', '.join(missing)}."] if missing else []
    place = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top", "align": "left"}
    figure.add_annotation(text="<br>".join(notes), x=0, y=0, yshift=-58, showarrow=False, **place)
