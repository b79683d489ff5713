# SPDX-License-Identifier: Apache-2.0
"""The analyzer in a process of its own; where that dies, another takes its place once, without what it died of."""

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from lightning_interp.analysis.packed_types import PackedTypes
from lightning_interp.analysis.worker.engine import HANDOVER_S, Engine
from lightning_interp.analysis.worker.exit_causes import WorkerExit, exit_of
from lightning_interp.analysis.worker.pipe import StartOrder, encode, encode_start
from lightning_interp.analysis.worker.worker_process import WorkerProcess
from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Probe
from lightning_interp.core.system_features import HALTING, signals, what_analyzers_lack
from lightning_interp.store.layout import ANALYZER_LOG
from lightning_interp.store.manifest import read_manifest

WATCH_S = 0.2
PAUSE_ENDS_S = 80.0
"""A process that was paused goes on after so long by itself: its training may be in a validation of an hour meanwhile."""
_ASKED_TO_END = tuple(-number for number in signals("SIGTERM", "SIGHUP"))
"""A user or the scheduler of a cluster wants the process gone: it is not started again."""


class ProcessEngine(Engine):
    """The analyzer in a process of its own; under `strict` a death is final.

    A thread of this object watches it, so that a death costs the training's own thread nothing. Whoever asks how the process
    is or sends it something holds the lock, so that every question is about one process.
    """

    def __init__(self, run_dir: Path, order: StartOrder) -> None:
        self._run_dir, self._start_id = run_dir, order.start_id
        self._attempt = read_manifest(run_dir).attempt
        self._letters = [encode_start(order)]  # what a second process would have to be sent
        self._may_restart = not order.request.strict
        self._restarted = False
        self._finishing = False
        self._paused_at = math.inf
        self._failure: str | None = None
        lack = what_analyzers_lack()
        self._notices: deque[str] = deque([lack] if lack else [])
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._let_go = threading.Event()
        self._worker = WorkerProcess(run_dir, self._letters)
        if not self._may_restart:
            self._letters.clear()
        self._watcher = threading.Thread(target=self._watch, name="interp-watch", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """Process id of the analyzer, another one after it was started again."""
        return self._worker.pid

    def snapshot_taken(self) -> None:
        """Nothing to do: the process looks at the run directory by itself."""

    def give_probe(self, probe: Probe) -> None:
        """Send the probe through the pipe."""
        self._post(encode("probe", probe))

    def give_batch_types(self, packed: PackedTypes) -> None:
        """Send the classes through the pipe."""
        self._post(encode("batch_types", packed))

    def finish(self) -> None:
        """Tell the process to end when nothing is left."""
        with self._lock:
            if not self._finishing:
                self._finishing = True
                self._keep(encode("finish"))
                self._worker.send(encode("finish"))
                self._worker.last_sent()
        self.resume()

    def wait(self, timeout_s: float, *, tick: Callable[[], None] = lambda: None) -> bool:
        """Wait for the process; it goes on by itself where the time runs out."""
        self.resume()
        deadline = time.monotonic() + timeout_s
        while not self._look():
            if time.monotonic() >= deadline:
                return False
            tick()
            self._over.wait(0.1)
        return True

    def goes_on(self, timeout_s: float = HANDOVER_S) -> bool:
        """Whether every order has reached the process; a short training may end before it has read the first."""
        deadline = time.monotonic() + timeout_s
        while not self._look():
            worker = self._worker
            sent = worker.handed_over(max(0.0, deadline - time.monotonic()))
            if self._look() or worker is self._worker:  # else another process took its place meanwhile
                return sent and not self._over.is_set()
        return False

    def let_go(self) -> None:
        """Tell the process to finish and leave it to itself."""
        self.finish()
        with self._lock:
            self._let_go.set()
            self._worker.let_go()
            self._letters.clear()

    def pause(self) -> bool:
        """Stop the process until `resume`, for 80 s at most; False once it was told to finish or has ended.

        Also False where the system cannot halt a process.

        The limit of an observation goes on meanwhile. The process dies or goes on with its training.
        """
        if not HALTING:
            return False
        with self._lock:
            if self._finishing or self._over.is_set() or not self._worker.signal(signal.SIGSTOP):
                return False
            self._paused_at = time.monotonic()
            return True

    def resume(self) -> None:
        """Let the process go on."""
        with self._lock:
            self._paused_at = math.inf
            if HALTING and not (self._let_go.is_set() or self._over.is_set()):
                self._worker.signal(signal.SIGCONT)

    def take_notices(self) -> list[str]:
        """Lines for the user since the last call."""
        return [self._notices.popleft() for _ in range(len(self._notices))]

    @property
    def failure(self) -> str | None:
        """How the process ended, where it ended untold or in error and no other took its place."""
        return self._failure

    def _post(self, letter: bytes) -> None:
        with self._lock:
            self._keep(letter)
            self._worker.send(letter)

    def _keep(self, letter: bytes) -> None:
        if self._letters:
            self._letters.append(letter)

    def _watch(self) -> None:
        while not self._let_go.wait(WATCH_S):
            if self._look():
                return
            if time.monotonic() - self._paused_at > PAUSE_ENDS_S:
                self.resume()

    def _look(self) -> bool:
        """See to a process that has ended; True where nothing is left to see to."""
        with self._lock:
            if self._over.is_set() or self._let_go.is_set():
                return True
            status = self._worker.poll()
            if status is None:
                return False
            if status != 0 or not self._finishing:
                self._failure = self._failure_of(status)
                if self._failure is None:
                    return False
            self._letters.clear()
            self._over.set()
            return True

    def _failure_of(self, status: int) -> str | None:
        """Why the analysis failed, None where another process has taken over."""
        where = f"(its output: {self._run_dir / ANALYZER_LOG})"
        try:
            superseded = read_manifest(self._run_dir).attempt != self._attempt
            death = exit_of(self._run_dir, start_id=self._start_id, status=status)
        except (RunError, OSError) as err:
            return f"the analyzer process ended with status {status}, and its run cannot be read ({err})"
        again = " for the second time" if self._restarted else ""
        failure = f"the analyzer process {death.how}{death.busy}{again} {where}"
        if superseded:
            return f"{failure}, because the run was started again"
        if self._restarted or not self._may_restart or status in _ASKED_TO_END:
            return failure
        try:
            self._start_again(death)
        except (OSError, RuntimeError) as err:  # no process or thread can be started, as at the end of the interpreter
            return f"{failure}, and could not be started again ({err})"
        return None

    def _start_again(self, death: WorkerExit) -> None:
        self._restarted, self._paused_at = True, math.inf
        letters = [encode("quarantine", death.quarantine), *self._letters]
        self._worker = WorkerProcess(self._run_dir, letters, complete=self._finishing)
        self._letters.clear()  # there is no third
        self._notices.append(f"the analyzer {death.how}{death.busy}; it was started again{death.left_out}")
