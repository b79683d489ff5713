# SPDX-License-Identifier: Apache-2.0
"""Whether a process of this machine is there, asked without touching it."""

import os
from pathlib import Path

from lightning_interp.core.system_features import HALTING

LARGEST_PID = 2**31 - 1


def is_alive(pid: int) -> bool | None:
    """Whether a process of this machine runs or is halted; None if the system does not say.

    One that has ended and whose parent has not asked for its status yet does not count.

    >>> is_alive(os.getpid()), is_alive(0)
    (True, False)
    """
    if not 0 < pid <= LARGEST_PID:
        return False
    if not HALTING:
        return None  # on Windows, asking by a signal would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # there, and of another user
    except OSError:
        return None
    return _state(pid) not in ("Z", "X")


def words_of(pid: int) -> tuple[str, ...]:
    """Command line of a process, empty if the system does not say."""
    try:
        return tuple(os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if word)
    except OSError:
        return ()


def _state(pid: int) -> str:
    """Letter of a process's state, empty if the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
