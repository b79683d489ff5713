# SPDX-License-Identifier: Apache-2.0
"""What the monitor says while training runs: one line at a time, through the standard logger ``lightning_interp``.

A logger never raises, also where a user turns warnings into errors, and is safe from every thread.
"""

import logging
import sys
import unicodedata
from contextlib import suppress

logger = logging.getLogger("lightning_interp")
MOST_SAID = 1000
"""Warnings that are given once each; of files that are damaged all over no more is said."""
_said: set[str] = set()
_JOINERS = "\u200c\u200d"
"""Without width, but part of how Persian, Hindi and some emoji are written."""


class CurrentStderr(logging.Handler):
    """Writes to whatever `sys.stderr` is now: progress bars replace it to keep their place on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; where nothing can be written, nothing is."""
        try:
            if sys.stderr is not None:
                print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # a closed terminal or pipe must end neither the training nor the writer
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report a failed write where that is possible; logging itself raises when standard error is closed."""
        with suppress(Exception):
            super().handleError(record)


def _prepare() -> None:
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():  # the user's own logging set-up comes first
        handler = CurrentStderr()
        handler.setFormatter(logging.Formatter("interp: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def printable(text: str, *, keep: str = "\n") -> str:
    r"""Text of a run or a stranger's file without what a terminal would obey, or would show in another order or not at all.

    Control characters but those of `keep`, those that change the direction of writing, those without width, half surrogate
    pairs and characters that Unicode has not given out are shown as Python writes them. Spaces of any width stay, and so
    does what joins or parts two characters of a script or two emoji. Twice is the same as once.

    >>> printable("a\x1b[2J\u202eb\n")
    'a\\x1b[2J\\u202eb\n'
    """
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(text, at, keep) else repr(char)[1:-1] for at, char in enumerate(text))


def _is_harmless(text: str, at: int, keep: str) -> bool:
    char = text[at]
    if char.isprintable() or char in keep or unicodedata.category(char) == "Zs":
        return True
    around = text[at - 1 : at] + text[at + 1 : at + 2]
    return char in _JOINERS and len(around) == 2 and min(around) > "\x7f" and around.isprintable()


def one_line(text: str) -> str:
    r"""The same for what is said in one line: a line feed in a name would make a line of its own.

    >>> one_line("a run\nverdict: grokking")
    'a run\\nverdict: grokking'
    """
    return printable(text, keep="")


def say(text: str) -> None:
    """One line for the user."""
    _prepare()
    logger.info("%s", one_line(text))


def warn(text: str) -> None:
    """One warning for the user."""
    _prepare()
    logger.warning("warning: %s", one_line(text))


def warn_once(text: str) -> None:
    """A warning that this process has not given yet."""
    if text not in _said and len(_said) < MOST_SAID:
        _said.add(text)
        warn(text)
