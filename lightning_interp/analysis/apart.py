# SPDX-License-Identifier: Apache-2.0
"""Where a module's own hooks and training steps run: in an empty directory, in which what they save meets no other file.

A module may save its best weights at the end of a validation. On a replica that would happen once for every batch of the
probe, and a relative path would be that of the training. The directory belongs to the whole process, so that a process which
trains cannot leave its own; there such hooks are not run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_interp.core.errors import ProbeError

_apart = False


def work_apart() -> None:
    """This process does nothing but analyze: its directory may change at times."""
    global _apart
    _apart = True


@contextmanager
def working_apart() -> Iterator[None]:
    """Inside, the process does nothing but analyze."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


@contextmanager
def empty_directory(*, needed: bool) -> Iterator[None]:
    """Inside, the working directory is an empty one, where this process may change it.

    Args:
        needed: Whether what runs inside must not run elsewhere.

    Raises:
        ProbeError: It is needed, and this process trains as well.
    """
    if not _apart:
        if needed:
            raise ProbeError('its loss comes at the end of an epoch, which is run beside background="process" alone')
        yield
        return
    before = "/"
    with suppress(OSError):  # it may have been removed
        before = str(Path.cwd())
    with TemporaryDirectory(prefix="interp-step-", ignore_cleanup_errors=True) as empty:
        os.chdir(empty)
        try:
            yield
        finally:
            os.chdir(before)
