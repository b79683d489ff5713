# SPDX-License-Identifier: Apache-2.0
"""Why a rank: error, agreement of restarts, and core consistency against the number of components."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.theme import LIGHT, MARK

SIMILARITY_CONVENTION = 0.8
"""Mean similarity of restarts from which a rank is usually accepted."""
CONSISTENCY_CONVENTION = 60.0
"""Core consistency in % from which a rank is usually accepted."""

_CURVES = (
    # column of the table, name, panel, color, dash
    ("relative_error", "fit", 1, "#0072B2", "solid"),
    ("heldout_error", "held-out data", 1, "#D55E00", "dash"),
    ("similarity", "similarity", 2, "#009E73", "solid"),
    ("core_consistency", "core consistency", 3, "#CC79A7", "solid"),
)
_TITLES = ("relative error", "similarity of restarts (0 to 1)", "core consistency (%, cut at 0)")


def rank_selection_figure(
    table: Sequence[Mapping[str, float | int | None]], recommended: int | None, *, title: str
) -> go.Figure:
    """Relative error (fit and held-out data), similarity over restarts and core consistency by rank.

    Args:
        table: `RankSelection.table`: rows with rank, relative_error, similarity, core_consistency, heldout_error; None is
            drawn as a gap.
        recommended: Rank to mark, None for none.
        title: Plain text; it is escaped.

    Returns:
        A figure of three panels; dotted lines are the usual thresholds.
    """
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.08)
    for key, name, column, color, dash in _CURVES:
        figure.add_trace(_curve(table, key, name=name, line={"color": color, "dash": dash, "width": 2}), row=1, col=column)
    for column, level in ((2, SIMILARITY_CONVENTION), (3, CONSISTENCY_CONVENTION)):
        figure.add_hline(y=level, line={"color": MARK, "width": 1, "dash": "dot"}, row=1, col=column)
    if recommended is not None:
        x0, x1 = recommended - 0.4, recommended + 0.4
        figure.add_vrect(x0=x0, x1=x1, fillcolor="#C8B400", opacity=0.35, line_width=0, layer="below", row=1, col="all")
    _lay_out(figure, [int(row["rank"] or 0) for row in table], recommended, title)
    return figure


def _curve(table: Sequence[Mapping[str, float | int | None]], key: str, **style: Any) -> go.Scatter:
    values = [row.get(key) for row in table]
    drawn = [max(value, 0) if value is not None and key == "core_consistency" else value for value in values]
    hover = "rank %{x}: %{customdata:.4g}"
    return go.Scatter(
        x=[row["rank"] for row in table], y=drawn, customdata=values, mode="lines+markers", hovertemplate=hover, **style
    )


def _lay_out(figure: go.Figure, ranks: Sequence[int], recommended: int | None, title: str) -> None:
    note = "no rank recommended" if recommended is None else f"recommended rank: {recommended} (yellow)"
    figure.update_layout(
        title={"text": f"{as_text(title)}<br><sub>{note}; dotted: usual thresholds</sub>", "x": 0.02},
        template=LIGHT,
        font={"size": 12},
        height=360,
        margin={"l": 75, "r": 20, "t": 120, "b": 60},
        hovermode="x",
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
    )
    for trace in figure.data[2:]:
        trace.showlegend = False  # alone in panels that say what they show
    figure.update_xaxes(title_text="rank (components)", tickvals=list(ranks)[:: -(-len(ranks) // 14)])
    for column, text in enumerate(_TITLES, start=1):
        figure.update_yaxes(title_text=text, rangemode="tozero", row=1, col=column)
    figure.update_yaxes(range=[0, 1.05], row=1, col=2)
    figure.update_yaxes(range=[0, 105], row=1, col=3)
