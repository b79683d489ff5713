# SPDX-License-Identifier: Apache-2.0
"""One analyzer per run directory, held by the kernel: a killed holder leaves no stale lock.

A system without `fcntl.flock` has the lock of SQLite, which is the kernel's, too, on every system that python runs on. The
file stays empty either way. One kind does not exclude the other: a run directory on a network drive, analyzed from two
systems at a time, is not guarded.
"""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lightning_interp.core.errors import RunError
from lightning_interp.core.system_features import FILE_LOCKS
from lightning_interp.store.bounded_file import open_descriptor
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
    with closing((_Flock if FILE_LOCKS else _DatabaseLock)(run_dir / LOCK)) as lock:
        deadline = time.monotonic() + wait_s
        while not lock.take():
            if time.monotonic() > deadline:
                raise RunError(
                    f"{run_dir}: another analyzer works on this run. Wait for it to end, or stop it, and try again."
                )
            time.sleep(0.1)
        yield


class _Flock:
    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.fdopen(open_descriptor(path, os.O_WRONLY | os.O_CREAT), "wb")
        except OSError as err:
            raise RunError(f"{path}: cannot be opened ({err.strerror or err}), so nobody can say who works on it.") from err

    def take(self) -> bool:
        import fcntl

        try:
            fcntl.flock(self._handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._handle.close()


class _DatabaseLock:
    """A transaction that writes nothing, on a database that stays empty."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        # Whoever lets go of the lock may do so on another thread, as at the end of the interpreter.
        self._database = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)

    def take(self) -> bool:
        import sqlite3

        try:
            self._database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise OSError(f"the lock of the analyzer cannot be taken: {err}") from err
            return False
        return True

    def close(self) -> None:
        self._database.close()
