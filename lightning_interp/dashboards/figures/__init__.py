# SPDX-License-Identifier: Apache-2.0
"""Figures of runs, each a pure function: plain values in, a plotly figure out.

`panels` says which there are of a run. A page draws a panel and has its own heading and buttons; `standalone` puts title,
buttons and a key of the phases into the figure.
"""

from lightning_interp.dashboards.figures.catalog import absent, overlay_panels, panels, standalone
from lightning_interp.dashboards.figures.component_figure import components_figure
from lightning_interp.dashboards.figures.losses import phase_timeline_figure
from lightning_interp.dashboards.figures.panel import SECTIONS, Panel
from lightning_interp.dashboards.figures.ranks import rank_selection_figure
from lightning_interp.dashboards.figures.time_axis import step_offset
from lightning_interp.dashboards.pages import write_html, write_image, write_page

__all__ = [
    "SECTIONS",
    "Panel",
    "absent",
    "components_figure",
    "overlay_panels",
    "panels",
    "phase_timeline_figure",
    "rank_selection_figure",
    "standalone",
    "step_offset",
    "write_html",
    "write_image",
    "write_page",
]
