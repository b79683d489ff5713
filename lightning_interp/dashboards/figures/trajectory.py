# SPDX-License-Identifier: Apache-2.0
"""The way of the weights through their space: principal components of their sketches, colored by phase."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.figures.thinning import MAX_COLUMNS, kept_places
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.dashboards.theme import LIGHT, NEUTRAL, PHASE_COLORS

SKETCH = "weight_sketch"
FEWEST_POINTS = 4
_HEIGHT = 460


def principal_plane(sketches: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates [step, 2] of sketches [step, entry] on their first two principal components, in the unit of the weights.

    The second result is the share of the variance of each of the two.
    """
    centered = sketches - sketches.mean(axis=0)
    left, singular, _ = np.linalg.svd(centered, full_matrices=False)
    total = max(float((singular**2).sum()), np.finfo(np.float64).tiny)
    return left[:, :2] * singular[:2], singular[:2] ** 2 / total


def trajectory_figure(run: RunView) -> go.Figure:
    """Each snapshot as a point; one unit on either axis is as long, so that distances can be compared.

    A sketch keeps distances between snapshots to about a tenth.
    """
    steps, sketches = run.vectors[SKETCH]
    places = kept_places(steps, MAX_COLUMNS)
    points, shares = principal_plane(sketches[places])
    known = [int(step) for step in steps[places]]
    figure = go.Figure(
        go.Scatter(
            x=points[:, 0],
            y=points[:, 1],
            mode="lines",
            line={"color": NEUTRAL, "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    names = [run.timeline.phase_at(step) or "" for step in known]
    for name in dict.fromkeys(names):
        mine = [k for k, each in enumerate(names) if each == name]
        figure.add_trace(
            go.Scatter(
                x=points[mine, 0],
                y=points[mine, 1],
                customdata=[known[k] for k in mine],
                mode="markers",
                marker={"color": PHASE_COLORS.get(name, NEUTRAL), "size": 8},
                name=as_text(name.replace("_", " ")) or "no phase",
                hovertemplate="step %{customdata:,}<extra>%{fullData.name}</extra>",
            )
        )
    _mark_ends(figure, points, known)
    percent = [f"{100 * share:.0f} % of the variance" for share in shares]
    figure.update_layout(
        template=LIGHT,
        height=_HEIGHT,
        margin={"l": 64, "r": 28, "t": 48, "b": 52},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        meta={"time_axes": [], "value_axes": []},
    )
    figure.update_xaxes(title_text=f"first principal component ({percent[0]})", zeroline=False)
    figure.update_yaxes(title_text=f"second ({percent[1]})", zeroline=False, scaleanchor="x", scaleratio=1)
    return figure


def _mark_ends(figure: go.Figure, points: NDArray[np.float64], steps: list[int]) -> None:
    """Name the first and the last point, each on the side that lies away from the middle of the way."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    for place in (0, -1):
        x, y = (float(value) for value in points[place])
        away = points[place] - middle
        length = max(float(np.hypot(*away)), np.finfo(np.float64).tiny)
        ax, ay = 46 * float(away[0]) / length, -34 * float(away[1]) / length
        figure.add_annotation(x=x, y=y, text=f"step {steps[place]:,}", showarrow=True, arrowhead=0, ax=ax, ay=ay)
