# SPDX-License-Identifier: Apache-2.0
"""Figures as a browser takes them: drawn once for each state of a run, then set in the theme and scales of each reader."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plotly.io.json import to_json_plotly

from lightning_interp.core.console import printable
from lightning_interp.dashboards.figures import Panel
from lightning_interp.dashboards.figures.time_axis import thinned_ticks
from lightning_interp.dashboards.live.narrow import least_width, narrowed
from lightning_interp.dashboards.live.settings import Settings
from lightning_interp.dashboards.theme import THEMES

MOST_KEPT = 200
"""Figures kept: some sections of some runs."""
MOST_TICKS = {1: 14, 2: 8}
"""Ticks of a time axis by the number of figures beside each other."""
NARROW_TICKS = 6
_TEMPLATES = {name: template.to_plotly_json() for name, template in THEMES.items()}
_USUAL_HEIGHT = 450
_CLEAR_LEGEND = {"bgcolor": "rgba(0,0,0,0)"}
"""A template reaches a figure's first legend only."""


@dataclass(frozen=True)
class RenderedFigure:
    """A panel's figure.

    Attributes:
        figure: In plain values, as the panel draws it.
        digest: Tells it from any other.
        height: In pixels.
        width: Pixels it needs at least, 0 where any width will do.
        problem: Why there is no figure, a sentence; empty where there is one.
    """

    figure: Mapping[str, Any]
    digest: str
    height: int
    width: int = 0
    problem: str = ""


class Drawings:
    """Draws panels and remembers what it drew. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[object, RenderedFigure]] = OrderedDict()

    def draw(self, owner: str, version: object, panel: Panel) -> RenderedFigure:
        """The figure of a panel; drawn anew only where the version is another than the last time.

        Where that fails, the reason is remembered in place of a figure. `owner` is the key of the run or runs drawn.
        """
        place = (owner, panel.key)
        with self._lock:
            known = self._kept.get(place)
        if known is None or known[0] != version:
            known = (version, _drawn(panel))
        with self._lock:
            self._kept[place] = known
            self._kept.move_to_end(place)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return known[1]


def token(drawn: RenderedFigure, settings: Settings, beside: int) -> str:
    """Tells one figure in one setting from every other: a browser that has it needs nothing."""
    return f"{drawn.digest} {settings.theme} {settings.time} {settings.values} {most_ticks(settings, beside)}"


def most_ticks(settings: Settings, beside: int) -> int:
    """Ticks that a time axis has room for where so many figures are beside each other; few in a narrow figure."""
    return NARROW_TICKS if settings.narrow else MOST_TICKS.get(beside, NARROW_TICKS)


def in_settings(drawn: RenderedFigure, settings: Settings, beside: int) -> dict[str, Any]:
    """The figure in a reader's theme and scales.

    Curves that a reader hid stay hidden through an update, for ``uirevision`` does. Zoom is kept by the page (live.js): the
    ranges in ``meta``, which the figure came with, tell it which are the reader's.
    """
    layout = dict(drawn.figure["layout"])
    meta = layout.get("meta") or {}
    for name in meta.get("time_axes", ()):
        ticks = _thinned(meta["ticks"][settings.time], most_ticks(settings, beside))
        layout[name] = _scaled(layout.get(name, {}), settings.time) | ticks
    for name in meta.get("value_axes", ()):
        layout[name] = _scaled(layout.get(name, {}), settings.values)
    ranges = {name: axis["range"] for name, axis in layout.items() if "axis" in name and "range" in axis}
    layout |= {"template": _TEMPLATES[settings.theme], "uirevision": "kept", "updatemenus": [], "meta": {"ranges": ranges}}
    for name in [name for name in layout if name.startswith("legend")]:
        layout[name] = _CLEAR_LEGEND | layout[name]
    figure = {**drawn.figure, "layout": layout}
    return narrowed(figure) if most_ticks(settings, beside) == NARROW_TICKS else figure


def _scaled(axis: Mapping[str, Any], scale: str) -> dict[str, Any]:
    changed = dict(axis) | {"type": scale}
    if axis.get("type", "linear") != scale:
        changed.pop("range", None)
    return changed


def _thinned(ticks: Mapping[str, Any], most: int) -> dict[str, Any]:
    places = thinned_ticks(list(range(len(ticks["tickvals"]))), most=most)
    return {"tickmode": "array"} | {name: [values[place] for place in places] for name, values in ticks.items()}


def _drawn(panel: Panel) -> RenderedFigure:
    try:
        figure = panel.draw().to_dict()
        text = to_json_plotly(figure)
    except Exception as err:  # what a run holds may be anything; the other panels are drawn
        return RenderedFigure({}, "", 0, problem=printable(f"This figure could not be drawn ({type(err).__name__}: {err})."))
    height = figure["layout"].get("height")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    pixels = int(height) if isinstance(height, int | float) else _USUAL_HEIGHT
    return RenderedFigure(figure, digest, pixels, least_width(figure))
