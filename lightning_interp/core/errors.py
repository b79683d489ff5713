# SPDX-License-Identifier: Apache-2.0
"""Every error the package raises on purpose, so that callers can tell bad input from failed analysis.

A message quotes names of files, columns, layers and tensors that strangers chose. It is one line, and nothing in it steers a
terminal, wherever it is shown: on the command line, in a trace, in a notebook or in another message.
"""

from lightning_interp.core.console import one_line


class InterpError(Exception):
    """Base class of all errors raised by lightning_interp."""

    def __str__(self) -> str:
        """The message, inert. Lines that others wrote, such as the end of a log, are notes of the error (`add_note`)."""
        return one_line(super().__str__())


class ConfigError(InterpError, ValueError):
    """An argument cannot be honoured; raised before training or analysis changes anything."""


class ShapeError(InterpError, ValueError):
    """A tensor does not have the axes a function needs."""


class ProbeError(InterpError):
    """No probe can be built, or a module's outputs on the probe cannot be found."""


class RunError(InterpError):
    """A run directory is missing, of another schema, in use, or holds another run."""


class CorruptSnapshotError(RunError):
    """A committed file does not hold what its checksums say."""


class MetricsError(InterpError, ValueError):
    """A metrics history cannot be read: missing columns, unsorted or conflicting steps."""


class CheckpointError(InterpError, ValueError):
    """A checkpoint is damaged, or cannot be read without running what it names; nothing of it was run."""


class MeasureSkipped(InterpError):  # noqa: N818 - not a failure: the reason a measure has nothing to say
    """A measure does not apply to this observation; the message is the reason shown to the user."""
