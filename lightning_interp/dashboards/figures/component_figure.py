# SPDX-License-Identifier: Apache-2.0
"""The components of one layer: when each is there, which stimuli it answers to, and which units carry it."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.figures.component_axes import label_axes
from lightning_interp.dashboards.figures.component_panels import (
    HEADING,
    WHEN,
    WHICH,
    WHO,
    Drawing,
    add_course,
    add_stimuli,
    add_units,
)
from lightning_interp.dashboards.figures.component_values import ComponentModel, Loadings, loadings, stimulus_groups
from lightning_interp.dashboards.figures.escaping import as_text
from lightning_interp.dashboards.figures.time_axis import TimeAxis, note_axes, shade_phases, step_offset
from lightning_interp.dashboards.figures.title_and_buttons import stand_alone
from lightning_interp.dashboards.theme import LIGHT
from lightning_interp.store.components_file import StoredComponents
from lightning_interp.tca import CPFit, describe_components

_TOP, _BOTTOM, _SENTENCE_WIDTH = 46, 64, 172
_MIN_WIDTH = 820
"""Pixels under which three panels beside each other cannot be read; a page lets a narrower screen scroll the figure."""


def stored_components_figure(stored: StoredComponents, timeline: Timeline | None) -> go.Figure:
    """The components a monitor followed, each with the sentence that says when it rises."""
    sentences = described(stored, timeline)
    return _drawn(stored, stored.steps, timeline, descriptions=sentences)


def described(stored: StoredComponents, timeline: Timeline | None) -> Sequence[Any]:
    """Descriptions of stored components: when each rises, and how few units carry it."""
    fit = CPFit(stored.cp_weights, stored.factors, stored.relative_error, True, 0, stored.flags)
    phases = () if timeline is None else timeline.phases
    return describe_components(fit, stored.steps, phases=phases, ids=stored.component_ids)


def components_figure(  # noqa: PLR0913 - each argument is one thing to draw
    fit: ComponentModel,
    steps: Sequence[int],
    timeline: Timeline | None,
    *,
    title: str,
    labels: Any | None = None,
    heldout: Any | None = None,
    descriptions: Sequence[Any] = (),
    null: ComponentModel | None = None,
) -> go.Figure:
    """One row per component: its course over log time, its loading on every stimulus, and on every unit.

    The course is the root mean square of the component over stimuli and units, in units of the tensor's entries: the share
    of the activations' RMS where every snapshot was scaled to RMS 1, as `lightning_interp.tca.preprocess` does. Stimuli are
    grouped by split and class and sorted by loading within a group; units are sorted by the size of their loading.

    Args:
        fit: `CPFit` of a tensor (snapshot, stimulus, unit), or an object with the same attributes.
        steps: Optimizer step of each snapshot, ascending.
        timeline: Phases to shade, None where there are none.
        title: Plain text, such as the layer's name; it is escaped. Rank, relative error and flags stand below it.
        labels: Integer class of each stimulus, None where not known.
        heldout: Whether each stimulus is held out, None where not known.
        descriptions: `ComponentDescription` of each component; their identities and sentences head the rows.
        null: Fit of the same tensor with unit labels shuffled in every snapshot: its courses are drawn in gray, each beside
            the component of the same place in the order of weights.

    Returns:
        A figure whose height grows with the number of components.

    Raises:
        ShapeError: The fit has other than three axes, or steps, labels, held-out marks or descriptions do not match it.
    """
    figure = _drawn(fit, steps, timeline, labels=labels, heldout=heldout, descriptions=descriptions, null=null)
    notes = ["Gray: the component of the same place when unit labels are shuffled; its spikes are cut."] * (null is not None)
    notes += ["Paler: held-out stimuli."] * bool(heldout is not None and any(heldout))
    notes += ["Dotted: units that carry 90 % of the squared loading."]
    heading = f"{title} · {_subtitle(fit, null)}"
    return stand_alone(figure, title=heading, timeline=timeline, note=" ".join(notes))


def _drawn(
    fit: ComponentModel,
    steps: Sequence[int],
    timeline: Timeline | None,
    *,
    labels: Any | None = None,
    heldout: Any | None = None,
    descriptions: Sequence[Any] = (),
    null: ComponentModel | None = None,
) -> go.Figure:
    values, null_values = loadings(fit), None if null is None else loadings(null)
    _check(values, steps, descriptions, null_values)
    identities = _identities(fit, values.rank, descriptions)
    drawing = Drawing(values, identities, _headings(values, identities, descriptions), _axis(steps, timeline))
    figure = _empty(drawing)
    groups = stimulus_groups(len(values.stimulus), labels, heldout)
    for component in range(values.rank):
        add_course(figure, drawing, component, steps, null_values)
        add_stimuli(figure, drawing, component, groups)
        add_units(figure, drawing, component)
    courses = [3 * component + 1 for component in range(values.rank)]
    shade_phases(figure, timeline.phases if timeline else (), drawing.axis, panels=courses)
    label_axes(figure, drawing, groups)
    _lay_out(figure, drawing)
    return figure


def _check(values: Loadings, steps: Sequence[int], descriptions: Sequence[Any], null: Loadings | None) -> None:
    if len(steps) != len(values.snapshot):
        raise ShapeError(f"components_figure: {len(steps)} `steps` for a fit of {len(values.snapshot)} snapshots.")
    if null is not None and len(null.snapshot) != len(values.snapshot):
        raise ShapeError(f"components_figure: `null` has {len(null.snapshot)} snapshots, the fit {len(values.snapshot)}.")
    if descriptions and len(descriptions) != values.rank:
        raise ShapeError(f"components_figure: {len(descriptions)} `descriptions` for a fit of rank {values.rank}.")


def _identities(fit: ComponentModel, rank: int, descriptions: Sequence[Any]) -> tuple[int, ...]:
    """The numbers that components keep from one fit to the next, where there are any."""
    followed = getattr(fit, "component_ids", range(rank))
    return tuple(int(number) for number in ([d.component for d in descriptions] or followed))


def _headings(values: Loadings, identities: Sequence[int], descriptions: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    """Lines above each row: the sentence that describes the component, else its share of the model."""
    if descriptions:
        return tuple(tuple(as_text(line) for line in wrap(d.sentence(), _SENTENCE_WIDTH)) for d in descriptions)
    percent = [f"{100 * share:.0f} %" for share in values.shares]
    return tuple((f"component {k}: {share} of the model's energy",) for k, share in zip(identities, percent, strict=True))


def _axis(steps: Sequence[int], timeline: Timeline | None) -> TimeAxis:
    ends = [phase.end or phase.start for phase in timeline.phases] if timeline else []
    return TimeAxis(step_offset({"": (list(steps), [])}), max([*steps, *ends], default=0))


def _empty(drawing: Drawing) -> go.Figure:
    rank = drawing.values.rank
    spacing = drawing.heading_height / drawing.plot_height if rank > 1 else 0
    return make_subplots(
        rows=rank, cols=3, column_widths=[0.42, 0.34, 0.24], horizontal_spacing=0.075, vertical_spacing=spacing
    )


def _lay_out(figure: go.Figure, drawing: Drawing) -> None:
    above = drawing.heading_height
    figure.update_layout(
        template=LIGHT,
        font={"size": 12},
        height=drawing.plot_height + _TOP + above + _BOTTOM,
        margin={"l": 64, "r": 28, "t": _TOP + above, "b": _BOTTOM},
        showlegend=False,
        hovermode="x",
    )
    times = [f"xaxis{'' if row == 0 else 3 * row + 1}" for row in range(drawing.values.rank)]
    note_axes(figure, drawing.axis, time_axes=times, most_ticks=8)
    figure.layout.meta = {**figure.layout.meta, "min_width": _MIN_WIDTH}
    headings = {WHEN: "<b>When</b>", WHICH: "<b>Which stimuli</b>", WHO: "<b>Which units</b>"}
    units = {WHEN: "loading (share of RMS)", WHICH: "loading (RMS = 1)", WHO: "|loading| (RMS = 1)"}
    for column, heading in headings.items():
        text = f"{heading}<br>{units[column]}"
        place = {**HEADING, "xanchor": "left", "align": "left", "yshift": above + 4}
        figure.add_annotation(text=text, x=0, y=1, row=1, col=column, **place)


def _subtitle(fit: ComponentModel, null: ComponentModel | None) -> str:
    shuffled = "" if null is None else f" (unit labels shuffled: {null.relative_error:.3f})"
    flags = ", ".join(flag.replace("_", " ") for flag in fit.flags) or "none"
    return f"rank {len(fit.cp_weights)}, relative error {fit.relative_error:.3f}{shuffled}, flags: {flags}"
