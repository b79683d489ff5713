# SPDX-License-Identifier: Apache-2.0
"""Standard output and standard error through which no text can steer a terminal, whoever prints it.

A net under everything that is said: names are made inert where they become part of a sentence (`one_line`), and what comes
past that, from a library, a warning or a program error, is caught here.
"""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from lightning_interp.core.console import CurrentStderr, one_line, printable


class InertStream:
    """A text stream that shows control characters by their names; line feeds and tabs stay.

    It says that it is no terminal, so that no library colours what it writes there.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, inert."""
        # A bar that goes back to the start of its line, as one of the user's own code, gets a line for each look of it.
        self.stream.write(printable(text.replace("\r\n", "\n").replace("\r", "\n"), keep="\n\t"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts, inert."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Whether escapes would be obeyed: no."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _OneLine(logging.Formatter):
    """One line a record: no name in it begins another, and an exception is a sentence without its trace."""

    def format(self, record: logging.LogRecord) -> str:
        err = record.exc_info[1] if record.exc_info else None
        return one_line(record.getMessage() + (f" ({type(err).__name__}: {err})" if err is not None else ""))


def make_output_inert() -> None:
    """For the rest of the process: streams, warnings, and logs of libraries that nobody has set up."""
    sys.stdout, sys.stderr = _inert(sys.stdout), _inert(sys.stderr)
    handler = CurrentStderr(logging.WARNING)
    handler.setFormatter(_OneLine())
    logging.lastResort = handler
    warnings.formatwarning = _warning_line


@contextmanager
def inert_output() -> Iterator[None]:
    """The same for the duration of the block."""
    before = sys.stdout, sys.stderr, logging.lastResort, warnings.formatwarning
    make_output_inert()
    try:
        yield
    finally:
        sys.stdout, sys.stderr, logging.lastResort, warnings.formatwarning = before


def unwrapped(stream: TextIO) -> TextIO:
    """The stream below, for whoever makes every text inert before it adds escapes of its own."""
    while isinstance(stream, InertStream):
        stream = stream.stream
    return stream


def _inert(stream: TextIO) -> TextIO:
    """The stream, inert; None, which a program without a console has, stays."""
    return stream if stream is None else cast(TextIO, InertStream(stream))


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    del line  # of the source
    return one_line(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"
