# SPDX-License-Identifier: Apache-2.0
"""The three panels of one component: its course over training, its stimuli, its units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from lightning_interp.dashboards.figures.component_values import SPLIT_NAMES, Loadings, StimulusGroup, units_carrying
from lightning_interp.dashboards.figures.time_axis import TimeAxis
from lightning_interp.dashboards.theme import CURVE_COLORS, MARK, NEUTRAL

COMPONENT_COLORS = CURVE_COLORS
"""Component colors by identity; they repeat after eight."""

NULL_COLOR = NEUTRAL
WHEN, WHICH, WHO = 1, 2, 3
"""Columns of the figure: courses, stimuli, units."""

MARGIN = 0.06
"""Room beyond a course, as a share of what it spans."""

HEADING = {"xref": "x domain", "yref": "y domain", "showarrow": False, "yanchor": "bottom"}
"""Placement of a text relative to a panel, above it."""


@dataclass(frozen=True)
class Drawing:
    """What every panel needs: numbers, and per component an identity and the lines above its row."""

    values: Loadings
    identities: tuple[int, ...]
    headings: tuple[tuple[str, ...], ...]
    axis: TimeAxis

    def color(self, component: int) -> str:
        """Color of a component, which it keeps as long as it keeps its identity."""
        return COMPONENT_COLORS[self.identities[component] % len(COMPONENT_COLORS)]

    @property
    def row_height(self) -> int:
        """Pixels of one row of panels: fewer components have more room."""
        return max(80, min(220, 560 // self.values.rank))

    @property
    def heading_height(self) -> int:
        """Pixels between two rows."""
        return 22 + 15 * max(len(lines) for lines in self.headings)

    @property
    def plot_height(self) -> int:
        """Pixels from the top of the first row to the bottom of the last."""
        rank = self.values.rank
        return rank * self.row_height + (rank - 1) * self.heading_height


def add_course(figure: go.Figure, drawing: Drawing, component: int, steps: Sequence[int], null: Loadings | None) -> None:
    """The snapshot factor, and behind it the null's component of the same place."""
    place = drawing.values.places[component]
    course = drawing.values.snapshot[:, component]
    other = null.snapshot[:, list(null.places).index(place)] if null is not None and place < null.rank else None
    if other is not None:
        line = {"color": NULL_COLOR, "width": 1}
        _add_line(figure, drawing, component, steps, other, line=line, name="unit labels shuffled")
    line = {"color": drawing.color(component), "width": 2.5}
    name = f"component {drawing.identities[component]}"
    _add_line(figure, drawing, component, steps, course, line=line, name=name)
    figure.update_yaxes(range=_course_range(course, other), row=component + 1, col=WHEN)
    heading = "<br>".join(drawing.headings[component])
    text = f'<span style="color:{drawing.color(component)}">■</span> {heading}'
    figure.add_annotation(
        text=text, x=0, y=1, yshift=2, xanchor="left", align="left", font_size=12, row=component + 1, col=WHEN, **HEADING
    )


def _course_range(course: NDArray[np.float64], null: NDArray[np.float64] | None) -> list[float]:
    """Zero, the course, and most of the null: its components are often one single snapshot, a spike that is cut."""
    low, high = (course, course) if null is None else (np.append(course, np.quantile(null, q)) for q in (0.1, 0.9))
    span = (min(0.0, float(low.min())), max(0.0, float(high.max())))
    margin = MARGIN * (span[1] - span[0])
    return [span[0] - (margin if span[0] < 0 else 0), span[1] + margin]


def _add_line(
    figure: go.Figure,
    drawing: Drawing,
    component: int,
    steps: Sequence[int],
    course: NDArray[np.float64],
    *,
    line: dict[str, Any],
    name: str,
) -> None:
    x = [step + drawing.axis.offset for step in steps]
    hover = "step %{customdata:,}: %{y:.3g}"
    trace = go.Scatter(x=x, y=course, customdata=list(steps), mode="lines", line=line, name=name, hovertemplate=hover)
    figure.add_trace(trace, row=component + 1, col=WHEN)


def add_stimuli(figure: go.Figure, drawing: Drawing, component: int, groups: Sequence[StimulusGroup]) -> None:
    """The stimulus factor as one area a split, paler for held-out stimuli."""
    loading = drawing.values.stimulus[:, component]
    start = 0
    for heldout in (False, True):
        of_split = [group for group in groups if group.heldout == heldout]
        members = [group.members[np.argsort(-loading[group.members], kind="stable")] for group in of_split]
        if not members:
            continue
        order = np.concatenate(members)
        labels = ["" if g.label is None else f", class {g.label}" for g in of_split for _ in g.members]
        split = SPLIT_NAMES[heldout] if any(group.heldout for group in groups) else ""
        hover = [f"stimulus {index}{label}{split and f', {split}'}" for index, label in zip(order, labels, strict=True)]
        place = np.arange(start, start + len(order))
        trace = _area(place, loading[order], hover, color=drawing.color(component), pale=heldout)
        trace.update(name=split or "stimuli", hovertemplate="%{customdata}: %{y:.3g}")
        figure.add_trace(trace, row=component + 1, col=WHICH)
        start += len(order)


def add_units(figure: go.Figure, drawing: Drawing, component: int) -> None:
    """The unit factor, largest first, with the number of units that carry nine tenths of it."""
    loading = drawing.values.unit[:, component]
    order = np.argsort(-np.abs(loading), kind="stable")
    hover = [f"unit {index}: {loading[index]:.3g}" for index in order]
    trace = _area(np.arange(1, len(order) + 1), np.abs(loading[order]), hover, color=drawing.color(component))
    trace.update(name="units", hovertemplate="%{customdata}")
    row, carrying = component + 1, units_carrying(loading)
    figure.add_trace(trace, row=row, col=WHO)
    figure.add_vline(x=carrying + 0.5, line={"color": MARK, "width": 1, "dash": "dot"}, row=row, col=WHO)
    text = f"{carrying} of {len(order)} carry 90 %"
    place = {**HEADING, "yanchor": "top", "xanchor": "right"}
    figure.add_annotation(text=text, x=1, y=1, font={"size": 11}, row=row, col=WHO, **place)


def _area(
    x: NDArray[np.int64], y: NDArray[np.float64], customdata: list[str], *, color: str, pale: bool = False
) -> go.Scatter:
    """Steps down to zero, one for each x."""
    line = {"color": _faded(color, 0.45 if pale else 1), "width": 1, "shape": "hvh"}
    fill = {"fill": "tozeroy", "fillcolor": _faded(color, 0.2 if pale else 0.55)}
    return go.Scatter(x=x, y=y, customdata=customdata, mode="lines", line=line, **fill)


def _faded(color: str, strength: float) -> str:
    """The color at part of its strength.

    >>> _faded("#0072B2", 0.5)
    'rgba(0,114,178,0.5)'
    """
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{strength})"
