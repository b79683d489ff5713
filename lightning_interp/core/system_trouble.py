# SPDX-License-Identifier: Apache-2.0
"""What the system refused, in plain words: from the number that it gave, never guessed."""

import errno
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space left on the disk, or no more of it for this user."""


def is_full(err: BaseException) -> bool:
    """Whether a disk was full, by the number of the error or of one that it was raised from."""
    while err is not None:
        if isinstance(err, OSError) and err.errno in FULL:
            return True
        err = err.__cause__  # type: ignore[assignment]
    return False


def trouble_of(err: OSError) -> str:
    """One sentence about what the system refused, with what to do where that is known.

    >>> trouble_of(OSError(errno.EACCES, "Permission denied", "run.json"))
    'run.json: Permission denied.'
    """
    what = err.strerror or str(err) or type(err).__name__
    where = f"{err.filename}: " if err.filename is not None else ""
    if not is_full(err):
        return f"{where}{what}."
    return f"{where}{what}. Free space there, then call this again."


def free_bytes(path: Path) -> int | None:
    """Bytes that can still be written to the disk a folder is on; None if the system does not say."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
