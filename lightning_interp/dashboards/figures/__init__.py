# SPDX-License-Identifier: Apache-2.0
"""Figures of runs, each a pure function: plain values in, a plotly figure out.

`panels` says which there are of a run. A page draws a panel and has its own heading and buttons; `standalone` puts title,
buttons and a key of the phases into the figure.
"""

from lightning_interp.dashboards.figures.alone import stand_alone
from lightning_interp.dashboards.figures.catalog import absent, overlay_panels, panels, standalone
from lightning_interp.dashboards.figures.component_figure import components_figure
from lightning_interp.dashboards.figures.component_values import ComponentModel
from lightning_interp.dashboards.figures.losses import (
    CURVE_STYLES,
    ERROR_STYLES,
    losses_figure,
    phase_timeline_figure,
)
from lightning_interp.dashboards.figures.panel import SECTIONS, Panel
from lightning_interp.dashboards.figures.ranks import rank_selection_figure
from lightning_interp.dashboards.figures.thinning import MAX_POINTS
from lightning_interp.dashboards.figures.time_axis import TimeAxis, step_offset, tick_steps
from lightning_interp.dashboards.pages import write_html, write_image, write_page
from lightning_interp.dashboards.theme import PHASE_COLORS

__all__ = [
    "CURVE_STYLES",
    "ERROR_STYLES",
    "MAX_POINTS",
    "PHASE_COLORS",
    "SECTIONS",
    "ComponentModel",
    "Panel",
    "TimeAxis",
    "absent",
    "components_figure",
    "losses_figure",
    "overlay_panels",
    "panels",
    "phase_timeline_figure",
    "rank_selection_figure",
    "stand_alone",
    "standalone",
    "step_offset",
    "tick_steps",
    "write_html",
    "write_image",
    "write_page",
]
