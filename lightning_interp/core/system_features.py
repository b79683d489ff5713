# SPDX-License-Identifier: Apache-2.0
"""What this system can do and others cannot: told by what is there, never by the system's name.

Everything here exists on Linux. Windows has none of it; macOS has all but `PIPE_END_SIGNALS`. Whoever uses one of these asks
here first and says in its own place what it does without.
"""

import os
import signal


def _fcntl_has(name: str) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    return hasattr(fcntl, name)


FILE_LOCKS: bool = _fcntl_has("flock")
"""Whether the kernel locks files by `fcntl.flock`."""
PIPE_END_SIGNALS: bool = _fcntl_has("F_SETSIG")
"""Whether a process can have a signal sent when the other end of a pipe is closed, and inherits such a pipe."""
HALTING: bool = hasattr(signal, "SIGSTOP") and hasattr(signal, "SIGCONT")
"""Whether a process can be halted and let go on."""
SIGNAL_MASKS: bool = hasattr(signal, "pthread_sigmask")
"""Whether a thread can keep signals from itself."""
ALARMS: bool = hasattr(signal, "setitimer")
"""Whether the kernel ends a process at a time that it was told."""
PRIORITIES: bool = hasattr(os, "nice")
"""Whether a process can give way to others."""
OWNED_LOCKS: bool = (
    FILE_LOCKS
    and all(hasattr(os, name) for name in ("getuid", "O_DIRECTORY", "O_NOFOLLOW"))
    and os.open in os.supports_dir_fd
)
"""Whether files can be locked in a folder that is opened once and checked to be the user's own."""
OWN_GROUP: int | None = 0 if hasattr(os, "killpg") else None
"""`process_group` of a process that leads a group of its own; None where there are no groups."""


def signals(*names: str) -> tuple[signal.Signals, ...]:
    """Those of the named signals that this system has.

    >>> signals("SIGTERM", "SIGNONE")
    (<Signals.SIGTERM: 15>,)
    """
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def what_analyzers_lack() -> str | None:
    """What an analyzer in a process of its own does without on this system, as one sentence; None where it has all."""
    parts = (
        (HALTING, "halt processes (SIGSTOP)", "fewer snapshots are all that holds max_overhead"),
        (PRIORITIES, "lower their priority (os.nice)", "the analyzer has the same priority as the training"),
        (OWNED_LOCKS, "lock files of one user (fcntl, os.getuid)", "the number of analyzers on this machine is not limited"),
    )
    missing = [(what, then) for there, what, then in parts if not there]
    if not missing:
        return None
    lacks, follows = zip(*missing, strict=True)
    return f"this system cannot {_listed(lacks, 'or')}, so that {_listed(follows, 'and')}"


def _listed(parts: tuple[str, ...], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
