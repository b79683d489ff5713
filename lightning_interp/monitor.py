# SPDX-License-Identifier: Apache-2.0
"""The monitor of one training: recorder, probe, analyzer and delivery around a run directory. Knows no Trainer."""

import atexit
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

from torch import Tensor, nn

from lightning_interp.analysis.engines import Engine, start_engine
from lightning_interp.analysis.messages import StartOrder
from lightning_interp.analysis.shipping import pack_module
from lightning_interp.analysis.state import WEIGHTS_ONLY
from lightning_interp.capture import Recorder, changed_since, mark_plain_tensors, take_snapshot
from lightning_interp.configuration import MonitorConfig, Resolved, make_schedule, resolve
from lightning_interp.console import say, warn
from lightning_interp.delivery import Delivery, PhaseCallback
from lightning_interp.errors import ConfigError, InterpError, ProbeError
from lightning_interp.probe_keeper import ProbeKeeper
from lightning_interp.records import Probe
from lightning_interp.run_start import Progress, choose_directory, new_manifest, open_directory
from lightning_interp.store import snapshot_steps, write_manifest
from lightning_interp.store.manifest import Status
from lightning_interp.timeline import Timeline
from lightning_interp.training import Training

DRAIN_S = 2.0
"""Shortest time between two deliveries of results on the training thread."""
CHECKPOINT_WAIT_S = 2.0
"""Longest a checkpoint waits for snapshots that are still being written."""
_MOST_COUNTED = 100_000
_FIRST_WORD_S, _NEXT_WORD_S = 3.0, 5.0


