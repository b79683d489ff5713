# SPDX-License-Identifier: Apache-2.0
"""What a browser is sent: only what has changed since it was last sent something, which the browser itself remembers.

The server keeps nothing of a reader, so that any number of pages can be open, closed and loaded again.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from dash import html
from plotly.io.json import to_json_plotly

from lightning_interp.core.console import printable
from lightning_interp.dashboards.live.aria import aria
from lightning_interp.dashboards.live.body import Body, body_of, figure_id, figure_token, section_view
from lightning_interp.dashboards.live.head import head_of, phase_name
from lightning_interp.dashboards.live.known_runs import KnownRun, KnownRuns, Look
from lightning_interp.dashboards.live.rendered_figure import Drawings, in_settings
from lightning_interp.dashboards.live.settings import MOST_PICKED, Settings

NAMED_AT_FIRST = 4
"""Runs in view before the reader picks any: so many of those named; of a folder, the latest."""


@dataclass
class PageUpdate:
    """What is sent; None for what stays as it is.

    Attributes:
        shown: What the browser has afterwards.
        choices: Check boxes of the runs.
        heads: Heads of the runs in view.
        said: News to be read out.
        body: The section in view as a whole.
        figures: Figures that changed in a section that otherwise stays: their ids, and what they show now.
    """

    shown: dict[str, Any]
    choices: list[Any] | None = None
    heads: list[Any] | None = None
    said: str | None = None
    body: list[Any] | None = None
    figures: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)


class Updates:
    """Answers browsers."""

    def __init__(self, runs: KnownRuns) -> None:
        self._runs = runs
        self._drawings = Drawings()

    def since(self, shown: Mapping[str, Any] | None, settings: Settings) -> PageUpdate:
        """What has changed since a browser was sent what it says it shows (None for a new page)."""
        had = shown if isinstance(shown, dict) else {}
        known = self._runs.all()
        picked = _picked(known, settings, self._runs.named)
        with ExitStack() as locks:
            for run in sorted(picked, key=lambda run: run.key):  # one order for all: no two readers wait for each other
                locks.enter_context(run.lock)
            looks = [run.look() for run in picked]
            body = body_of(looks, settings, self._drawings)
            return self._update(had, known, looks, body, settings)

    def _update(
        self, had: Mapping[str, Any], known: Sequence[KnownRun], looks: Sequence[Look], body: Body, settings: Settings
    ) -> PageUpdate:
        keys = [look.key for look in looks]
        choices = _choices(known, keys)
        at = time.time()
        head = [head_of(look, settings, at) for look in looks]
        news = {look.key: _news(look) for look in looks}
        tokens = {cell.key: figure_token(cell, settings) for cell in body.cells}
        now = {
            "runs": [run.key for run in known],
            "heads": hashlib.sha256(to_json_plotly(head).encode()).hexdigest()[:16],
            "body": f"{body.shape} {settings.section}",
            "figures": tokens,
            "news": news,
        }
        update = PageUpdate(now)
        if had.get("runs") != now["runs"]:
            update.choices = choices
        if had.get("heads") != now["heads"]:
            update.heads = head or [html.P("No run here yet. Runs appear as soon as they begin.", className="state")]
        update.said = _said(had.get("news"), news, looks)
        if had.get("body") != now["body"]:
            update.body = section_view(body, settings)
        else:
            before = had.get("figures")
            before = before if isinstance(before, dict) else {}
            update.figures = [
                (figure_id(cell), in_settings(cell.drawn, settings, cell.beside))
                for cell in body.cells
                if cell.drawn is not None and before.get(cell.key) != tokens[cell.key]
            ]
        return update


def _picked(known: Sequence[KnownRun], settings: Settings, named: int) -> list[KnownRun]:
    """Runs in view: those picked, as far as they exist; before anything is picked, those named, or the latest."""
    if settings.picked is None:
        return list(known[: min(named, NAMED_AT_FIRST) or 1])
    return [run for run in known if run.key in settings.picked][:MOST_PICKED]


def _choices(known: Sequence[KnownRun], picked: Sequence[str]) -> list[Any]:
    return [
        html.Button(
            run.name,
            id={"type": "pick", "run": run.key},
            type="button",
            role="checkbox",
            className="check",
            **aria(checked="true" if run.key in picked else "false"),
        )
        for run in known
    ]


def _news(look: Look) -> list[str]:
    """What would be announced of a run, in order: a phase that began, and how the training ended."""
    if look.view is None:
        return []
    try:
        news = [f"{phase_name(phase)} began at step {phase.start:,}" for phase in look.view.timeline.phases]
    except Exception:  # phases of a stranger's file may hold anything; the head of the run says so
        return []
    status = "training" if look.view.manifest is None else look.view.manifest.status
    return news if status == "training" else [*news, printable(f"training {status}")]


def _said(before: object, news: Mapping[str, Sequence[str]], looks: Sequence[Look]) -> str | None:
    """What is new of the runs that the browser showed before; None where nothing is."""
    if not isinstance(before, dict):
        return None
    several = len(looks) > 1
    lines = []
    for look in looks:
        told = before.get(look.key)
        if isinstance(told, list):
            fresh = [line for line in news[look.key] if line not in told]
            lines += [f"{look.name}: {line}" if several else f"{line[:1].upper()}{line[1:]}" for line in fresh]
    return ". ".join(lines) + "." if lines else None
