# SPDX-License-Identifier: Apache-2.0
"""One figure on a page: a key, words around it, and how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

SECTIONS = (
    ("phases", "Phases"),
    ("measures", "Measures"),
    ("layers", "Layers"),
    ("components", "Components"),
    ("training", "Training and monitor"),
)
"""Sections of a page in reading order: key and title."""


@dataclass(frozen=True)
class Panel:
    """A figure that can be drawn of a run.

    Attributes:
        key: Name in links and loggers: lower-case letters, digits and dashes.
        title: Heading, plain text.
        caption: How to read it, one or two sentences of plain text.
        section: Key of one of `SECTIONS`.
        draw: Draws it, without title or buttons: the page has those.
    """

    key: str
    title: str
    caption: str
    section: str
    draw: Callable[[], go.Figure]
