# SPDX-License-Identifier: Apache-2.0
"""The section in view: a row for each panel, with the same panel of every run beside each other."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dash import dcc, html

from lightning_interp.core.console import printable
from lightning_interp.dashboards.figures import SECTIONS, Panel, absent, overlay_panels, panels
from lightning_interp.dashboards.live.aria import aria
from lightning_interp.dashboards.live.known_runs import Look
from lightning_interp.dashboards.live.rendered_figure import Drawings, RenderedFigure, in_settings, token
from lightning_interp.dashboards.live.settings import Settings

CONFIG: Any = {
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "showSendToCloud": False,
    "plotlyServerURL": "",
}
"""Nothing on the page offers to send a figure anywhere."""
_ALL = "all"


@dataclass(frozen=True)
class Cell:
    """One figure of a row.

    Attributes:
        key: What the browser knows the figure by.
        run: Name of its run, empty where it is of all.
        drawn: The figure, None where the run has none.
        beside: Figures in the row.
    """

    key: str
    run: str
    drawn: RenderedFigure | None
    beside: int


@dataclass(frozen=True)
class Row:
    """One panel, of one run or several."""

    title: str
    caption: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Body:
    """The section in view.

    Attributes:
        section: Key of the section.
        rows: Panels in reading order.
        missing: What is not drawn: run, title, and why.
        problems: Runs whose panels cannot be listed, and why.
    """

    section: str
    rows: tuple[Row, ...]
    missing: tuple[tuple[str, str, str], ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def cells(self) -> Iterator[Cell]:
        """Every figure there is."""
        return (cell for row in self.rows for cell in row.cells if cell.drawn is not None and not cell.drawn.problem)

    @property
    def shape(self) -> str:
        """Changes where more than the inside of figures does."""
        rows = [
            (row.title, row.caption, [(cell.key, cell.run, *_outline(cell.drawn)) for cell in row.cells])
            for row in self.rows
        ]
        return hashlib.sha256(repr((self.section, rows, self.missing, self.problems)).encode()).hexdigest()[:16]


def body_of(looks: Sequence[Look], settings: Settings, drawings: Drawings) -> Body:
    """The section in view, with its figures drawn. The caller holds the locks of the runs."""
    shown = [look for look in looks if look.view is not None]
    listed: dict[str, tuple[Panel, ...]] = {}
    missing: list[tuple[str, str, str]] = []
    problems: list[str] = []
    for look in shown:
        try:
            assert look.view is not None
            listed[look.key] = tuple(panel for panel in panels(look.view) if panel.section == settings.section)
            missing += [(look.name, title, why) for title, why in absent(look.view).items()]
        except Exception as err:  # files of a stranger may hold anything; the other runs are shown
            problems.append(printable(f"{look.name}: its figures cannot be listed ({type(err).__name__}: {err})."))
    rows = (*_overlays(shown, settings, drawings), *_rows(shown, listed, drawings))
    return Body(settings.section, rows, tuple(missing), tuple(problems))


def section_view(body: Body, settings: Settings) -> list[Any]:
    """The section in view as components."""
    title = dict(SECTIONS)[body.section]
    content: list[Any] = [html.H2(title, className="section-title")]
    content += [html.P(problem, className="problem", role="alert") for problem in body.problems]
    content += [_row_view(row, settings) for row in body.rows]
    if not body.rows:
        content.append(html.P("Nothing to draw in this section yet.", className="state"))
    return content + _missing_view(body.missing)


def figure_id(cell: Cell) -> dict[str, str]:
    """Id of a figure in the browser."""
    return {"type": "figure", "figure": cell.key}


def _rows(shown: Sequence[Look], listed: Mapping[str, Sequence[Panel]], drawings: Drawings) -> Iterator[Row]:
    titles: dict[str, Panel] = {}
    for found in listed.values():
        titles |= {panel.key: panel for panel in found if panel.key not in titles}
    for key, panel in titles.items():
        cells = []
        for look in shown:
            own = next((each for each in listed.get(look.key, ()) if each.key == key), None)
            drawn = None if own is None else drawings.draw(look.key, look.version, own)
            cells.append(Cell(f"{look.key}/{key}", look.name if len(shown) > 1 else "", drawn, len(shown)))
        yield Row(printable(panel.title), printable(panel.caption), tuple(cells))


def _overlays(shown: Sequence[Look], settings: Settings, drawings: Drawings) -> Iterator[Row]:
    owner = "+".join(look.key for look in shown)
    version = tuple(look.version for look in shown)
    for panel in overlay_panels([look.view for look in shown if look.view is not None]):
        if panel.section == settings.section:
            drawn = drawings.draw(owner, version, panel)
            yield Row(panel.title, panel.caption, (Cell(f"{_ALL}/{panel.key}", "", drawn, 1),))


def _row_view(row: Row, settings: Settings) -> html.Section:
    cells = [_cell_view(row, cell, settings) for cell in row.cells]
    return html.Section(
        [html.H3(row.title), html.P(row.caption, className="caption"), html.Div(cells, className="cells")],
        className="panel",
    )


def _cell_view(row: Row, cell: Cell, settings: Settings) -> html.Figure:
    label = f"{row.title} of {cell.run}" if cell.run else row.title
    content: list[Any] = [html.Figcaption(cell.run, className="run-label")] if cell.run else []
    if cell.drawn is None:
        content.append(html.P("Not there in this run.", className="state"))
    elif cell.drawn.problem:
        content.append(html.P(cell.drawn.problem, className="problem"))
    else:
        figure = in_settings(cell.drawn, settings, cell.beside)
        size = {"height": f"{cell.drawn.height}px", "minWidth": f"{cell.drawn.width}px"}
        graph = dcc.Graph(id=figure_id(cell), figure=figure, config=CONFIG, style=size, responsive=True)
        stop: dict[str, Any] = (
            {"tabIndex": "0"} if cell.drawn.width else {}
        )  # what scrolls must be within reach of the arrow keys
        content.append(html.Div(graph, className="scroll", **stop))
    return html.Figure(content, className="cell", **aria(label=label))


def _missing_view(missing: Sequence[tuple[str, str, str]]) -> list[Any]:
    if not missing:
        return []
    several = len({run for run, _, _ in missing}) > 1
    lines = [html.Li(f"{run}: {title}: {why}" if several else f"{title}: {why}") for run, title, why in missing]
    return [html.Details([html.Summary("What is not drawn, and why"), html.Ul(lines)], className="missing")]


def figure_token(cell: Cell, settings: Settings) -> str:
    """Tells what a browser has of a figure from what it would be given."""
    return "" if cell.drawn is None else token(cell.drawn, settings, cell.beside)


def _outline(drawn: RenderedFigure | None) -> tuple[Any, ...]:
    return (None,) if drawn is None else (drawn.height, drawn.width, drawn.problem)
