# SPDX-License-Identifier: Apache-2.0
"""An analyzer whose training is gone ends, whatever it is doing: also code that never lets the interpreter go.

The training holds the writing end of a pipe that it never writes to. When the kernel closes it, because the training ended
in whatever way, a signal arrives whose handler is the C library's `alarm`: no line of python has to run. The handler gets
the signal's number as its argument, so the number is the seconds of grace until the alarm ends the process.

Where a system has no such signals or no alarm, the listener and a thread do this, and need the interpreter for it: what
never lets it go is then ended by the limit of its own observation.
"""

import ctypes
import os
import select
import signal
import threading

from lightning_interp.core.system_features import ALARMS, HALTING, PIPE_END_SIGNALS, SIGNAL_MASKS, signals

KERNEL_GRACE_S = 60
"""Seconds of grace, and the number of a real-time signal that nothing else uses."""
_PR_SET_PDEATHSIG = 1


def plain_signals() -> None:
    """Undo what the training made of its signals, which a process inherits.

    Ctrl-C is for the training, which then tells its analyzer to finish.
    """
    if SIGNAL_MASKS:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in signals("SIGTERM", "SIGHUP", "SIGALRM"):
        signal.signal(number, signal.SIG_DFL)


class DeathWatch:
    """Ends this process some time after the training is gone, unless it is told to finish before.

    Args:
        life: Reading end of the pipe; None where the caller has none, as on systems that cannot signal its end.
    """

    def __init__(self, life: int | None) -> None:
        self.grace_s = float(KERNEL_GRACE_S)
        self._parent = os.getppid()
        self._told_to_finish = False
        self._life = life if PIPE_END_SIGNALS else None
        if HALTING:
            _go_on_at_parents_end()
        if self._life is not None:
            # Threads that are started from here on inherit that the signal is kept from them; `listen` takes it.
            signal.pthread_sigmask(signal.SIG_BLOCK, (KERNEL_GRACE_S,))
            _alarm_on_end(self._life)

    def listen(self) -> None:
        """Let the signal come to the calling thread, the one that reads what the training says.

        To no other: what this thread then decides about the alarm is never undone by a signal that came before.
        """
        if self._life is not None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (KERNEL_GRACE_S,))

    @property
    def orphaned(self) -> bool:
        """Whether the training has ended. Its pipes may stay open: processes that it forked have them, too."""
        return os.getppid() != self._parent

    def training_gone(self) -> None:
        """Nothing more will be said: end this process after the grace at the latest, unless the last word was to finish."""
        if not self._told_to_finish:
            self._silence()
            _end_in(max(self.grace_s, 1e-3))

    def forget(self) -> None:
        """Told to finish: this process may outlive the training."""
        self._told_to_finish = True
        self._silence()
        if ALARMS:
            signal.alarm(0)

    def _silence(self) -> None:
        """The end of the pipe sets no alarm any more, in place of one that is set."""
        if self._life is not None:
            import fcntl

            fcntl.fcntl(self._life, fcntl.F_SETFL, fcntl.fcntl(self._life, fcntl.F_GETFL) & ~os.O_ASYNC)


def _end_in(seconds: float) -> None:
    if ALARMS:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _go_on_at_parents_end() -> None:
    """A stopped process hears nothing. Let this one go on when the one that started it ends, where the system has a way.

    Also where the kernel, which does this for orphaned process groups, counts the group as looked after.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl"):  # Linux
        library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)


def _alarm_on_end(life: int) -> None:
    import fcntl

    library = ctypes.CDLL(None)
    library.signal.argtypes, library.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    library.signal(KERNEL_GRACE_S, ctypes.cast(library.alarm, ctypes.c_void_p))
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETSIG, KERNEL_GRACE_S)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    ended = select.poll()
    ended.register(life, select.POLLHUP)
    if ended.poll(0):  # before the signal was asked for
        signal.alarm(KERNEL_GRACE_S)
