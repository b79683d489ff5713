# SPDX-License-Identifier: Apache-2.0
"""How well scores foresee generalization: areas, and detections against false alarms, with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.theme import LIGHT, MARK

Range = tuple[float, float, float]
"""Value with the ends of its interval."""

_SIDES = (
    # label, color, symbol
    ("all positives", "#0072B2", "circle"),
    ("those that had not generalized yet", "#E69F00", "diamond"),
)
_ALARMS = (("detected in time", "#009E73", "circle"), ("false alarms", "#D55E00", "x"))
_ROW_PX = 46


@dataclass(frozen=True)
class WarningRow:
    """What is drawn of one score.

    Attributes:
        name: The score and how its alarm is raised, plain text.
        area: Area under the curve at half of the budget.
        area_ahead: The same of the positives that had not generalized by then.
        detected: Share of positives with an alarm in time.
        false_alarms: Share of negatives with an alarm.
    """

    name: str
    area: Range
    area_ahead: Range
    detected: Range
    false_alarms: Range


def warning_figure(rows: Sequence[WarningRow], *, title: str) -> go.Figure:
    """Dots with 95 % intervals, one line for each score, in two panels.

    Args:
        rows: Scores, the first on top; a value of NaN is left out.
        title: Plain text; it is escaped.

    Returns:
        Left the area under the curve at half of the budget, right the shares of alarms.
    """
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    names = [as_text(row.name) for row in rows]
    panels: Mapping[int, Sequence[tuple[tuple[str, str, str], list[Range]]]] = {
        1: [(_SIDES[0], [row.area for row in rows]), (_SIDES[1], [row.area_ahead for row in rows])],
        2: [(_ALARMS[0], [row.detected for row in rows]), (_ALARMS[1], [row.false_alarms for row in rows])],
    }
    for column, curves in panels.items():
        for (label, color, symbol), ranges in curves:
            figure.add_trace(_dots(names, ranges, label, color, symbol), row=1, col=column)
    figure.add_vline(x=0.5, line={"color": MARK, "width": 1, "dash": "dot"}, row=1, col=1)
    figure.update_xaxes(title_text="area under the curve at half of the budget (0.5: chance)", range=[0, 1.02], row=1, col=1)
    figure.update_xaxes(title_text="share of runs with an alarm", range=[-0.02, 1.02], row=1, col=2)
    figure.update_yaxes(autorange="reversed")
    height = 190 + _ROW_PX * len(rows)
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom"}
    figure.update_layout(title=as_text(title), template=LIGHT, height=height, scattermode="group", legend=legend)
    return figure


def _dots(names: Sequence[str], ranges: Sequence[Range], label: str, color: str, symbol: str) -> go.Scatter:
    values = [value for value, _, _ in ranges]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, _, high in ranges],
        "arrayminus": [value - low for value, low, _ in ranges],
        "thickness": 1.5,
    }
    ends = [[low, high] for _, low, high in ranges]
    hover = "%{y}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})"
    return go.Scatter(
        x=values,
        y=names,
        error_x=bars,
        customdata=ends,
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": 9},
        name=label,
        hovertemplate=hover,
    )
