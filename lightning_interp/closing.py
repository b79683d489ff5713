# SPDX-License-Identifier: Apache-2.0
"""Monitors whose training broke off: closed on a thread each, and waited for at the end of the process, all together.

What a user does about an exception comes first: a checkpoint, an except clause, the 30 seconds after a SIGTERM. So nothing
waits for the monitor then. A process that lives on (a notebook, a sweep) has its runs closed meanwhile; one that ends gives
them two seconds, or until Ctrl-C.
"""

import atexit
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_interp.console import say, warn

EXIT_WAIT_S = 2.0
"""Longest the end of a process waits for its monitors, all together."""
_LAST_S = 0.4
"""Part of it in which an analysis that is not done is left to itself."""
_WORD_AFTER_S = 0.5
_POLL_S = 0.05


class HurryError(Exception):
    """The process ends: there is no more time to wait."""


class Closing:
    """How long one monitor may still take to close.

    Args:
        directory: Its run directory.
        deadline: `time.monotonic()` by which it must be done; None until the process ends.
    """

    def __init__(self, directory: Path, deadline: float | None = None) -> None:
        self.directory = directory
        self.done = threading.Event()
        self._deadline = deadline
        self._hurry = threading.Event()

    @property
    def hurried(self) -> bool:
        """Whether the process ends."""
        return self._hurry.is_set() or (self._deadline is not None and time.monotonic() >= self._deadline)

    @property
    def lives_on(self) -> bool:
        """Whether the process goes on as far as is known, so that there is time for more than the results."""
        return self._deadline is None and not self.hurried

    def hurry(self) -> None:
        """Wait for nothing more."""
        self._hurry.set()

    def tick(self) -> None:
        """Called while something is waited for.

        Raises:
            HurryError: The process ends.
        """
        if self.hurried:
            raise HurryError

    def wait(self, is_done: Callable[[float], bool], timeout_s: float) -> bool:
        """Wait for something that can be asked; False where it took too long or the process ends.

        Args:
            is_done: Waits so many seconds and says whether it is done.
            timeout_s: Longest to wait.
        """
        deadline = time.monotonic() + timeout_s
        while not is_done(_POLL_S):
            if self.hurried or time.monotonic() >= deadline:
                return False
        return True


_under_way: list[Closing] = []
_exit_deadline: float | None = None


def close_beside(directory: Path, close: Callable[[Closing], None]) -> None:
    """Close a monitor on a thread of its own; returns at once.

    Args:
        directory: Its run directory.
        close: Does it, and looks at its argument while it waits.
    """
    closing = Closing(directory)
    _under_way.append(closing)
    threading.Thread(target=_work, args=(closing, close), name="interp-closing", daemon=True).start()


def wait_until_closed(directory: Path, timeout_s: float, *, whole: bool = False) -> bool:
    """Let monitors of this process come to their end, as before their run directory is opened again.

    Args:
        directory: Run directory.
        timeout_s: Longest to wait.
        whole: Whether to wait for the analysis and the report, too.
    """
    same = [closing for closing in list(_under_way) if closing.directory == directory]
    for closing in [] if whole else same:
        closing.hurry()
    return all([closing.done.wait(timeout_s) for closing in same])


def closing_at_exit(directory: Path) -> Closing:
    """For a monitor that nobody closed before its process ends: what is left of the time that all of them share."""
    return Closing(directory, _end_of_waiting() - _LAST_S)


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the block at once and quietly, also where Lightning had it ignored after a first one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say("not waiting any longer; what is not analyzed yet stays in the run directory")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _work(closing: Closing, close: Callable[[Closing], None]) -> None:
    try:
        close(closing)
    except Exception as err:  # on a thread of ours: told, and never a reason for the user's process to end otherwise
        warn(f"the run in {closing.directory} was not closed whole ({type(err).__name__}: {err})")
    finally:
        closing.done.set()
        _under_way.remove(closing)


def _end_of_waiting() -> float:
    """`time.monotonic()` at which the process goes on to end, counted from the first call."""
    global _exit_deadline
    if _exit_deadline is None:
        _exit_deadline = time.monotonic() + EXIT_WAIT_S
    return _exit_deadline


def _wait_at_exit() -> None:
    """Give what is under way a moment, then have it let go."""
    left = list(_under_way)
    if not left:
        return
    end = _end_of_waiting()
    with ended_by_ctrl_c():
        if not left[-1].done.wait(min(_WORD_AFTER_S, end - time.monotonic())):
            say(f"the analysis has {end - time.monotonic():.0f} s left; Ctrl-C ends this at once")
        for closing in left:
            closing.done.wait(max(0.0, end - _LAST_S - time.monotonic()))
    for closing in left:
        closing.hurry()
    with ended_by_ctrl_c():
        for closing in left:
            closing.done.wait(max(0.0, end - time.monotonic()))


atexit.register(_wait_at_exit)
