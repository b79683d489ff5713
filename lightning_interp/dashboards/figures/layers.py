# SPDX-License-Identifier: Apache-2.0
"""Heat maps over time: a measure by layer, or the power of each frequency."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from lightning_interp.dashboards.figures.escaping import as_text, end_of
from lightning_interp.dashboards.figures.labels import label_for
from lightning_interp.dashboards.figures.thinning import MAX_COLUMNS, kept_places
from lightning_interp.dashboards.figures.time_axis import TimeAxis, last_of, note_axes, step_offset
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.dashboards.theme import LIGHT, phase_color

_ROW_PX, _LEAST_PX, _MOST_PX = 22, 170, 620
_LONGEST_NAME = 26
_MOST_NAMES = 28
"""Layers up to which each has its name on the axis; of more, every second, third, ..."""


def layers_figure(run: RunView, measure: str) -> go.Figure:
    """One measure by layer and step, each layer as a share of its own largest value; the hover text has the value itself.

    Layers differ in scale by orders of magnitude, and what is asked is when each of them moves.
    """
    grid = run.by_layer[measure]
    places = kept_places(grid.steps, MAX_COLUMNS)
    steps, values = grid.steps[places], grid.values[places].T
    finite = np.where(np.isfinite(grid.values), np.abs(grid.values), 0.0)  # of all steps, drawn or not
    largest = finite.max(axis=0)[:, None]
    shares = values / np.where(largest > 0, largest, 1.0)
    low = -1.0 if np.nanmin(values, initial=0.0) < 0 else 0.0
    bar = {"title": {"text": "share of the layer's largest", "side": "right", "font": {"size": 12}}}
    axis = TimeAxis(step_offset(run.series), run.last_step)
    names = list(grid.layers)
    label = label_for(measure, run.labels).label
    hover = f"%{{y}}<br>step %{{customdata[0]:,}}: {as_text(label)} %{{customdata[1]:.5g}}<extra></extra>"
    figure = _heat_map(steps, shares, values, axis, names=names, hover=hover, limits=(low, 1.0), bar=bar)
    every = -(-len(names) // _MOST_NAMES)
    shown = [as_text(name) for name in names[::every]]
    figure.update_yaxes(
        tickvals=shown, ticktext=[as_text(end_of(name, _LONGEST_NAME)) for name in names[::every]], autorange="reversed"
    )
    return _finished(figure, run, axis, rows=len(names))


def fourier_figure(run: RunView, name: str) -> go.Figure:
    """Share of power of each frequency over time, on a logarithmic color scale down to a thousandth."""
    all_steps, power = run.vectors[name]
    places = kept_places(all_steps, MAX_COLUMNS)
    steps, shares = all_steps[places], power[places].T
    axis = TimeAxis(step_offset(run.series), run.last_step)
    bar = {
        "title": {"text": "share of power", "side": "right", "font": {"size": 12}},
        "tickvals": [-3, -2, -1, 0],
        "ticktext": ["0.001", "0.01", "0.1", "1"],
    }
    numbers = [str(k) for k in range(1, len(shares) + 1)]
    hover = "frequency %{y}<br>step %{customdata[0]:,}: %{customdata[1]:.2%} of the power<extra></extra>"
    colors = np.log10(np.clip(shares, 1e-3, 1.0))
    figure = _heat_map(steps, colors, shares, axis, names=numbers, hover=hover, limits=(-3.0, 0.0), bar=bar)
    every = next(size for size in (1, 2, 5, 10, 20, 50) if len(numbers) / size <= _MOST_NAMES)
    figure.update_yaxes(tickvals=numbers[every - 1 :: every], title_text="frequency")
    return _finished(figure, run, axis, rows=len(numbers))


def _heat_map(  # noqa: PLR0913 - what is drawn, where, and the words for it
    steps: NDArray[np.int64],
    colors: NDArray[np.float64],
    values: NDArray[np.float64],
    axis: TimeAxis,
    *,
    names: Sequence[str],
    hover: str,
    limits: tuple[float, float],
    bar: Mapping[str, object],
) -> go.Figure:
    """Cells drawn by their edges, half-way between steps in log time; steps and values go along for the hover text."""
    along = np.stack(np.broadcast_arrays(steps[None, :].astype(np.float32), values.astype(np.float32)), axis=-1)
    trace = go.Heatmap(
        x=_edges(np.asarray(axis.place(steps), dtype=np.float64)),
        y=[as_text(name) for name in names],
        z=colors.astype(np.float32),
        customdata=along,
        zmin=limits[0],
        zmax=limits[1],
        hoverongaps=False,
        colorscale="Viridis",
        colorbar={**bar, "thickness": 12, "outlinewidth": 0},
        hovertemplate=hover,
    )
    return go.Figure(trace)


def _edges(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of cells around positions: their geometric means, and as far beyond the first and the last."""
    if len(positions) == 1:
        return np.array([positions[0] / 1.1, positions[0] * 1.1])
    logs = np.log(positions)
    between = (logs[1:] + logs[:-1]) / 2
    edges: NDArray[np.float64] = np.exp(np.concatenate([[2 * logs[0] - between[0]], between, [2 * logs[-1] - between[-1]]]))
    return edges


def _finished(figure: go.Figure, run: RunView, axis: TimeAxis, *, rows: int) -> go.Figure:
    """Size, axes, and dotted lines where phases begin; a band would change the colors it lies over."""
    place, dotted = {"xref": "x", "yref": "paper"}, {"color": "#ffffff", "width": 1, "dash": "dot"}
    begins = [phase.start + axis.offset for phase in run.timeline.phases]
    lines = [{"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": dotted, **place} for x in begins[1:]]
    top = {"type": "rect", "y0": 1.01, "y1": 1.01 + 10 / _height(rows), "line": {"width": 0}, **place}
    bands = [
        {**top, "x0": x, "x1": last_of(phase, axis) + axis.offset, "fillcolor": phase_color(phase)}
        for phase, x in zip(run.timeline.phases, begins, strict=True)
    ]
    figure.update_layout(
        template=LIGHT,
        height=_height(rows) + 92,
        margin={"l": 64, "r": 28, "t": 34, "b": 58},
        hovermode="closest",
        shapes=[*lines, *bands],
    )
    figure.update_xaxes(title_text="optimizer step", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    note_axes(figure, axis, time_axes=["xaxis"])
    return figure


def _height(rows: int) -> int:
    """Pixels of the map."""
    return max(_LEAST_PX, min(_MOST_PX, rows * _ROW_PX))
