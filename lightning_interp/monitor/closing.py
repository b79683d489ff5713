# SPDX-License-Identifier: Apache-2.0
"""Monitors whose training broke off: closed on a thread each, and waited for at the end of the process, all together.

What a user does about an exception comes first: a checkpoint, an except clause, the 30 seconds after a SIGTERM. So nothing
waits for the monitor then. A process that lives on (a notebook, a sweep) has its runs closed meanwhile; one that ends gives
them two seconds, or until Ctrl-C.
"""

import atexit
import math
import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_interp.core.console import say, warn

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
        deadline: `time.monotonic()` by which it must be done; infinite while the process lives on.
    """

    def __init__(self, directory: Path, deadline: float = math.inf) -> None:
        self.directory = directory
        self.process = os.getpid()
        self.done = threading.Event()
        self._deadline = deadline

    @property
    def hurried(self) -> bool:
        """Whether there is no more time."""
        return time.monotonic() >= self._deadline

    @property
    def lives_on(self) -> bool:
        """Whether the process goes on as far as is known, so that there is time for more than the results."""
        return math.isinf(self._deadline)

    def hurry(self, deadline: float) -> None:
        """Be done by then."""
        self._deadline = min(self._deadline, deadline)

    def time_left(self, most_s: float) -> float:
        """Seconds that something may take, so many at most."""
        return max(0.0, min(most_s, self._deadline - time.monotonic()))

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
        while True:
            asked = time.monotonic()
            if is_done(_POLL_S):
                return True
            if self.hurried or time.monotonic() >= deadline:
                return False
            time.sleep(max(0.0, asked + _POLL_S - time.monotonic()))  # where nothing was waited for


Close = Callable[[Closing], None]
"""Closes a monitor, and looks at its argument while it waits."""

_under_way: list[Closing] = []
_end: tuple[int, float] | None = None
"""Process, and `time.monotonic()` at which its waiting ends."""
_watched_process: int | None = None


def close_beside(directory: Path, close: Close) -> None:
    """Close a monitor on a thread of its own; returns at once."""
    _wait_at_the_end_of_this_process()
    closing = Closing(directory)
    _under_way.append(closing)
    try:
        threading.Thread(target=_work, args=(closing, close), name="interp-closing", daemon=True).start()
    except RuntimeError:  # no thread can be started: what ended the training may have been just that
        closing.hurry(time.monotonic() + _LAST_S)
        _work(closing, close)


def close_at_exit(directory: Path, close: Close) -> None:
    """Close a monitor that nobody closed before its process ends, within the time that all of them share."""
    with _ended_by_ctrl_c() as interrupted:
        _work(Closing(directory, _end_of_waiting() - _LAST_S), close)
    if interrupted.is_set():
        _hurry_all(time.monotonic())


def wait_until_closed(directory: Path, timeout_s: float, *, whole: bool = False) -> bool:
    """Let monitors of this process end, as before their directory is opened again; `whole`: with analysis and report."""
    same = [closing for closing in _of_this_process() if closing.directory == directory]
    for closing in [] if whole else same:
        closing.hurry(time.monotonic())
    return all([closing.done.wait(timeout_s) for closing in same])


def _work(closing: Closing, close: Close) -> None:
    try:
        close(closing)
    except Exception as err:  # told, and never a reason for the user's process to end otherwise
        warn(f"the run in {closing.directory} was not closed whole ({type(err).__name__}: {err})")
    finally:
        closing.done.set()
        if closing in _under_way:
            _under_way.remove(closing)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[threading.Event]:
    """Ctrl-C ends the block at once and quietly, also where Lightning had it ignored after a first one."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield interrupted
    except KeyboardInterrupt:
        interrupted.set()
        say("not waiting any longer; what is not analyzed yet stays in the run directory")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _wait_at_exit() -> None:
    """Give what is under way a moment, then have it let go."""
    end, left = _end_of_waiting(), _of_this_process()
    _hurry_all(end - _LAST_S)
    with _ended_by_ctrl_c() as interrupted:
        if left and end - time.monotonic() > _WORD_AFTER_S and not left[-1].done.wait(_WORD_AFTER_S):
            say(f"the analysis has {end - time.monotonic():.0f} s left; Ctrl-C ends this at once")
        for closing in left:
            closing.done.wait(max(0.0, end - time.monotonic()))
    if interrupted.is_set():
        _hurry_all(time.monotonic())
        for closing in left:  # files are whole at any time; this is for the last words
            closing.done.wait(_LAST_S / 2 / len(left))


def _hurry_all(deadline: float) -> None:
    for closing in _of_this_process():
        closing.hurry(deadline)


def _of_this_process() -> list[Closing]:
    """What is under way; a process that was forked has no part of the threads of the one before it."""
    return [closing for closing in list(_under_way) if closing.process == os.getpid()]


def _end_of_waiting() -> float:
    """`time.monotonic()` at which the process goes on to end, counted from the first call in it."""
    global _end
    if _end is None or _end[0] != os.getpid():
        _end = os.getpid(), time.monotonic() + EXIT_WAIT_S
    return _end[1]


def _wait_at_the_end_of_this_process() -> None:
    """A process of `multiprocessing` that was forked ends without what `atexit` knows, and with what this registers."""
    global _watched_process
    if _watched_process == os.getpid():
        return
    _watched_process = os.getpid()
    multiprocessing.util.Finalize(None, _wait_at_exit, exitpriority=100)


atexit.register(_wait_at_exit)
