# SPDX-License-Identifier: Apache-2.0
"""The head of each run on the page: its name, the verdict, where it stands, and its phases in their colors."""

import math
from typing import Any

from dash import html

from lightning_interp.core.console import printable
from lightning_interp.core.timeline import Phase
from lightning_interp.dashboards.figures import step_offset
from lightning_interp.dashboards.live.aria import aria
from lightning_interp.dashboards.live.known_runs import Look
from lightning_interp.dashboards.live.run_state import state_of
from lightning_interp.dashboards.live.settings import Settings
from lightning_interp.dashboards.report import verdict_sentence
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.dashboards.theme import phase_color

Children = list[Any]


def head_of(look: Look, settings: Settings, now: float) -> html.Article:
    """One run; the scale of its strip is that of the figures' time axes. `now` is in seconds since 1970."""
    said: Children = [html.H2(look.name, className="run-name")]
    if look.problem:
        said.append(html.P(look.problem, className="problem", role="alert"))
    if look.view is not None:
        try:
            said += _standing(look.view, now) + _phases(look.view, settings)
        except Exception as err:  # files of a stranger may hold anything; the other runs are shown
            text = f"This run cannot be summed up ({type(err).__name__}: {err})."
            said.append(html.P(printable(text), className="problem", role="alert"))
    return html.Article(said, className="head")


def _standing(run: RunView, now: float) -> Children:
    state = state_of(run, now=now)
    lines: Children = [html.P(printable(verdict_sentence(run)), className="verdict")]
    lines.append(html.P([state.training, " ", state.analyzer], className="state"))
    return lines + [html.P(warning, className="problem") for warning in state.warnings]


def _phases(run: RunView, settings: Settings) -> Children:
    phases = run.timeline.phases
    if not phases:
        return [html.P("No phase found yet.", className="state")]
    offset = step_offset(run.series) if settings.time == "log" else None
    strip = [_segment(phase, run.last_step, offset) for phase in phases]
    return [
        html.Div(strip, className="strip", **aria(hidden="true")),
        html.Ol([_named(phase) for phase in phases], className="phases", **aria(label="Phases")),
    ]


def _segment(phase: Phase, last: int, offset: int | None) -> html.Span:
    """A part of the strip, as wide as the phase is long on the time axis."""
    ends = [phase.start, max(last, phase.start) if phase.end is None else phase.end]
    begin, end = (step if offset is None else math.log(step + offset) for step in ends)
    return html.Span(style={"backgroundColor": phase_color(phase), "flexGrow": f"{max(end - begin, 0):.6g}"})


def _named(phase: Phase) -> html.Li:
    swatch = html.Span(className="swatch", style={"backgroundColor": phase_color(phase)}, **aria(hidden="true"))
    until = "" if phase.end is None else f"{phase.end:,}"
    low, high = phase.start_interval
    between = f" (begins between {low:,} and {high:,})" if low < high else ""
    steps = html.Span(f"{phase.start:,}–{until}", className="steps")
    return html.Li([swatch, html.Span(phase_name(phase)), " ", steps, html.Span(between, className="faint")])


def phase_name(phase: Phase) -> str:
    """What a phase is called in a sentence."""
    return printable(phase.name.replace("_", " "))
