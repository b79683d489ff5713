# SPDX-License-Identifier: Apache-2.0
"""From the training thread to disk: a bounded queue and a writer thread. The training thread only copies and returns."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from torch import Tensor

from lightning_interp.capture.buffers import SnapshotBuffers
from lightning_interp.capture.clone import RawSnapshot
from lightning_interp.capture.disk_budget import DiskBudget
from lightning_interp.capture.writer_cost import WriterCost
from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Snapshot
from lightning_interp.core.system_trouble import is_full
from lightning_interp.measures.curve_names import curve_name
from lightning_interp.measures.logged_names import logged_at, tells_when_logged
from lightning_interp.store.health_log import HealthLog
from lightning_interp.store.layout import HEALTH, SNAPSHOTS, sweep_temporary
from lightning_interp.store.retention import Retention
from lightning_interp.store.snapshots import snapshot_steps, write_snapshot

QUEUE_DEPTH = 4
"""Snapshots whose bytes the training process holds at most: three sets of buffers, and one being turned into a file."""
MOST_SCALARS = 64
"""Most of a snapshot's scalars that its line in the health log repeats."""
BEHIND = "the writer is behind by more than the queue holds"
_POLL_S = 0.2


class Recorder:
    """Writes snapshots of one run directory, and its health log, on a thread of its own.

    Args:
        run_dir: Run directory with its manifest.
        health: Its health log; anyone may note, this writes.
        warn: Called from the writer thread, once, when a write fails.
        disk: What may be kept on disk; everything where None.
    """

    def __init__(
        self, run_dir: Path, health: HealthLog, *, warn: Callable[[str], None], disk: DiskBudget | None = None
    ) -> None:
        self.run_dir = run_dir
        self.buffers = SnapshotBuffers(QUEUE_DEPTH - 1)
        self.cost = WriterCost()
        self.written = 0
        self.bytes_written = 0
        self.dropped: list[int] = []
        self.full_since: int | None = None  # first step of those that a full disk has cost without one written after them
        self._health = health
        self._warn = warn
        self._warned = False
        self._disk = disk or DiskBudget(run_dir, retention=Retention("all"), cap=None)
        self._beside_tensors = 0  # most bytes of a file that were none of its tensors
        self._notes_are_stuck = False
        self._pending: dict[int, None] = {}
        self._queue: queue.Queue[RawSnapshot] = queue.Queue(maxsize=QUEUE_DEPTH)
        self._stop = threading.Event()
        (run_dir / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
        sweep_temporary(run_dir / SNAPSHOTS)
        self._thread = threading.Thread(target=self._write_all, name="interp-writer", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> list[int]:
        """Steps handed over and not on disk yet."""
        return list(self._pending)

    def submit(self, raw: RawSnapshot) -> bool:
        """Hand a snapshot to the writer; False where the queue is full and it was dropped. Never waits."""
        self._pending[raw.step] = None
        try:
            self._queue.put_nowait(raw)
        except queue.Full:
            self.buffers.give_back(raw.copies)
            self.drop(raw.step, BEHIND)
            return False
        return True

    @property
    def waiting(self) -> int:
        """Snapshots handed over and not on disk yet."""
        return len(self._pending)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over is on disk or dropped; False where the time ran out."""
        deadline = time.monotonic() + timeout_s
        while self._unsettled() and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.005)
        return not self._pending

    def close(self, timeout_s: float) -> bool:
        """Write what is queued, then end the writer thread; False where the time ran out. A second call does not wait."""
        if self._stop.is_set():
            return not self._pending
        done = self.flush(timeout_s)
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(max(_POLL_S * 2, timeout_s))
        self.buffers.clear()
        return done

    def _unsettled(self) -> bool:
        """Whether waiting helps: notes that a full disk does not take would hold up the training for nothing."""
        return bool(self._pending) or (bool(self._health) and not self._notes_are_stuck)

    def _write_all(self) -> None:
        while not (self._stop.is_set() and self._queue.empty()):
            with suppress(queue.Empty):  # nothing came: time to look at the notes and at `stop`
                self._write_next(self._queue.get(timeout=_POLL_S))
            self._write_notes()
            self.cost.settle()

    def _write_next(self, raw: RawSnapshot) -> None:
        started, busy = time.perf_counter(), time.thread_time()
        self.cost.begin()
        try:
            scalars = dict(raw.copies.arrived())
            size = self._write(raw, scalars)
        except Exception as err:  # training must go on whatever the disk or a tensor does
            self._warn_once(f"the snapshot of step {raw.step} was not written ({err})")
            if self.full_since is None and is_full(err):
                self.full_since = raw.step
            self.drop(raw.step, f"{type(err).__name__}: {err}")
            return
        finally:
            self.buffers.give_back(raw.copies)
            self.cost.wrote(time.thread_time() - busy)
        if size is None:
            self.drop(raw.step, f"max_disk: {self._disk.cap} bytes are used, and nothing observed may go")
            return
        self.written += 1
        self.full_since = None
        self.bytes_written += size
        write_ms = round(1e3 * (time.perf_counter() - started), 3)
        copy_ms, shown = round(raw.copy_ms, 3), _finite(scalars)
        self._health.note("snapshot", step=raw.step, bytes=size, write_ms=write_ms, copy_ms=copy_ms, scalars=shown)
        self._pending.pop(raw.step, None)

    def _write_notes(self) -> None:
        try:
            self._health.write()
            self._notes_are_stuck = False
        except (OSError, RunError) as err:  # a full disk, or something else in the place of the file
            self._notes_are_stuck = True
            self._warn_once(f"the health log cannot be written ({err})")

    def _write(self, raw: RawSnapshot, scalars: Mapping[str, float]) -> int | None:
        """Bytes written, None where there was no room."""
        weights = {name: tensor.cpu() for name, tensor in raw.copies.tensors.items()}
        tensor_bytes = sum(tensor.nbytes for tensor in weights.values())
        is_room, removed = self._disk.make_room(tensor_bytes + self._beside_tensors)
        for step in removed:
            self._health.note("removed", step=step)
        if not is_room:
            return None
        snapshot = Snapshot(raw.step, raw.epoch, weights, scalars)
        size = write_snapshot(self.run_dir, snapshot, aliases=raw.aliases, frozen=raw.frozen)
        self._beside_tensors = max(self._beside_tensors, size - tensor_bytes)
        return size

    def drop(self, step: int, reason: str) -> None:
        """Record that the snapshot of a step is not written."""
        self.dropped.append(step)
        self._health.note("dropped", step=step, reason=reason)
        self._pending.pop(step, None)  # last: `flush` waits for this

    def note_lost(self, steps: Iterable[int]) -> None:
        """Snapshots that a checkpoint knew to be unwritten and that never reached the disk count as dropped."""
        present = set(snapshot_steps(self.run_dir))
        for step in (step for step in steps if step not in present):
            self._health.note("dropped", step=step, reason="not written when the checkpoint was made")

    def note_logged(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Note the losses and accuracies of a validation or epoch that ended with a training, after its last snapshot.

        Reads them, which waits for their device.
        """
        late = (name for name in scalars if scalars.get(logged_at(name, "average")) == step and curve_name(name))
        if values := _finite({name: float(scalars[name]) for name in late}):
            told = {logged_at(name, "average"): float(step) for name in values}
            self._health.note("logged", step=step, scalars=values | told)

    def _warn_once(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"{reason}. Training goes on; snapshots that cannot be written are recorded as dropped in {HEALTH}. "
                f"Free space or mend {self.run_dir}."
            )


def _finite(scalars: Mapping[str, float]) -> dict[str, float]:
    """The first of a snapshot's scalars that JSON has a token for; the snapshot itself has all, and when each was logged."""
    shown = ((name, value) for name, value in scalars.items() if math.isfinite(value) and not tells_when_logged(name))
    return dict(islice(shown, MOST_SCALARS))
