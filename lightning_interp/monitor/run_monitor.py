# SPDX-License-Identifier: Apache-2.0
"""The monitor of one training: recorder, probe, analyzer and delivery around a run directory. Knows no Trainer.

`InterpMonitor` drives it from Lightning's hooks; loops of one's own, or Fabric's, have `loop.Monitor`.
"""

import atexit
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_interp.analysis.packed_types import pack_types
from lightning_interp.analysis.worker.engines import Engine, start_engine
from lightning_interp.capture import RawSnapshot, Recorder, mark_plain_tensors, take_snapshot
from lightning_interp.capture.clone import state_tensors
from lightning_interp.capture.disk_budget import DiskBudget
from lightning_interp.capture.recorder import BEHIND
from lightning_interp.capture.weight_marks import WeightMarks
from lightning_interp.config.monitor_config import MonitorConfig, Resolved, make_schedule, resolve
from lightning_interp.config.run_directory import Progress, as_begun, choose_directory, new_manifest, open_directory
from lightning_interp.core.batches import byte_count
from lightning_interp.core.console import say, warn
from lightning_interp.core.errors import ConfigError, InterpError
from lightning_interp.core.timeline import Timeline
from lightning_interp.measures.registry import own_labels
from lightning_interp.monitor.announcements import changed_line, finish_words, plan_lines
from lightning_interp.monitor.budget import Contention, SnapshotThrottle
from lightning_interp.monitor.closing import close_at_exit, close_beside, wait_until_closed
from lightning_interp.monitor.code_changes import CodeChanges
from lightning_interp.monitor.delivery import Delivery
from lightning_interp.monitor.listeners import AlarmCallback, Listeners, PhaseCallback
from lightning_interp.monitor.probe_collection import ProbeCollection
from lightning_interp.monitor.run_end import OpenStages, RunEnd
from lightning_interp.monitor.start_order import start_order
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store import snapshot_steps
from lightning_interp.store.health_log import HealthLog
from lightning_interp.store.manifest import Status
from lightning_interp.store.retention import parse_retention, parse_size

LOOK_S, DRAIN_S = 0.5, 2.0
"""Shortest time between two looks at the budget, and between two deliveries of results, on the training thread."""
CHECKPOINT_WAIT_S = 2.0
"""Longest a checkpoint waits for snapshots that are still being written."""
CLOSED_WITHIN_S = 10.0
"""Longest a start waits for a monitor of this process that is still closing the same run directory."""


