# SPDX-License-Identifier: Apache-2.0
"""Text of a run in a figure: plotly understands a few tags in every title, label and hover text."""

from html import escape

from lightning_interp.core.console import printable


def as_text(text: str) -> str:
    """Text that a figure shows as it is: no tag in it counts, no control character is left, quotes stay quotes.

    >>> as_text('<b>"x"</b>')
    '&lt;b&gt;"x"&lt;/b&gt;'
    """
    return escape(printable(text), quote=False)


def end_of(name: str, longest: int) -> str:
    """A name, of a long one its end: layers are told apart by it."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
