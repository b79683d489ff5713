# SPDX-License-Identifier: Apache-2.0
"""The terminal as commands see it: colours, tables and bars are theirs, and nothing in a text can add to them."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lightning_interp.core.console import one_line, printable
from lightning_interp.core.inert_output import inert_output, unwrapped


class PlainConsole(Console):
    """A console whose texts are neither markup nor obeyed by the terminal.

    Rich writes its own escapes past the inert streams; the texts among them are made inert here.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = unwrapped(sys.stderr if stderr else sys.stdout)
        super().__init__(file=stream, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of anything; those that are no escapes of rich's own are inert."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def say(self, text: str, style: str = "", *, soft_wrap: bool = False) -> None:
        """Print a sentence, whatever names are in it."""
        self.print(cell(text, style), soft_wrap=soft_wrap)


@contextmanager
def shown(display: AbstractContextManager[object]) -> Iterator[None]:
    """Show a bar or a status for the duration of the block. What is printed meanwhile goes above it, and stays inert."""
    with display, inert_output():  # rich puts streams of its own in place, which obey colours
        yield


def cell(text: str, style: str = "") -> Text:
    """Text of one line for a table: a line feed in a name would begin another."""
    return Text(one_line(text), style=style)
