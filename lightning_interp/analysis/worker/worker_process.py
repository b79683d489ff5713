# SPDX-License-Identifier: Apache-2.0
"""One analyzer process as its training sees it: started, fed through a pipe, signalled, and left to itself."""

import os
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from lightning_interp.core.child_python import child_environment, module_command
from lightning_interp.core.system_features import OWN_GROUP, PIPE_END_SIGNALS
from lightning_interp.store.layout import ANALYZER_LOG

_PIPE_BYTES = 2**20
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class WorkerProcess:
    """The analyzer in a process of the lowest priority, in its own process group, never in a new session.

    A new session would be a new scheduler group on kernels with autogroup, which undoes the priority.

    Args:
        run_dir: Run directory.
        letters: Frames it is sent first.
        complete: Whether no more will follow.
    """

    def __init__(self, run_dir: Path, letters: Iterable[bytes], *, complete: bool = False) -> None:
        # The kernel closes our end when this process ends in whatever way; `DeathWatch` at the other end hears it.
        # Where it cannot tell, there is no such pipe (-1), and the end of the orders has to do.
        reading, self._life = os.pipe() if PIPE_END_SIGNALS else (-1, -1)
        self._settled = False
        try:
            self._process = _start(run_dir, reading)
        except BaseException:
            _close(self._life)
            raise
        finally:
            _close(reading)
        _widen(self._process.stdin)
        # A pipe takes 64 kB before it makes the sender wait, so another thread sends.
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        for letter in letters:
            self._outbox.put(letter)
        if complete:
            self.last_sent()
        self._sender = threading.Thread(target=self._send, name="interp-orders", daemon=True)
        self._sender.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, letter: bytes) -> None:
        """Send a frame; returns at once."""
        self._outbox.put(letter)

    def last_sent(self) -> None:
        """Nothing more will be sent."""
        self._outbox.put(None)

    def poll(self) -> int | None:
        """Exit status, None while it runs. The caller sees to it that no two threads ask at a time."""
        status = self._process.poll()
        if status is not None and not self._settled:
            self._settled = True
            self.last_sent()  # ends a sender that waits for more to send
            _close(self._life)
        return status

    def signal(self, number: int) -> bool:
        """Send a signal; False where the process has ended. The caller sees to it that nobody else polls meanwhile."""
        if self.poll() is not None:
            return False
        os.kill(self.pid, number)
        return True

    def handed_over(self, timeout_s: float) -> bool:
        """Whether everything was sent, after waiting for it."""
        self._sender.join(timeout_s)
        return not self._sender.is_alive()

    def let_go(self) -> None:
        """Leave the process to itself. Our end of its life's pipe stays open as long as this process lives."""
        if self.poll() is None:
            # It outlives this object on purpose; python would warn about a child nobody waited for.
            self._process.returncode = 0
            self._settled = True

    def _send(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(BrokenPipeError, OSError):  # the process is gone; its exit status tells
            while (frame := self._outbox.get()) is not None:
                pipe.write(frame)
                pipe.flush()
        with suppress(BrokenPipeError, OSError):
            pipe.close()


def _start(run_dir: Path, life: int) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in child_environment().items() if name not in _RANK_VARIABLES}
    # One thread from the first import on: libraries count cores when they load.
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (run_dir / ANALYZER_LOG).open("ab") as log:
        return subprocess.Popen(
            module_command("lightning_interp.analysis.worker", str(run_dir.resolve()), str(life)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            process_group=OWN_GROUP,
            pass_fds=(life,) if PIPE_END_SIGNALS else (),
        )


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _widen(pipe: IO[bytes] | None) -> None:
    """Let the pipe take most modules at once, so that nothing is lost when the training ends before the analyzer reads."""
    if pipe is None or not PIPE_END_SIGNALS:
        return
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the system allows less: the sender waits for the reader instead
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