class RunMonitor:
    """Watches one training from start to close.

    The training thread calls `after_step` once per optimizer step; everything slow happens elsewhere.

    Args:
        dirpath: As for `InterpMonitor`.
        config: All options in one, in place of the others.
        listeners: Called when a phase begins or an alarm is raised; the methods `on_phase` and `on_alarm` add to them.
        **options: As for `InterpMonitor`.
    """

    probe: ProbeCollection  # takes the batches that pass, where the probe is made of them
    last_captured: int  # step of the latest snapshot

    def __init__(
        self,
        dirpath: str | PathLike[str] | None = None,
        *,
        config: MonitorConfig | None = None,
        listeners: Listeners | None = None,
        **options: Any,
    ) -> None:
        self.config = config or MonitorConfig.of(dirpath=dirpath, **options)
        self._listeners = listeners or Listeners()
        self._open = ExitStack()  # what must be let go, in reverse order of opening
        self._closed = True
        self._analysis_failed = False
        self._last_step = self.last_captured = -1  # handled, captured or given up; captured
        self._next_step, self._next_look, self._next_drain = 0, 0.0, 0.0

    @property
    def run_dir(self) -> Path:
        """Directory everything is written to."""
        return self._start.run_dir

    @property
    def timeline(self) -> Timeline | None:
        """Phases found so far."""
        return self._delivery.timeline

    def on_phase(self, name: str, fn: PhaseCallback) -> None:
        """Call `fn` with the `PhaseChange` when a phase begins, as for `InterpMonitor`."""
        self._listeners.on_phase(name, fn)

    def on_alarm(self, name: str, fn: AlarmCallback) -> None:
        """Call `fn` with the `Alarm` when one is raised, as for `InterpMonitor`."""
        self._listeners.on_alarm(name, fn)

    def take_latest(self) -> dict[str, float]:
        """Metrics of the latest row delivered since the last call; empty where there is none."""
        latest, self._delivery.latest = self._delivery.latest, {}
        return latest

    def start(
        self,
        module: nn.Module,
        training: TrainingContext,
        *,
        directory: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Open the run directory, choose the probe, start writer, analyzer and delivery, take the first snapshot.

        Args:
            module: The module in training; only read.
            training: What is around it.
            directory: Chosen directory, None to choose here.
            progress: What a checkpoint remembers.

        Raises:
            ConfigError: The configuration does not fit, or the directory cannot be used.
        """
        directory = directory or choose_directory(self.config, training.root, progress)
        resolved = resolve(as_begun(self.config, directory, progress, module), module)
        if not wait_until_closed(directory, CLOSED_WITHIN_S):
            raise ConfigError(f"dirpath: the run in {directory} is still being closed. Wait a little, or choose another.")
        manifest = new_manifest(self.config, resolved, module, trainer=training.settings)
        self._start = open_directory(directory, manifest, step=training.step, progress=progress)
        self._plain_tensors = mark_plain_tensors(module)
        with ExitStack() as undone:  # what an error further down leaves behind is let go
            undone.push(self._open)
            undone.callback(self._abandon_start)
            self._open_stages(module, training, resolved, progress if self._start.resumed else None)
            self._closed, self._next_look = False, 0.0
            atexit.register(self._close_at_exit)
            self._announce(module, resolved, training)
            if not self._start.resumed:
                self.snapshot(module, step=training.step, epoch=training.epoch, scalars={})
            undone.pop_all()

    def is_due(self, step: int, now: float) -> bool:
        """Whether `after_step` has anything to do, `now` by `time.perf_counter`; for most steps this is all they cost."""
        return step >= self._next_step or now >= self._next_look

    def after_step(
        self,
        module: nn.Module,
        *,
        step: int,
        epoch: int,
        scalars: Callable[[], Mapping[str, Tensor | float]],
        entered: float | None = None,
    ) -> None:
        """Called when the optimizer step has changed: copy the weights if a snapshot is due, deliver finished results.

        Args:
            module: The module in training.
            step: Optimizer step.
            epoch: Epoch the step belongs to.
            scalars: Gives what the user's code logged.
            entered: `time.perf_counter()` when the training reached the hook, so that all of it is counted.

        Raises:
            InterpError: Under `strict`, when the analysis failed.
        """
        started = time.perf_counter()
        if step >= self._next_step:
            if self._throttle.may_take(step, waiting=self._recorder.waiting):
                self.snapshot(module, step=step, epoch=epoch, scalars=scalars())
            else:
                self.drop(step, "max_overhead: the monitor takes more of the wall time than it may")
        if started >= self._next_look:
            self._look(step, check_s=started - (started if entered is None else entered))
        self._throttle.overhead.spend(time.perf_counter() - started)

    def snapshot(self, module: nn.Module, *, step: int, epoch: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Copy the weights now and hand them to the writer."""
        started = time.perf_counter()
        self._move_on(step)
        raw = take_snapshot(module, self._recorder.buffers, step=step, epoch=epoch, scalars=scalars)
        if raw is None:
            self._recorder.drop(step, BEHIND)
            return
        self._throttle.overhead.note_snapshot(time.perf_counter() - started)
        self.submit(raw)

    def mark(self, module: nn.Module, marks: WeightMarks, *, step: int) -> None:
        """Mark the weights of a step; what that takes counts as time in hooks."""
        started = time.perf_counter()
        marks.make(module, step=step)
        self._throttle.overhead.spend(time.perf_counter() - started)

    def hold(self, module: nn.Module, *, step: int, epoch: int) -> RawSnapshot | None:
        """Copy the weights now, for `submit` later on; None while the writer holds all buffers."""
        return take_snapshot(module, self._recorder.buffers, step=step, epoch=epoch, scalars={})

    def let_go(self, raw: RawSnapshot) -> None:
        """Give the memory of a copy back that `hold` made and nobody submits."""
        self._recorder.buffers.give_back(raw.copies)

    def submit(self, raw: RawSnapshot) -> None:
        """Hand a copy to the writer."""
        self._move_on(raw.step)
        self._recorder.submit(raw)
        self._captured(raw.step)
        self._engine.snapshot_taken()

    def drop(self, step: int, reason: str) -> None:
        """Record that there is no snapshot of a step."""
        self._move_on(step)
        self._recorder.drop(step, reason)

    def last_snapshot(
        self, module: nn.Module, marks: WeightMarks, *, step: int, epoch: int, scalars: Mapping[str, Tensor | float]
    ) -> None:
        """The snapshot of the last step, if there is none and `marks` know of no change of the weights since."""
        if step <= self.last_captured:
            self._recorder.note_logged(step, scalars)
        elif marks.fit(module, step=step):
            self._recorder.flush(CHECKPOINT_WAIT_S)  # a short training may end while the writer holds all buffers
            self.snapshot(module, step=step, epoch=epoch, scalars=scalars)
        else:
            self.drop(step, "the weights were changed after the last optimizer step")
            warn(changed_line(self.last_captured, step))

    def progress(self, *, wait_s: float = CHECKPOINT_WAIT_S) -> Progress:
        """What a checkpoint must remember, once snapshots being written are on disk or `wait_s` seconds are over."""
        self._recorder.flush(wait_s)
        lost = sorted({*self._recorder.dropped, *self._recorder.unwritten})
        manifest = self._start.manifest
        return Progress(
            run_dir=str(self.run_dir),
            run_id=manifest.run_id,
            last_step=self._last_step,
            attempt=manifest.attempt,
            dropped=tuple(lost),
            delivered_step=self._delivery.step,
            announced=self._delivery.announced,
            alarmed=self._delivery.alarmed,
        )

    def close(
        self, *, timeout: float | None = None, status: Status = "interrupted", module: nn.Module | None = None
    ) -> None:
        """Write what is queued, let the analyzer finish within the timeout, deliver its results, report. Idempotent.

        Args:
            timeout: Seconds to wait; None for what `close_timeout` says.
            status: How the training ended.
            module: The module, to check for tensors outside its state_dict that changed.

        Raises:
            InterpError: Under `strict`, when the analysis failed.
        """
        if self._closed:
            return
        self._mark_closed()
        self._code.finish()
        timeout = self.config.close_within_s if timeout is None else timeout
        self._end.close(timeout, status, module, last_step=self._last_step, watch=partial(self._watch_engine, over=True))

    def leave(self, status: Status) -> None:
        """The training broke off: end the run beside whatever comes next, and return at once. Idempotent."""
        if not self._closed:
            self._mark_closed()
            self.probe.commit_or_warn()
            close_beside(self.run_dir, partial(self._end.leave, status))

    def abandon(self) -> None:
        """Let go of writer, analyzer and tailer without waiting; what is committed stays. For when the monitor fails."""
        if not self._closed:
            self._mark_closed()
            self._end.abandon()

    def _abandon_start(self) -> None:
        """Let go of what a start opened that failed."""
        if self._closed:
            self._start.mark_failed()
        self.abandon()

    def _move_on(self, step: int) -> None:
        """A step is captured now, or given up: the next one is due after it."""
        self._last_step = step
        self._next_step = self._throttle.schedule.next_after(step)

    def _captured(self, step: int) -> None:
        """There is a snapshot of the step, and the analyzer has it to do."""
        self.last_captured = step
        self._throttle.captured(step)

    def _mark_closed(self) -> None:
        self._closed = True
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        """For a process that ends before anybody closed."""
        if not self._closed:
            self._mark_closed()
            self.probe.commit_or_warn()
            close_at_exit(self.run_dir, partial(self._end.leave, "interrupted"))

    def _open_stages(
        self, module: nn.Module, training: TrainingContext, resolved: Resolved, progress: Progress | None
    ) -> None:
        """Open writer, probe, analyzer and delivery; each is let go again if a later one fails."""
        manifest = self._start.manifest
        disk = DiskBudget(
            self.run_dir,
            retention=parse_retention(self.config.retention),
            cap=parse_size(self.config.max_disk, argument="max_disk"),
            observed_until=lambda: self._delivery.step,
        )
        try:
            self._health = HealthLog(self.run_dir, manifest.attempt)
            self._recorder = Recorder(self.run_dir, self._health, warn=warn, disk=disk)
        except OSError as err:
            raise ConfigError(f"dirpath: {self.run_dir} cannot be written ({err}). Free space, or choose another.") from err
        self._open.callback(self._recorder.close, 5.0)
        self._recorder.note_lost(() if progress is None else progress.dropped)
        self._delivery = Delivery(
            self.run_dir,
            resolved.names,
            training.loggers,
            own_labels(resolved.request.measures),
            listeners=self._listeners,
            strict=self.config.request.strict,
            progress=progress,
        )
        self._open.callback(self._delivery.stop)
        self.probe = ProbeCollection(
            self.run_dir,
            manifest,
            save=self.config.save_probe,
            send=lambda probe: self._engine.give_probe(probe),
            announce=lambda types: self._engine.give_batch_types(pack_types(types)),
        )
        self._code = CodeChanges(self.probe)
        self._code.ask()
        self.probe.prepare(training, given=resolved.request.probe, resumed=self._start.resumed)
        order = start_order(module, resolved, training, probe=self.probe.travels, batch_types=self.probe.batch_types)
        self._engine: Engine = start_engine(
            self.config.background, self.run_dir, order, flush=lambda: self._recorder.flush(30.0)
        )
        self._open.callback(self._engine.let_go)
        self._throttle = SnapshotThrottle(
            make_schedule(self.config, training.max_steps),
            limit=math.inf if self.config.background == "inline" else self.config.max_overhead,  # slow because asked for
            contention=Contention(self._engine.pause, self._engine.resume),
            note=self._health.note,
            writer=self._recorder.cost,
        )
        self._open.callback(self._throttle.stop)
        self.last_captured = self._start.last_step
        self._move_on(self._start.last_step)
        for step in snapshot_steps(self.run_dir):
            if step > self._delivery.step:
                self._captured(step)  # of an earlier start, and still to be analyzed
        stages = OpenStages(
            self._health, self._recorder, self._delivery, self.probe, self._engine, self._throttle, self._open
        )
        self._end = RunEnd(self.run_dir, stages, self.config, self._plain_tensors)

    def _look(self, step: int, *, check_s: float) -> None:
        """Every half second: what the monitor costs; every two: results to loggers."""
        now = time.perf_counter()
        self._next_look = now + LOOK_S
        if now >= self._next_drain:
            self._next_drain = now + DRAIN_S
            self._delivery.deliver()
            self._watch_engine()
        # Only what can be halted can be measured; and nothing waits for an analyzer that is no more.
        is_beside = self.config.background == "process" and not self._analysis_failed
        observed = self._delivery.step if is_beside else step
        self._throttle.look(step, check_s=check_s, observed=observed, waiting=self._recorder.waiting)

    def _watch_engine(self, *, over: bool = False) -> None:
        for notice in self._engine.take_notices():
            warn(notice)
            self._health.note("analyzer", text=notice)
        failure = None if self._analysis_failed else self._engine.failure
        if failure is None:
            return
        self._analysis_failed = True
        self._health.note("analyzer_failed", reason=failure)
        if self.config.request.strict:
            raise InterpError(f"strict: {failure}")
        if not over:  # else the end of the run says it
            warn(f"{failure}. Training goes on; {finish_words(self.run_dir)}.")

    def _announce(self, module: nn.Module, resolved: Resolved, training: TrainingContext) -> None:
        say(f"run directory {self.run_dir}{f', continuing from step {training.step}' if self._start.resumed else ''}")
        size, schedule = byte_count(state_tensors(module)), self._throttle.schedule
        for line in plan_lines(resolved, schedule, training, snapshot_bytes=size, max_disk=self.config.max_disk):
            say(line)
