# SPDX-License-Identifier: Apache-2.0
"""A figure that stands alone: with title, buttons for its axes, and the key of the phases, which a page has elsewhere."""

import plotly.graph_objects as go

from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.figures.time_axis import add_buttons, phase_key
from lightning_interp.phases.verdict_state import verdict_words

_ABOVE, _BELOW = 66, 66
_LINE_PX, _LETTERS = 18, 150


def stand_alone(figure: go.Figure, *, title: str, timeline: Timeline | None = None, note: str = "") -> go.Figure:
    """Add what a page would have around a figure; the figure itself is changed and given back.

    Args:
        figure: As a panel draws it.
        title: Plain text; it is escaped.
        timeline: Its verdict stands under the title, its phases under the picture; None for neither.
        note: Plain text under the picture.
    """
    verdict = "" if timeline is None else f"<br><sub>verdict: {as_text(verdict_words(timeline))}</sub>"
    has_bars = bool((figure.layout.meta or {}).get("intervals"))
    lines = _key(timeline, note, has_bars=has_bars)
    top, bottom = figure.layout.margin.t + _ABOVE, figure.layout.margin.b + (_BELOW - 30) + _LINE_PX * len(lines)
    height = figure.layout.height + _ABOVE + bottom - figure.layout.margin.b
    plot = height - top - bottom
    figure.update_layout(
        title={"text": f"{as_text(title)}{verdict}", "x": 0.02, "y": 1 - 22 / height, "yanchor": "top"},
        height=height,
        margin={"t": top, "b": bottom},
    )
    add_buttons(figure, top=1 + (top - 14) / plot)
    anchor = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top", "align": "left", "showarrow": False}
    if lines:
        below = figure.layout.margin.b - _LINE_PX * len(lines) - 8
        figure.add_annotation(text="<br>".join(lines), x=0, y=0, yshift=-below, **anchor)
    return figure


def _key(timeline: Timeline | None, note: str, *, has_bars: bool) -> list[str]:
    """Lines under the picture: phases in their colors and steps, what the bars are, and the note."""
    lines: list[str] = []
    if timeline is not None:
        lines += _wrapped(phase_key(timeline.phases).split(" &nbsp; "))
        lines += ["Bars above: where a boundary can lie."] if has_bars else []
    return lines + ([as_text(note)] if note else [])


def _wrapped(parts: list[str]) -> list[str]:
    """Parts in lines that fit; the letters of a tag do not count."""
    lines: list[list[str]] = [[]]
    room = _LETTERS
    for part in parts:
        visible = len(part.split("</span>")[-1]) + 6
        if visible > room and lines[-1]:
            lines.append([])
            room = _LETTERS
        lines[-1].append(part)
        room -= visible
    return [" &nbsp; ".join(line) for line in lines]
