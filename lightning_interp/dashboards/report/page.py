# SPDX-License-Identifier: Apache-2.0
"""The report: everything that is known of runs, put into one HTML file."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from lightning_interp.core.console import printable
from lightning_interp.core.errors import ConfigError, InterpError, RunError
from lightning_interp.core.loader_lines import loader_lines
from lightning_interp.dashboards.figures import SECTIONS, Panel, absent, overlay_panels, panels
from lightning_interp.dashboards.figures.component_figure import described
from lightning_interp.dashboards.report import embedding, facts
from lightning_interp.dashboards.report.boundaries import boundary_changes
from lightning_interp.dashboards.report.sentences import status_words, verdict_sentence
from lightning_interp.dashboards.run_view import RunView, view_run
from lightning_interp.dashboards.theme import PHASE_COLORS, THEMES, contrast
from lightning_interp.phases.verdict_state import verdict_words
from lightning_interp.store.layout import replace_text

REPORT = "report.html"
"""Name of the page in a run directory."""


def write_report(
    run_dirs: Sequence[str | Path],
    folder: str | Path | None = None,
    *,
    comparison: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of one run or several.

    Args:
        run_dirs: Run directories, at least one.
        folder: Where ``report.html`` goes; the first run directory where None.
        comparison: Tables of several runs: ``statistics`` and ``similarity``, each with ``head`` and ``rows`` of text, and
            ``notes``, sentences. None for no tables.

    Returns:
        The page, which is replaced in one step.

    Raises:
        ConfigError: No run directory, or no such folder.
        RunError: One of them cannot be read.
        OSError: The page cannot be written.
    """
    if not run_dirs:
        raise ConfigError("report: name at least one run directory.")
    target = Path(run_dirs[0] if folder is None else folder)
    if not target.is_dir():
        raise ConfigError(f"report: {target} is no folder. Make it, or choose another.")
    runs = [view_run(path) for path in run_dirs]
    page = target / REPORT
    try:
        text = report_html(runs, folder=target, comparison=comparison)
    except (AttributeError, LookupError, TypeError, ValueError) as err:
        names = ", ".join(str(path) for path in run_dirs)
        raise RunError(f"{names}: holds what this version cannot show ({type(err).__name__}: {err}).") from err
    replace_text(page, text)
    return page


def report_html(runs: Sequence[RunView], *, folder: Path | None = None, comparison: Mapping[str, Any] | None = None) -> str:
    """The page as text.

    Args:
        runs: At least one.
        folder: Where the page will lie, for links to data files; None for no links.
        comparison: As for `write_report`.
    """
    together = [_figure(panel, "together") for panel in overlay_panels(runs)]
    content = {
        "title": runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        "runs": [_run(run, number, folder) for number, run in enumerate(runs)],
        "together": together,
        "comparison": comparison,
        "colors": PHASE_COLORS,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "policy": embedding.policy(),
        "style": Markup(embedding.asset("report.css")),
        "plotly": Markup(embedding.plotly_script()),
        "script": Markup(embedding.asset("report.js")),
        "themes": Markup(embedding.plain_json({name: theme.to_plotly_json() for name, theme in THEMES.items()})),
    }
    return _template().render(content)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("lightning_interp.dashboards.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["number"] = number
    return environment.get_template("report.html.j2")


def number(value: float) -> str:
    """A number for a table: four digits, thousands apart, small and large ones with a power of ten.

    >>> [number(v) for v in (0.0, 12.3456, 12345.6, 1.5e-8)]
    ['0', '12.35', '12,346', '1.5e-08']
    """
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def _run(run: RunView, place: int, folder: Path | None) -> dict[str, Any]:
    """What the template shows of one run."""
    anchor = f"run{place + 1}"
    drawn = panels(run)
    return {
        "anchor": anchor,
        "name": run.name,
        "verdict": verdict_words(run.timeline),
        "sentence": verdict_sentence(run),
        "loaders": list(loader_lines(run.timeline)),
        "status": status_words(run),
        "strip": _strip(run),
        "phases": facts.phase_rows(run),
        "alarms": facts.alarm_rows(run),
        "unknown": facts.unknowns(run),
        "evidence": facts.evidence_rows(run),
        "changes": boundary_changes(run),
        "sections": [
            {"key": key, "title": title, "figures": [_figure(panel, anchor) for panel in drawn if panel.section == key]}
            for key, title in SECTIONS
            if any(panel.section == key for panel in drawn)
        ],
        "components": [_cards(run, index) for index in range(len(run.components))],
        "configuration": facts.configuration_rows(run),
        "health": facts.health_rows(run),
        "absent": absent(run),
        "files": [] if folder is None else facts.file_rows(run, folder),
    }


def _figure(panel: Panel, anchor: str) -> dict[str, Any]:
    """One figure; one that cannot be drawn costs itself only, and says why."""
    found: dict[str, Any] = {"key": f"{anchor}-{panel.key}", "title": panel.title, "caption": panel.caption}
    try:
        figure = panel.draw()
    except Exception as err:  # whatever a stranger's numbers make of a figure
        return {**found, "json": None, "height": 0, "min_width": 0, "failure": f"{type(err).__name__}: {err}"}
    least = (figure.layout.meta or {}).get("min_width", 0)
    data = Markup(embedding.figure_json(figure))
    return {**found, "json": data, "height": int(figure.layout.height), "min_width": least, "failure": ""}


def _strip(run: RunView) -> list[dict[str, Any]]:
    """Phases as parts of a bar, as wide as they are long in log time."""
    last = max(run.last_step, 1)
    parts = []
    for phase in run.timeline.phases:
        end = last if phase.end is None else phase.end
        width = math.log1p(max(end, phase.start)) - math.log1p(phase.start)
        color = PHASE_COLORS.get(phase.name, "#999999")
        ink = "#000000" if contrast(color, "#000000") > contrast(color, "#ffffff") else "#ffffff"
        label = phase.name.replace("_", " ")
        parts.append(
            {"label": label, "width": round(width, 4), "color": color, "ink": ink, "start": phase.start, "end": phase.end}
        )
    return parts


def _cards(run: RunView, index: int) -> dict[str, Any]:
    """The sentences on the components of one layer."""
    stored = run.components[index]
    try:
        sentences = [each.sentence() for each in described(stored, run.timeline)]
    except InterpError as err:
        sentences = [f"no description: {err}"]
    return {"layer": stored.layer, "error": stored.relative_error, "sentences": sentences, "reasons": stored.reasons}
