# SPDX-License-Identifier: Apache-2.0
"""One analyzer per run directory, held by the kernel: a killed holder leaves no stale lock."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_interp.errors import RunError
from lightning_interp.store.layout import LOCK


@contextmanager
def analyzer_lock(run_dir: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the run directory's analyzer lock.

    Args:
        run_dir: Run directory.
        wait_s: Seconds to wait for another analyzer to end, e.g. the one of a training that was just resumed.

    Raises:
        RunError: Another analyzer holds it.
    """
    with (run_dir / LOCK).open("a") as handle:
        deadline = time.monotonic() + wait_s
        while not _try_lock(handle.fileno()):
            if time.monotonic() > deadline:
                raise RunError(
                    f"{run_dir}: another analyzer works on this run. Wait for it to end, or stop it, and try again."
                )
            time.sleep(0.1)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
