# SPDX-License-Identifier: Apache-2.0
"""Where the analyzer runs: a process of its own (the default), a thread, or inline. The training sees one interface."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Literal

from lightning_interp.analysis.messages import StartOrder, encode, encode_start
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.records import Probe
from lightning_interp.store.layout import ANALYZER_LOG
from lightning_interp.store.lock import analyzer_lock

Background = Literal["process", "thread", "inline"]
_HANDOVER_S = 10.0
"""Longest the end of a training waits until its analyzer has taken the orders."""
_PIPE_BYTES = 2**20
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Engine(ABC):
    """Runs the analyzer of one run directory."""

    @abstractmethod
    def snapshot_taken(self) -> None:
        """A snapshot was handed to the writer; inline engines work now."""

    @abstractmethod
    def give_probe(self, probe: Probe) -> None:
        """Hand over a probe that is kept out of the run directory."""

    @abstractmethod
    def finish(self) -> None:
        """No more snapshots will come: analyze what is left, then end."""

    @abstractmethod
    def wait(self, timeout_s: float, *, tick: Callable[[], None] = lambda: None) -> bool:
        """Wait for the end after `finish`; True if it came in time. `tick` is called several times a second."""

    @abstractmethod
    def let_go(self) -> None:
        """Stop caring: an analyzer that still works ends by itself. Idempotent."""

    @property
    def goes_on(self) -> bool:
        """Whether the analysis outlives this process and finishes by itself."""
        return False

    @property
    @abstractmethod
    def failure(self) -> str | None:
        """Why the analyzer ended before it was told to, None while all is well."""


def start_engine(background: Background, run_dir: Path, order: StartOrder, *, flush: Callable[[], object]) -> Engine:
    """Start the analyzer.

    Args:
        background: Where it runs.
        run_dir: Run directory.
        order: What it does.
        flush: Waits until handed-over snapshots are on disk; used inline.
    """
    if background == "process":
        return ProcessEngine(run_dir, order)
    return ThreadEngine(run_dir, order) if background == "thread" else InlineEngine(run_dir, order, flush=flush)


class ProcessEngine(Engine):
    """The analyzer in a process of the lowest priority, in its own process group, never in a new session.

    A new session would be a new scheduler group on kernels with autogroup, which undoes the priority.
    """

    def __init__(self, run_dir: Path, order: StartOrder) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _RANK_VARIABLES}
        # One thread from the first import on: libraries count cores when they load.
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with (run_dir / ANALYZER_LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lightning_interp.analysis.worker", str(run_dir.resolve())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                process_group=0,
            )
        self._log = run_dir / ANALYZER_LOG
        self._finishing = False
        _widen(self._process.stdin)
        # A pipe takes 64 kB before it makes the sender wait, so another thread sends.
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._outbox.put(encode_start(order))
        self._sender = threading.Thread(target=self._send, name="interp-orders", daemon=True)
        self._sender.start()

    @property
    def pid(self) -> int:
        """Process id of the analyzer."""
        return self._process.pid

    def snapshot_taken(self) -> None:
        """Nothing to do: the process looks at the run directory by itself."""

    def give_probe(self, probe: Probe) -> None:
        """Send the probe through the pipe."""
        self._outbox.put(encode("probe", probe))

    def finish(self) -> None:
        """Tell the process to end when nothing is left."""
        if not self._finishing:
            self._finishing = True
            self._outbox.put(encode("finish"))
            self._outbox.put(None)

    def wait(self, timeout_s: float, *, tick: Callable[[], None] = lambda: None) -> bool:
        """Wait for the process; it goes on by itself where the time runs out."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            tick()
            time.sleep(0.1)
        return True

    @property
    def goes_on(self) -> bool:
        """Whether every order has reached the process; a short training may end before it has read the first."""
        self._sender.join(_HANDOVER_S)
        return not self._sender.is_alive() and self._process.poll() is None

    def let_go(self) -> None:
        """Tell the process to finish and leave it to itself."""
        self.finish()
        if self._process.poll() is None:
            # It outlives this object on purpose; python would warn about a child nobody waited for.
            self._process.returncode = 0

    @property
    def failure(self) -> str | None:
        """The exit status, where the process ended untold or in error."""
        status = self._process.poll()
        if status is None or (status == 0 and self._finishing):
            return None
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the analyzer process {how} (its output: {self._log})"

    def _send(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(BrokenPipeError, OSError):  # the process is gone; `failure` says so
            while (frame := self._outbox.get()) is not None:
                pipe.write(frame)
                pipe.flush()
        with suppress(BrokenPipeError, OSError):
            pipe.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Let the pipe take most modules at once, so that nothing is lost when the training ends before the analyzer reads."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # the system allows less: the sender waits for the reader instead
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class ThreadEngine(Engine):
    """The analyzer in a thread of the training process. Not bitwise neutral: a draw in a thread moves shared streams."""

    def __init__(self, run_dir: Path, order: StartOrder) -> None:
        self._run_dir, self._order = run_dir, order
        self._finishing = threading.Event()
        self._probes: SimpleQueue[Probe] = SimpleQueue()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="interp-analyzer", daemon=True)
        self._thread.start()

    def snapshot_taken(self) -> None:
        """Nothing to do: the thread looks at the run directory by itself."""

    def give_probe(self, probe: Probe) -> None:
        """Hand the probe to the thread."""
        self._probes.put(probe)

    def finish(self) -> None:
        """Let the thread end when nothing is left."""
        self._finishing.set()

    def wait(self, timeout_s: float, *, tick: Callable[[], None] = lambda: None) -> bool:
        """Wait for the thread."""
        deadline = time.monotonic() + timeout_s
        while self._thread.is_alive() and time.monotonic() < deadline:
            tick()
            self._thread.join(0.1)
        return not self._thread.is_alive()

    def let_go(self) -> None:
        """Let the thread end with what it is doing."""
        self._finishing.set()

    @property
    def failure(self) -> str | None:
        """The exception the thread ended with."""
        return self._failure

    def _work(self) -> None:
        try:
            with analyzer_lock(self._run_dir, wait_s=60.0):
                analyzer = analyzer_for(self._run_dir, self._order)
                while True:
                    finishing = self._finishing.is_set()  # before looking: a snapshot may come in between
                    while not self._probes.empty():
                        analyzer.give_probe(self._probes.get())
                    if not analyzer.run_pending():
                        if finishing:
                            break
                        self._finishing.wait(0.1)
                analyzer.finish("finished")
        except Exception as err:
            self._failure = f"the analyzer thread ended with {type(err).__name__}: {err}"


