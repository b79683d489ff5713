# SPDX-License-Identifier: Apache-2.0
"""What a run came to, as loggers take it at the end: numbers for a summary, figures, files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.core.console import warn
from lightning_interp.core.timeline import Timeline
from lightning_interp.measures.logged_names import logged_name
from lightning_interp.store.components_file import component_files
from lightning_interp.store.layout import COMPONENTS, MANIFEST, PHASES, RECORDS

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lightning_interp.dashboards.figures import Panel
    from lightning_interp.dashboards.run_view import RunView

VERDICT_KEY, GROKKING_KEY = logged_name("verdict"), logged_name("grokking_step")
EARLY_WARNING_KEY = logged_name("early_warning_step")
FIGURE_PREFIX = logged_name("figures/")
MOST_FIGURES = 24
"""Figures a run sends at its end at most."""
BOUND_KEY = logged_name("grokking_step_bound")
"""What a sweep minimizes: a number of every final verdict, so that a run that has not grokked counts as one that would take
longer. Of any other it would be least for the slowest analyzer."""


@dataclass(frozen=True)
class DrawnFigure:
    """A figure with its title, ready for a dashboard."""

    key: str
    title: str
    figure: "go.Figure"


@dataclass(frozen=True)
class Outcome:
    """A run at its end.

    Attributes:
        run_dir: Run directory.
        run_id: Its random name.
        timeline: Phases, None where nothing was analyzed.
        last_step: Optimizer step of its last record, -1 for none.
        report: Its report, None where there is none.
    """

    run_dir: Path
    run_id: str
    timeline: Timeline | None
    last_step: int
    report: Path | None = None
    _drawn: dict[str, DrawnFigure | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """What goes with files: how far the run got, and its verdict once that is final."""
        known = {"last_step": self.last_step}
        if self.timeline is None:
            return {**known, "verdict": "unknown"}
        final = {"verdict": self.timeline.verdict} if self.is_final else {}
        return {**known, "state": self.timeline.state, **final}

    @property
    def is_final(self) -> bool:
        """Whether nothing can change the verdict any more."""
        return self.timeline is not None and self.timeline.state == "final"

    def figures(self, most: int = MOST_FIGURES) -> tuple[DrawnFigure, ...]:
        """The first figures that can be drawn of the run, in reading order; each is drawn once, whoever asks for it.

        Args:
            most: How many at most.

        Raises:
            RunError: The run directory cannot be read.
        """
        from lightning_interp.dashboards.figures import panels

        drawn = (self._draw(panel) for panel in panels(self._view)[:most])
        return tuple(figure for figure in drawn if figure is not None)

    def files(self) -> Iterator[tuple[str, Path]]:
        """What goes to dashboards as files: name there, and where it is."""
        if self.report is not None:
            yield self.report.name, self.report
        for name in (PHASES, RECORDS, MANIFEST):
            if (self.run_dir / name).is_file():
                yield name, self.run_dir / name
        for path, _, _ in component_files(self.run_dir):
            yield f"{COMPONENTS}/{path.name}", path

    @property
    def artifact_name(self) -> str:
        """Name of the run's files in a dashboard, of the characters that every one takes."""
        return f"interp-{re.sub(r'[^A-Za-z0-9_-]', '_', self.run_id)[:80]}"

    @cached_property
    def _view(self) -> "RunView":
        from lightning_interp.dashboards.run_view import view_run

        return view_run(self.run_dir)

    def _draw(self, panel: "Panel") -> DrawnFigure | None:
        """A panel as a figure that stands alone; one that fails costs itself and a warning."""
        from lightning_interp.dashboards.figures import standalone

        if panel.key not in self._drawn:
            try:
                self._drawn[panel.key] = DrawnFigure(panel.key, panel.title, standalone(panel, self._view))
            except Exception as err:  # whatever a stranger's numbers make of a figure
                self._drawn[panel.key] = None
                warn(f"the figure '{panel.title}' could not be drawn ({type(err).__name__}: {err})")
        return self._drawn[panel.key]


def summary_fields(timeline: Timeline, last_step: int) -> dict[str, Any]:
    """Flat summary of a final timeline: verdict, start and end of each phase, steps of early warning and generalization.

    Empty while the verdict can change: a dashboard that compares runs would take what is missing for what was found.

    Args:
        timeline: Phases.
        last_step: Optimizer step of the last record, -1 without records.
    """
    if timeline.state != "final":
        return {}
    fields: dict[str, Any] = {VERDICT_KEY: timeline.verdict}
    for phase in timeline.phases:
        fields[logged_name(f"{phase.name}_start")] = phase.start
        if phase.end is not None:
            fields[logged_name(f"{phase.name}_end")] = phase.end
    warned = next((alarm.step for alarm in timeline.alarms if alarm.name == "early_warning"), None)
    if warned is not None:
        fields[EARLY_WARNING_KEY] = warned
    if timeline.grokking_step is not None:
        fields[GROKKING_KEY] = timeline.grokking_step
    fields[BOUND_KEY] = max(last_step, 0) if timeline.grokking_step is None else timeline.grokking_step
    return fields
