# SPDX-License-Identifier: Apache-2.0
"""The design language of every figure and page: phase and curve colors, and a light and a dark plotly template.

Colors of curves stand out from both backgrounds by a contrast of 3 to 1 or more, so that one figure serves both; whatever
else depends on the background (text, grid, hover labels) is in the templates only, which a page can swap.
"""

from dataclasses import dataclass

import plotly.graph_objects as go

from lightning_interp.core.timeline import Phase

PHASE_COLORS = {
    "warm_up": "#999999",
    "fitting": "#56B4E9",
    "memorization": "#E69F00",
    "circuit_formation": "#0072B2",
    "cleanup": "#009E73",
    "converged": "#C8B400",
    "collapse": "#D55E00",
    "overfitting": "#CC79A7",
}
"""Phase colors, from the palette of Okabe and Ito, which color-blind readers can tell apart; its yellow darkened."""

STAGE_COLORS = {
    "warm_up": "#999999",
    "descent": "#56B4E9",
    "plateau": "#E69F00",
    "breakthrough": "#0072B2",
    "saturation": "#C8B400",
    "instability": "#CC79A7",
    "collapse": "#D55E00",
    "norm_growing": "#56B4E9",
    "norm_shrinking": "#009E73",
    "norm_at_rest": "#C8B400",
}
"""Stage colors: where a stage is much like a phase, the color of that phase."""

TRAIN, HELDOUT, EXCLUDED, RESTRICTED, NEUTRAL = "#777777", "#CC3311", "#B5588F", "#008F68", "#7F7F7F"
CURVE_COLORS = ("#1F77B4", "#CC3311", "#008F68", "#B5588F", "#B06D00", "#6A6AC8", "#777777", "#8C7A00")
"""Colors of curves that have no meaning of their own."""

MARK = "#808080"
"""Lines and marks that are neither curve nor phase."""

BAND = 0.2
"""Opacity of a phase behind curves."""


@dataclass(frozen=True)
class Ink:
    """Colors that depend on the background: of the paper, text, faint text, grid lines, axis lines, and buttons."""

    paper: str
    text: str
    faint: str
    grid: str
    axis: str
    button: str


INKS = {
    "light": Ink(paper="#ffffff", text="#1f2328", faint="#57606a", grid="#e4e7eb", axis="#8c959f", button="#f3f4f6"),
    "dark": Ink(paper="#161b22", text="#e6edf3", faint="#9da7b3", grid="#2f363f", axis="#6e7681", button="#30363d"),
}


def _template(ink: Ink) -> go.layout.Template:
    axis = {
        "gridcolor": ink.grid,
        "zerolinecolor": ink.grid,
        "linecolor": ink.axis,
        "tickcolor": ink.axis,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 13}},
    }
    button = {"bgcolor": ink.button, "bordercolor": ink.axis, "font": {"color": ink.text, "size": 12}}
    layout = go.Layout(
        paper_bgcolor=ink.paper,
        plot_bgcolor=ink.paper,
        font={"color": ink.text, "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        colorway=CURVE_COLORS,
        colorscale={"sequential": "Viridis"},
        xaxis=axis,
        yaxis=axis,
        legend={"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}},
        hoverlabel={"bgcolor": ink.button, "bordercolor": ink.axis, "font": {"color": ink.text}},
        hovermode="x unified",
        updatemenudefaults=button,
        coloraxis={"colorbar": {"outlinewidth": 0, "ticks": "outside", "tickcolor": ink.axis}},
        title={"x": 0.02, "xanchor": "left"},
    )
    return go.layout.Template(layout=layout)


LIGHT, DARK = _template(INKS["light"]), _template(INKS["dark"])
THEMES = {"light": LIGHT, "dark": DARK}
"""Templates by name; every figure is made with the light one."""


def phase_color(phase: Phase) -> str:
    """Color of a phase, gray for a name of another version."""
    return PHASE_COLORS.get(phase.name, "#999999")


def luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb``, 0 for black to 1 for white (WCAG 2.1).

    >>> round(luminance("#808080"), 3)
    0.216
    """
    channels = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast of two colors, 1 to 21 (WCAG 2.1).

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
