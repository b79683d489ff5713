# SPDX-License-Identifier: Apache-2.0
"""Writing the picture that ``phases --figure`` asks for."""

import sys
from pathlib import Path

import plotly.graph_objects as go

from lightning_interp.dashboards.figures import write_html
from lightning_interp.errors import MetricsError


def write_picture(figure: go.Figure, target: Path) -> None:
    """Write a figure as one HTML file that needs no network, and say where it is.

    Raises:
        MetricsError: It cannot be written.
    """
    try:
        write_html(figure, target)
    except OSError as err:
        raise MetricsError(f"--figure {target}: cannot be written ({err.strerror or err}). Choose another place.") from err
    print(f"Picture: {target}", file=sys.stderr)
