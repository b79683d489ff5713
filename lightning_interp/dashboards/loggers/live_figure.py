# SPDX-License-Identifier: Apache-2.0
"""The losses with the phases behind them, drawn now and then while the training runs, from what was parsed anyway."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lightning_interp.core.console import warn
from lightning_interp.core.logged_curves import NAMES
from lightning_interp.core.records import Record
from lightning_interp.core.series import series_of
from lightning_interp.core.timeline import Timeline
from lightning_interp.store.manifest import Manifest

FIRST_S = 60.0
"""No figure before; most short trainings see theirs at the end."""
GROWTH = 1.1
"""Least growth of the time elapsed from one figure to the next."""
CURVES = ("train_loss", "heldout_loss", "excluded_loss_max", "restricted_loss", "train_accuracy", "heldout_accuracy")
"""Series that are kept for it."""
PANEL = "losses"
Drawn = tuple[int, Any]
"""Optimizer step of the latest record in a figure, and the figure as the loggers take it."""


class LiveFigure:
    """Draws in the helper thread that reads results, and hands over on the training thread.

    Args:
        name: Name of the run.
        manifest: Content of run.json.
        make: Makes a drawn figure ready for the loggers.
        share: Most of the time that drawing may take: meanwhile the training's own thread cannot run python.
    """

    def __init__(self, name: str, manifest: Manifest, make: Callable[[Any], Any], *, share: float) -> None:
        self._name, self._manifest, self._make, self._share = name, manifest, make, share
        self._values: dict[int, dict[str, float]] = {}
        self._drawn: Drawn | None = None
        self._began = time.monotonic()
        self._next_s = FIRST_S
        self._drawn_step = -1
        self._failed = False

    def add(self, record: Record) -> None:
        """Keep what will be drawn of a record."""
        self._values[record.step] = {name: record.values[name] for name in (*CURVES, *NAMES) if name in record.values}

    def draw_if_due(self, timeline: Timeline | None) -> None:
        """Draw if there is something new and it is time; on the helper thread."""
        elapsed = time.monotonic() - self._began
        last_step = max(self._values, default=-1)
        if self._failed or timeline is None or elapsed < self._next_s or last_step <= self._drawn_step:
            return
        started = time.thread_time()
        try:
            figure = self._figure(timeline)
            self._drawn = None if figure is None else (last_step, self._make(figure))
        except Exception as err:  # whatever plotly or a dashboard's client raises; the end of the training tries again
            self._failed = True
            warn(f"the figure of the losses could not be drawn ({type(err).__name__}: {err}); it is left out until the end")
        self._drawn_step = last_step
        cost = time.thread_time() - started
        self._next_s = max(GROWTH * elapsed, elapsed + cost / self._share)

    def take(self) -> Drawn | None:
        """The latest figure, once."""
        drawn, self._drawn = self._drawn, None
        return drawn

    def _figure(self, timeline: Timeline) -> Any:
        """The figure, None where the run has no losses."""
        from lightning_interp.dashboards.figures import panels, standalone
        from lightning_interp.dashboards.run_view import view_history

        series = series_of(sorted(self._values.items()))
        run = replace(view_history(self._name, series, timeline), manifest=self._manifest)
        panel = next((panel for panel in panels(run) if panel.key == PANEL), None)
        return None if panel is None else standalone(panel, run)