class Monitor:
    """Watches one training from start to close.

    The training thread calls `after_step` once per optimizer step; everything slow happens elsewhere.

    Args:
        config: What the user asked for.
        on_phase: Callbacks for phase changes by phase name.
    """

    probe: ProbeKeeper
    """Takes the batches that pass, where the probe is made of them."""

    def __init__(self, config: MonitorConfig, *, on_phase: Mapping[str, Sequence[PhaseCallback]] | None = None) -> None:
        self.config = config
        self._on_phase = on_phase or {}
        self._open = ExitStack()  # what must be let go, in reverse order of opening
        self._closed = True
        self._analysis_failed = False
        self._next_drain = 0.0
        self._last_step = -1

    @property
    def run_dir(self) -> Path:
        """Directory everything is written to."""
        return self._start.run_dir

    @property
    def timeline(self) -> Timeline | None:
        """Phases found so far."""
        return self._delivery.timeline

    def take_latest(self) -> dict[str, float]:
        """Metrics of the latest row delivered since the last call; empty where there is none."""
        latest, self._delivery.latest = self._delivery.latest, {}
        return latest

    def start(
        self, module: nn.Module, training: Training, *, directory: Path | None = None, progress: Progress | None = None
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
        resolved = resolve(self.config, module)
        directory = directory or choose_directory(self.config, training.root, progress)
        self._schedule = make_schedule(self.config, training.max_steps)
        self._start = open_directory(
            directory, new_manifest(self.config, resolved, module), step=training.step, progress=progress
        )
        self._last_step = self._start.last_step
        self._plain_tensors = mark_plain_tensors(module)
        with ExitStack() as opened:  # what an error further down leaves behind is let go
            opened.push(self._open)
            self._open_stages(module, training, resolved, progress if self._start.resumed else None)
            opened.pop_all()
        self._closed = False
        atexit.register(self.close, timeout=5.0)
        self._announce(module, resolved, training)
        if not self._start.resumed:
            self.snapshot(module, step=training.step, epoch=training.epoch, scalars={})

    def after_step(
        self, module: nn.Module, *, step: int, epoch: int, scalars: Callable[[], Mapping[str, Tensor | float]]
    ) -> None:
        """Called when the optimizer step has changed: copy the weights if a snapshot is due, deliver finished results.

        Raises:
            InterpError: Under `strict`, when the analysis failed.
        """
        if self._schedule.due(self._last_step, step):
            self.snapshot(module, step=step, epoch=epoch, scalars=scalars())
        now = time.monotonic()
        if now >= self._next_drain:
            self._next_drain = now + DRAIN_S
            self._deliver()

    def snapshot(self, module: nn.Module, *, step: int, epoch: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Copy the weights now and hand them to the writer."""
        self._last_step = step
        raw = take_snapshot(module, step=step, epoch=epoch, scalars=scalars)
        self._recorder.submit(raw)
        self._engine.snapshot_taken()

    def last_snapshot(self, module: nn.Module, *, step: int, epoch: int, scalars: Mapping[str, Tensor | float]) -> None:
        """The snapshot of the last step, if it is not there already."""
        if step > self._last_step:
            self.snapshot(module, step=step, epoch=epoch, scalars=scalars)

    def progress(self) -> Progress:
        """What a checkpoint must remember. Waits up to two seconds for snapshots that are being written."""
        self._recorder.flush(CHECKPOINT_WAIT_S)
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
        )

    def close(
        self, *, timeout: float | None = None, status: Status = "interrupted", module: nn.Module | None = None
    ) -> None:
        """Write what is queued, let the analyzer finish within the timeout, deliver its results. Idempotent.

        Args:
            timeout: Seconds to wait, None for the configured `close_timeout`.
            status: How the training ended.
            module: The module, to check for tensors outside its state_dict that changed.

        Raises:
            InterpError: Under `strict`, when the analysis failed.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        deadline = time.monotonic() + (self.config.close_timeout if timeout is None else timeout)
        with self._open:
            self.probe.finish(max(0.0, deadline - time.monotonic()))
            self._recorder.flush(max(0.0, deadline - time.monotonic()))
            self._engine.finish()
            ended = self._engine.wait(max(0.0, deadline - time.monotonic()), tick=self._waiting())
            self._delivery.finish()
            finished = ended and self._engine.failure is None
            self._recorder.note("closed", status=status, analyzer_finished=finished)
            self._write_status(status)
            self._say_result(module)
            if not ended:
                self._say_unfinished()
            self._watch_engine()

    def abandon(self) -> None:
        """Let go of writer, analyzer and feed without waiting; what is committed stays. For when the monitor fails."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._recorder.note("closed", status="failed", analyzer_finished=False)
        self._write_status("failed")
        self._open.close()

    def _open_stages(self, module: nn.Module, training: Training, resolved: Resolved, progress: Progress | None) -> None:
        """Open writer, probe, analyzer and delivery; each is let go again if a later one fails."""
        manifest = self._start.manifest
        try:
            self._recorder = Recorder(self.run_dir, attempt=manifest.attempt, warn=warn)
        except OSError as err:
            raise ConfigError(f"dirpath: {self.run_dir} cannot be written ({err}). Free space, or choose another.") from err
        self._open.callback(self._recorder.close, 5.0)
        self._record_lost(progress)
        self._delivery = Delivery(
            self.run_dir,
            resolved.names,
            training.loggers,
            on_phase=self._on_phase,
            strict=self.config.strict,
            progress=progress,
        )
        self._open.callback(self._delivery.stop)
        self.probe = ProbeKeeper(
            self.run_dir, manifest, save=self.config.save_probe, send=lambda probe: self._engine.give_probe(probe)
        )
        self.probe.prepare(training, given=resolved.probe, resumed=self._start.resumed)
        order = self._order(module, resolved, training, self.probe.travels)
        self._engine: Engine = start_engine(
            self.config.background, self.run_dir, order, flush=lambda: self._recorder.flush(30.0)
        )
        self._open.callback(self._engine.let_go)

    def _order(self, module: nn.Module, resolved: Resolved, training: Training, probe: Probe | None) -> StartOrder:
        packed, reason = None, ""
        try:
            packed = pack_module(module)
        except ProbeError as err:
            if self.config.module is None:
                reason = f"{WEIGHTS_ONLY}: {err}"
            else:
                say(f"replicas come from module=: {err}")
        return StartOrder(
            packed_module=packed,
            factory=self.config.module,
            without_replica=reason,
            measures=resolved.measures,
            probe_step=resolved.probe_step,
            probe=probe,
            device=self.config.device,
            training_device=training.device,
            whole_probe=self.config.task is not None,
            strict=self.config.strict,
            tca=resolved.tca,
        )

    def _record_lost(self, progress: Progress | None) -> None:
        """Snapshots the checkpoint knew to be unwritten and that never reached the disk count as dropped."""
        present = set(snapshot_steps(self.run_dir))
        for step in progress.dropped if progress is not None else ():
            if step not in present:
                self._recorder.note("dropped", step=step, reason="not written when the checkpoint was made")

    def _deliver(self) -> None:
        self._delivery.deliver()
        self._watch_engine()

    def _watch_engine(self) -> None:
        failure = None if self._analysis_failed else self._engine.failure
        if failure is None:
            return
        self._analysis_failed = True
        self._recorder.note("analyzer_failed", reason=failure)
        if self.config.strict:
            raise InterpError(f"strict: {failure}")
        warn(
            f"{failure}. Training goes on and snapshots are kept; finish the analysis with "
            f"`lightning-interp analyze {self.run_dir} --module pkg.mod:build`."
        )

    def _announce(self, module: nn.Module, resolved: Resolved, training: Training) -> None:
        size = sum(t.numel() * t.element_size() for t in module.state_dict().values() if isinstance(t, Tensor))
        again = f", continuing from step {training.step}" if self._start.resumed else ""
        say(f"run directory {self.run_dir}{again}")
        say(f"layers {', '.join(resolved.layers) or 'none'}; {len(resolved.parameters)} parameters; {self._schedule!r}")
        if training.max_steps is not None:
            count = 1 + sum(1 for _ in islice(self._schedule.steps_until(training.max_steps - 1), _MOST_COUNTED))
            most = "at most" if count <= _MOST_COUNTED else "more than"
            say(f"{most} {count:,} snapshots of {size / 1e6:.2f} MB = {count * size / 1e6:,.1f} MB on disk")
        for note in resolved.notes:
            say(note)
        if training.heldout_data is None and resolved.probe is None:
            say("no validation data: phases end at memorization; give the trainer a validation loader, or pass probe=")

    def _waiting(self) -> Callable[[], None]:
        """Delivers results while closing, and says every few seconds how far the analyzer is."""
        next_word = time.monotonic() + _FIRST_WORD_S

        def tick() -> None:
            nonlocal next_word
            self._delivery.deliver()
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + _NEXT_WORD_S
                reached = (
                    f"at step {self._delivery.step:,} of {self._last_step:,}" if self._delivery.step >= 0 else "starting"
                )
                say(f"waiting for the analysis: {reached}")

        return tick

    def _write_status(self, status: Status) -> None:
        try:
            write_manifest(self.run_dir, replace(self.probe.manifest, status=status))
        except OSError as err:
            warn(f"run.json could not be updated ({err}); it still says '{self.probe.manifest.status}'")

    def _say_unfinished(self) -> None:
        if self._engine.goes_on:
            say("the analysis goes on in the background and writes to the run directory; its late rows stay there")
        else:
            say(f"the analysis is unfinished: run `lightning-interp analyze {self.run_dir} --module pkg.mod:build`")

    def _say_result(self, module: nn.Module | None) -> None:
        if module is not None and (changed := changed_since(self._plain_tensors, module)):
            say(f"tensors outside the state_dict changed and were not followed: {', '.join(changed)}")
        verdict = self.timeline.verdict if self.timeline is not None else "unknown"
        written = f"{self._recorder.written} snapshots, {self._recorder.bytes_written / 1e6:.1f} MB"
        dropped = f", {len(self._recorder.dropped)} dropped" if self._recorder.dropped else ""
        say(f"verdict {verdict}; {written}{dropped}; everything is in {self.run_dir}")
