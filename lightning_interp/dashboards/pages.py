# SPDX-License-Identifier: Apache-2.0
"""Figures as files: one HTML page that needs no network, or one image each."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from lightning_interp.dashboards.images import ImagesUnavailableError, images

IMAGE_WIDTH = 1200
"""Width of an image, in plotly's pixels; the file has twice as many."""

_CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}


def write_html(figure: go.Figure, path: str | Path) -> None:
    """Write a figure as one HTML file that needs no network.

    Raises:
        OSError: It cannot be written.
    """
    text = figure.to_html(include_plotlyjs=True, full_html=True, config=_CONFIG)
    Path(path).write_text(text, encoding="utf-8")


def write_page(figures: Sequence[go.Figure], path: str | Path, *, title: str) -> None:
    """Write figures below each other as one HTML file that needs no network.

    Args:
        figures: Any plotly figures, at least one.
        path: File to write.
        title: Title of the page, plain text.

    Raises:
        OSError: It cannot be written.
    """
    parts = [
        figure.to_html(include_plotlyjs=number == 0, full_html=False, config=_CONFIG)
        for number, figure in enumerate(figures)
    ]
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    Path(path).write_text("\n".join([head, "<body>", *parts, "</body></html>\n"]), encoding="utf-8")


def write_image(figure: go.Figure, path: str | Path) -> None:
    """Write a figure as an image of its own height, without its buttons, in the format that the name ends in.

    Args:
        figure: Any plotly figure with a height.
        path: File to write, such as ``figure.png``.

    Raises:
        RuntimeError: There is no kaleido, or it finds no Chrome or Chromium.
        OSError: The file cannot be written.
    """
    path = Path(path)
    try:
        (content,) = images([figure], kind=path.suffix.lstrip(".").lower(), width=IMAGE_WIDTH, scale=2)
    except ImagesUnavailableError as err:
        raise RuntimeError(str(err)) from err
    path.write_bytes(content)
