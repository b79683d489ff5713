# SPDX-License-Identifier: Apache-2.0
"""The axes of the component figure: steps, stimuli by split and class, sorted units."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lightning_interp.dashboards.figures.component_panels import WHEN, WHICH, WHO, Drawing
from lightning_interp.dashboards.figures.component_values import SPLIT_NAMES, StimulusGroup
from lightning_interp.dashboards.theme import MARK

MOST_CLASS_LINES = 24
"""Groups of stimuli up to which lines are drawn between classes."""
MOST_CLASS_TICKS = 12
LABEL_ROOM = 0.06
"""Share of the axis before the first held-out label that has no other."""


def label_axes(figure: go.Figure, drawing: Drawing, groups: Sequence[StimulusGroup]) -> None:
    """Scale and name every axis, with tick labels under the last row only."""
    last = drawing.values.rank
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_xaxes(showticklabels=True, row=last)
    figure.update_yaxes(nticks=4, rangemode="tozero", tickfont_size=10)
    for row in range(2, last + 1):
        figure.update_xaxes(matches="x", row=row, col=WHEN)
    figure.update_xaxes(range=[-1, len(drawing.values.stimulus)], **_class_ticks(groups), col=WHICH)
    figure.update_xaxes(range=[0, len(drawing.values.unit) + 1], nticks=6, col=WHO)
    known = any(group.label is not None for group in groups)
    names = {WHEN: "optimizer step", WHICH: "stimulus, by class" if known else "stimulus, sorted", WHO: "unit, sorted"}
    for column, name in names.items():
        figure.update_xaxes(title_text=name, title_standoff=8, row=last, col=column)
    _split_stimuli(figure, groups, last)


def _class_ticks(groups: Sequence[StimulusGroup]) -> dict[str, Any]:
    """The class under the middle of its stimuli, and lines between classes where they are few."""
    if groups[0].label is None:
        return {"showgrid": False}
    ends = np.cumsum([len(group.members) for group in groups])
    middles = [float(end - (len(group.members) + 1) / 2) for group, end in zip(groups, ends, strict=True)]
    lines = [float(end) - 0.5 for end in ends[:-1]] if len(groups) <= MOST_CLASS_LINES else []
    every = -(-len(groups) // MOST_CLASS_TICKS)
    train = sum(not group.heldout for group in groups)
    limit = middles[train] - LABEL_ROOM * ends[-1] if train < len(groups) else ends[-1]
    early = [index for index in range(0, train, every) if middles[index] < limit]
    shown = [*early, *range(train, len(groups), every)]
    return {
        "tickvals": [middles[index] for index in shown],
        "ticktext": [str(groups[index].label) for index in shown],
        "tickangle": 0,
        "showgrid": False,
        "minor": {"tickvals": lines, "showgrid": True, "gridcolor": "rgba(128,128,128,0.3)"},
    }


def _split_stimuli(figure: go.Figure, groups: Sequence[StimulusGroup], last: int) -> None:
    """A line between train and held-out stimuli in every row, and their names under the last."""
    train = sum(len(group.members) for group in groups if not group.heldout)
    total = sum(len(group.members) for group in groups)
    if train == total:
        return
    if train:
        figure.add_vline(x=train - 0.5, line={"color": MARK, "width": 1.5}, row="all", col=WHICH)
    place = {"yref": "y domain", "y": 0, "yshift": -18, "xanchor": "center", "yanchor": "top"}
    for heldout, start, end in ((False, 0, train), (True, train, total)):
        if end > start:
            text = f"<i>{SPLIT_NAMES[heldout]}</i>"
            figure.add_annotation(
                text=text, x=(start + end - 1) / 2, font_size=11, showarrow=False, row=last, col=WHICH, **place
            )
    figure.update_xaxes(title_standoff=22, row=last, col=WHICH)
