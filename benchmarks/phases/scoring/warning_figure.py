# SPDX-License-Identifier: Apache-2.0
"""How well scores foresee generalization: areas, and detections against false alarms, with their intervals."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scoring.statistics import Estimate
from scoring.warning_scores import WarningScores

from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.theme import LIGHT, MARK

_CURVES: tuple[tuple[int, str, str, str, Callable[[WarningScores], Estimate]], ...] = (
    # panel, label, color, symbol, what of a score is drawn
    (1, "all positives", "#0072B2", "circle", lambda found: found.areas[max(found.areas)]),
    (1, "those that had not generalized yet", "#E69F00", "diamond", lambda found: found.areas_ahead[max(found.areas_ahead)]),
    (2, "detected in time", "#009E73", "circle", lambda found: found.detected),
    (2, "false alarms", "#D55E00", "x", lambda found: found.false_alarms),
)
_ROW_PX = 46


def warning_figure(warnings: Sequence[WarningScores], *, title: str) -> go.Figure:
    """Dots with 95 % intervals, one line for each score and rule, in two panels.

    Args:
        warnings: Scores of one part of a pool, the first on top; what is NaN is left out.
        title: Plain text; it is escaped.

    Returns:
        Left the area under the curve at half of the budget, right the shares of alarms.
    """
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    names = [as_text(f"{each.score}: {each.rule}") for each in warnings]
    for column, label, color, symbol, of in _CURVES:
        figure.add_trace(_dots(names, [of(found) for found in warnings], label, color, symbol), row=1, col=column)
    figure.add_vline(x=0.5, line={"color": MARK, "width": 1, "dash": "dot"}, row=1, col=1)
    figure.update_xaxes(title_text="area under the curve at half of the budget (0.5: chance)", range=[0, 1.02], row=1, col=1)
    figure.update_xaxes(title_text="share of runs with an alarm", range=[-0.02, 1.02], row=1, col=2)
    figure.update_yaxes(autorange="reversed")
    height = 190 + _ROW_PX * len(warnings)
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom"}
    figure.update_layout(title=as_text(title), template=LIGHT, height=height, scattermode="group", legend=legend)
    return figure


def _dots(names: Sequence[str], estimates: Sequence[Estimate], label: str, color: str, symbol: str) -> go.Scatter:
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.value for each in estimates],
        "arrayminus": [each.value - each.low for each in estimates],
        "thickness": 1.5,
    }
    hover = "%{y}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})"
    return go.Scatter(
        x=[each.value for each in estimates],
        y=names,
        error_x=bars,
        customdata=[[each.low, each.high] for each in estimates],
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": 9},
        name=label,
        hovertemplate=hover,
    )
