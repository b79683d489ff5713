# SPDX-License-Identifier: Apache-2.0
"""Figures for a window as narrow as a phone's: smaller legends and color bars, shorter names, no labels on marks."""

from collections.abc import Mapping
from html import escape, unescape
from typing import Any

_LEGEND = {"font": {"size": 10}, "itemwidth": 30}
_COLOR_BAR = {"thickness": 8, "title": {"text": ""}}
"""What the colors mean, the caption says."""
_LONGEST_NAME = 18
_COLUMN_PX = 230
"""Width that a column of a figure needs at least; a figure of several scrolls by itself, never the page."""


def narrowed(figure: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the figure, in plain values, as it fits into a narrow window."""
    layout = {name: _part(name, value) for name, value in figure["layout"].items()}
    return {**figure, "layout": layout, "data": [_trace(trace) for trace in figure["data"]]}


def least_width(figure: Mapping[str, Any]) -> int:
    """Pixels the figure needs, 0 where any width will do."""
    axes = [value for name, value in figure["layout"].items() if name.startswith("xaxis") and isinstance(value, dict)]
    columns = {round(float(axis["domain"][0]), 3) for axis in axes if axis.get("domain")}
    return _COLUMN_PX * len(columns) if len(columns) > 1 else 0


def _part(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if name.startswith("legend"):
        return value | _LEGEND
    if name.startswith("xaxis"):
        return value | {"tickangle": 0}
    if name.startswith("coloraxis") and "colorbar" in value:
        return value | {"colorbar": value["colorbar"] | _COLOR_BAR}
    if name.startswith("yaxis") and isinstance(value.get("ticktext"), list | tuple):
        return value | {"ticktext": [_shortened(text) for text in value["ticktext"]]}
    return value


def _trace(trace: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(trace)
    if isinstance(trace.get("mode"), str):
        changed["mode"] = trace["mode"].removesuffix("+text")  # they run into each other; hover texts say the same
    if isinstance(trace.get("colorbar"), dict):
        changed["colorbar"] = trace["colorbar"] | _COLOR_BAR
    return changed


def _shortened(text: object) -> str:
    """The end of a name on an axis, which tells layers apart better than the beginning."""
    plain = unescape(str(text))
    return str(text) if len(plain) <= _LONGEST_NAME else escape("…" + plain[1 - _LONGEST_NAME :], quote=False)
