# SPDX-License-Identifier: Apache-2.0
"""Where the analyzer runs: a process of its own (the default), a thread, or inline. The training sees one interface."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.packed_types import PackedTypes
from lightning_interp.analysis.worker.engine import Engine
from lightning_interp.analysis.worker.pipe import Quarantine, StartOrder
from lightning_interp.analysis.worker.process_engine import ProcessEngine
from lightning_interp.core.records import Probe
from lightning_interp.store.lock import analyzer_lock

__all__ = ["Background", "Engine", "InlineEngine", "ProcessEngine", "ThreadEngine", "start_engine"]

Background = Literal["process", "thread", "inline"]


def start_engine(background: Background, run_dir: Path, order: StartOrder, *, flush: Callable[[], object]) -> Engine:
    """Start the analyzer."""
    if background == "process":
        return ProcessEngine(run_dir, order)
    return ThreadEngine(run_dir, order) if background == "thread" else InlineEngine(run_dir, order, flush=flush)


class ThreadEngine(Engine):
    """The analyzer in a thread of the training process. Not bitwise neutral: a draw in a thread moves shared streams."""

    def __init__(self, run_dir: Path, order: StartOrder) -> None:
        self._run_dir, self._order = run_dir, _live(order)
        self._finishing = threading.Event()
        self._letters: SimpleQueue[Probe | PackedTypes] = SimpleQueue()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="interp-analyzer", daemon=True)
        self._thread.start()

    def snapshot_taken(self) -> None:
        """Nothing to do: the thread looks at the run directory by itself."""

    def give_probe(self, probe: Probe) -> None:
        """Hand the probe to the thread."""
        self._letters.put(probe)

    def give_batch_types(self, packed: PackedTypes) -> None:
        """Hand the classes to the thread."""
        self._letters.put(packed)

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
                    while not self._letters.empty():
                        letter = self._letters.get()
                        give = analyzer.give_probe if isinstance(letter, Probe) else analyzer.give_batch_types
                        give(letter)  # type: ignore[arg-type]
                    if not analyzer.run_pending():
                        if finishing:
                            break
                        self._finishing.wait(0.1)
                analyzer.finish("finished")
        except Exception as err:
            self._failure = f"the analyzer thread ended with {type(err).__name__}: {err}"


class InlineEngine(Engine):
    """The analyzer on the training thread, after each snapshot, which `flush` puts on disk. Slow, for debugging measures."""

    def __init__(self, run_dir: Path, order: StartOrder, *, flush: Callable[[], object]) -> None:
        self._flush = flush
        self._failure: str | None = None
        self._held = ExitStack()
        self._held.enter_context(analyzer_lock(run_dir, wait_s=60.0))
        self._analyzer = analyzer_for(run_dir, _live(order))

    def snapshot_taken(self) -> None:
        """Observe the snapshot now."""
        self._flush()
        self._run(self._analyzer.run_pending)

    def give_probe(self, probe: Probe) -> None:
        """Keep the probe."""
        self._analyzer.give_probe(probe)

    def give_batch_types(self, packed: PackedTypes) -> None:
        """Keep the classes."""
        self._analyzer.give_batch_types(packed)

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


def _live(order: StartOrder) -> StartOrder:
    """Beside a training, a snapshot that an analyzer process died of once is not tried again."""
    return replace(order, quarantine=order.quarantine or Quarantine())