class InlineEngine(Engine):
    """The analyzer on the training thread, after each snapshot. Slow, for debugging measures.

    Args:
        run_dir: Run directory.
        order: What the analyzer does.
        flush: Waits until handed-over snapshots are on disk.
    """

    def __init__(self, run_dir: Path, order: StartOrder, *, flush: Callable[[], object]) -> None:
        self._flush = flush
        self._failure: str | None = None
        self._held = ExitStack()
        self._held.enter_context(analyzer_lock(run_dir, wait_s=60.0))
        self._analyzer = analyzer_for(run_dir, order)

    def snapshot_taken(self) -> None:
        """Observe the snapshot now."""
        self._flush()
        self._run(self._analyzer.run_pending)

    def give_probe(self, probe: Probe) -> None:
        """Keep the probe."""
        self._analyzer.give_probe(probe)

    def finish(self) -> None:
        """Observe what is left and let go of the lock."""
        self._flush()
        self._run(self._analyzer.run_pending)
        self._run(lambda: self._analyzer.finish("finished"))
        self.let_go()

    def wait(self, timeout_s: float, *, tick: Callable[[], None] = lambda: None) -> bool:  # noqa: ARG002
        """Inline work is done when `finish` returns."""
        return True

    def let_go(self) -> None:
        """Let go of the analyzer lock."""
        self._held.close()

    @property
    def failure(self) -> str | None:
        """The exception the analysis ended with."""
        return self._failure

    def _run(self, work: Callable[[], object]) -> None:
        if self._failure is None:
            try:
                work()
            except Exception as err:
                self._failure = f"the inline analysis ended with {type(err).__name__}: {err}"
