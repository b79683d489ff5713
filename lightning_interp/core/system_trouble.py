# SPDX-License-Identifier: Apache-2.0
"""What the system refused, in plain words: from the number that it gave, never guessed."""

import errno
import re
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space left on the disk, or no more of it for this user."""


LEAST_BYTES = 2**14
"""A disk with less takes no file of a run: four blocks."""


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


def number_in(text: str) -> int | None:
    """The system's number in what a library written in Rust says of an error, which keeps it nowhere else.

    >>> number_in("I/O error: No space left on device (os error 28)")
    28
    """
    found = re.search(r"\(os error (\d{1,5})\)", text)
    return int(found[1]) if found else None


def is_low(free: int | None, needed: int = 0) -> bool:
    """Whether a disk with so many bytes left is full for a run whose snapshots need so many; False if it is not known."""
    return free is not None and free < max(LEAST_BYTES, needed)


def full_words(path: Path, free: int | None, *, step: int | None = None) -> str:
    """That the disk a folder is on is full, from which step on nothing is on it, and what to do.

    Args:
        path: Folder.
        free: Bytes left; None if the system does not say.
        step: First step that is not on it, None if that is not known.

    >>> full_words(Path("run"), 4096, step=120)
    'The disk that holds run is full (4,096 bytes left): nothing since step 120 is on it. Free space, then run `lightning-interp analyze run`'
    """  # noqa: E501 - one line for the user
    left = "" if free is None else f" ({free:,} bytes left)"
    lost = "" if step is None else f": nothing since step {step:,} is on it"
    return f"The disk that holds {path} is full{left}{lost}. Free space, then run `lightning-interp analyze {path}`"


def free_bytes(path: Path) -> int | None:
    """Bytes that can still be written to the disk a folder is on; None if the system does not say."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
