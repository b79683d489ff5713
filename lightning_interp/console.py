# SPDX-License-Identifier: Apache-2.0
"""What the monitor says while training runs: one line at a time, through the standard logger ``lightning_interp``.

A logger never raises, also where a user turns warnings into errors, and is safe from every thread.
"""

import logging
import sys
from contextlib import suppress

logger = logging.getLogger("lightning_interp")


class _CurrentStderr(logging.Handler):
    """Writes to whatever `sys.stderr` is now: progress bars replace it to keep their place on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
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
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("interp: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def printable(text: str) -> str:
    """Text of a run or a stranger's file without control characters that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def say(text: str) -> None:
    """One line for the user."""
    _prepare()
    logger.info("%s", printable(text))


def warn(text: str) -> None:
    """One warning for the user."""
    _prepare()
    logger.warning("warning: %s", printable(text))
