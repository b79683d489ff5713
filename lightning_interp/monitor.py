# SPDX-License-Identifier: Apache-2.0
"""The monitor of one training: recorder, analyzer and results feed around a run directory. Knows no Trainer."""

import atexit
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_interp.analysis.device import choose_device, gpu_memory
from lightning_interp.analysis.engines import Engine, start_engine
from lightning_interp.analysis.messages import StartOrder
from lightning_interp.analysis.shipping import pack_module
from lightning_interp.batches import example_count
from lightning_interp.capture import PassingProbe, Recorder, build_probe, is_map_style, take_snapshot
from lightning_interp.configuration import MonitorConfig, Resolved, make_schedule, resolve
from lightning_interp.console import say, warn
from lightning_interp.dashboards.feed import ResultFeed
from lightning_interp.dashboards.loggers import LightningLogger, LoggerSet
from lightning_interp.errors import InterpError, ProbeError
from lightning_interp.phases import PhaseChange, describe, phase_changes
from lightning_interp.records import Batch, Probe, Split
from lightning_interp.run_start import Progress, choose_directory, new_manifest, open_directory
from lightning_interp.store import snapshot_steps, write_manifest, write_probe
from lightning_interp.store.manifest import Status
from lightning_interp.timeline import Timeline

DRAIN_S = 2.0
"""Shortest time between two deliveries of results on the training thread."""
CHECKPOINT_WAIT_S = 2.0
"""Longest a checkpoint waits for snapshots that are still being written."""

PhaseCallback = Callable[[PhaseChange], None]


@dataclass(frozen=True)
class Training:
    """What the monitor must know of the training around it.

    Attributes:
        root: Where a run directory is made when none is named.
        step: Optimizer step it starts from.
        epoch: Epoch it starts from.
        max_steps: Length in optimizer steps, None where it is open.
        device: Device of the module.
        train_data: Training loader, or any other iterable.
        heldout_data: First validation loader, None where there is none.
        transfer: What the training does to a batch between loader and step.
        loggers: Lightning loggers.
    """

    root: Path
    step: int = 0
    epoch: int = 0
    max_steps: int | None = None
    device: str = "cpu"
    train_data: object = None
    heldout_data: object = None
    transfer: Callable[[Batch], Batch] = lambda batch: batch
    loggers: Sequence[LightningLogger] = ()


class Monitor:
    """Watches one training from start to close.

    The training thread calls `after_step` once per optimizer step; everything slow happens elsewhere.

    Args:
        config: What the user asked for.
        on_phase: Callbacks for phase changes by phase name.
    """

    def __init__(self, config: MonitorConfig, *, on_phase: Mapping[str, Sequence[PhaseCallback]] | None = None) -> None:
        self.config = config
        self.timeline: Timeline | None = None
        self.latest: dict[str, float] = {}
        self._on_phase = on_phase or {}
        self._closed = False
        self._failed = False
        self._next_drain = 0.0
        self._last_step = -1

    @property
    def run_dir(self) -> Path:
        """Directory everything is written to."""
        return self._start.run_dir

    def start(
        self, module: nn.Module, training: Training, *, directory: Path | None = None, progress: Progress | None = None
    ) -> None:
        """Open the run directory, choose the probe, start writer, analyzer and feed, take the first snapshot.

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
        self._recorder = Recorder(self.run_dir, attempt=self._start.manifest.attempt, warn=warn)
        self._record_lost(progress)
        self._loggers = LoggerSet(training.loggers)
        self._passing: PassingProbe | None = None
        probe = self._prepare_probe(resolved, training)
        self._feed = ResultFeed(self.run_dir, resolved.names)
        self._plain_tensors = _plain_tensors(module)
        self._engine: Engine = start_engine(
            self.config.background,
            self.run_dir,
            self._order(module, resolved, training, probe),
            flush=lambda: self._recorder.flush(30.0),
        )
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
            self.drain()

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

    def offer_batch(self, split: Split, batch: Batch) -> None:
        """A batch passes; kept where the data cannot be indexed and the probe still wants it."""
        if self._passing is not None:
            self._passing.offer(split, batch)
            if self._passing.complete:
                self._commit_passing()

    def split_ended(self, split: Split) -> None:
        """A whole pass over a split is over: its batches are all there are."""
        if self._passing is not None:
            self._passing.ended(split)
            if self._passing.complete:
                self._commit_passing()

    def drain(self) -> None:
        """Deliver finished results: rows to loggers, phase changes to alerts, console and callbacks, notices to the user.

        Raises:
            InterpError: Under `strict`, when the analysis failed.
        """
        update = self._feed.take()
        for notice in update.notices:
            say(notice)
        for row in update.rows:
            self._loggers.log(row)
            self.latest = row.metrics
        if update.timeline is not None and update.timeline != self.timeline:
            previous, self.timeline = self.timeline, update.timeline
            for change in phase_changes(previous, update.timeline):
                self._tell(change)
        self._watch_engine()

    def progress(self) -> Progress:
        """What a checkpoint must remember. Waits up to two seconds for snapshots that are being written."""
        self._recorder.flush(CHECKPOINT_WAIT_S)
        lost = sorted({*self._recorder.dropped, *self._recorder.unwritten})
        manifest = self._start.manifest
        return Progress(str(self.run_dir), manifest.run_id, self._last_step, manifest.attempt, tuple(lost))

    def close(
        self, *, timeout: float | None = None, status: Status = "interrupted", module: nn.Module | None = None
    ) -> None:
        """Write what is queued, let the analyzer finish within the timeout, deliver its results. Idempotent.

        Args:
            timeout: Seconds to wait, None for the configured `close_timeout`.
            status: How the training ended.
            module: The module, to check for tensors outside its state_dict that changed.
        """
        if self._closed or not hasattr(self, "_engine"):
            return
        self._closed = True
        atexit.unregister(self.close)
        deadline = time.monotonic() + (self.config.close_timeout if timeout is None else timeout)
        self._commit_passing()
        self._recorder.flush(max(0.0, deadline - time.monotonic()))
        self._engine.finish()
        finished = self._engine.wait(max(0.0, deadline - time.monotonic()), tick=self._progress_line())
        self._feed.stop()
        self._feed.read_now()
        self.drain()
        self._recorder.note("closed", status=status, analyzer_finished=finished)
        self._recorder.close(5.0)
        write_manifest(self.run_dir, replace(self._start.manifest, status=status))
        self._say_result(finished=finished, module=module)

    def _prepare_probe(self, resolved: Resolved, training: Training) -> Probe | None:
        """Build or reuse the probe; returns it only where it has to travel outside the directory."""
        probe = resolved.probe
        known = self._start.manifest.probe.get("status")
        if self._start.resumed and known == "ready":
            return None
        both = [data for data in (training.train_data, training.heldout_data) if data is not None]
        if probe is None and both and all(is_map_style(data) for data in both):
            probe = self._built_probe(training)
        elif probe is None and training.train_data is not None:
            self._passing = PassingProbe(heldout=training.heldout_data is not None)
            say("the data cannot be indexed: the probe is made of the first batches that pass")
            return None
        return self._keep_probe(probe)

    def _built_probe(self, training: Training) -> Probe | None:
        try:
            return build_probe(training.train_data, training.heldout_data, transfer=training.transfer)  # type: ignore[arg-type]
        except Exception as err:  # the user's data set or collate function; training must not depend on it
            warn(f"no probe could be read from the training data ({type(err).__name__}: {err}); pass probe=")
            return None

    def _keep_probe(self, probe: Probe | None) -> Probe | None:
        """Write the probe and note it in run.json; returns it where it stays in memory."""
        entry: dict[str, Any] = {"status": "none"}
        travels = None
        if probe is not None:
            entry = {"examples": {"train": _examples(probe.train), "heldout": _examples(probe.heldout)}}
            try:
                if not self.config.save_probe:
                    raise ProbeError("save_probe=False")
                entry |= {"status": "ready", "hash": write_probe(self.run_dir, probe)}
            except (ProbeError, OSError) as err:
                travels, entry["status"], entry["reason"] = probe, "memory", str(err)
                if self.config.save_probe:
                    warn(f"the probe stays out of the run directory: {err}")
        self._start = replace(self._start, manifest=replace(self._start.manifest, probe=entry))
        write_manifest(self.run_dir, self._start.manifest)
        return travels

    def _commit_passing(self) -> None:
        if self._passing is not None:
            passing, self._passing = self._passing, None
            probe = self._keep_probe(passing.probe())
            if probe is not None:
                self._engine.give_probe(probe)

    def _order(self, module: nn.Module, resolved: Resolved, training: Training, probe: Probe | None) -> StartOrder:
        packed, reason = None, ""
        try:
            packed = pack_module(module)
        except ProbeError as err:
            reason = f"only weights are measured: {err}"
            if self.config.module is not None:
                reason = ""
                say(f"replicas come from module=: {err}")
        return StartOrder(
            packed_module=packed,
            factory=self.config.module,
            without_replica=reason,
            measures=resolved.measures,
            probe_step=resolved.probe_step,
            probe=probe,
            device=choose_device(self.config.device, training=training.device, gpus=gpu_memory()),
            whole_probe=self.config.task is not None,
            strict=self.config.strict,
        )

    def _record_lost(self, progress: Progress | None) -> None:
        """Snapshots the checkpoint knew to be unwritten and that never reached the disk count as dropped."""
        present = set(snapshot_steps(self.run_dir))
        for step in progress.dropped if progress is not None else ():
            if step not in present:
                self._recorder.note("dropped", step=step, reason="not written when the checkpoint was made")

    def _announce(self, module: nn.Module, resolved: Resolved, training: Training) -> None:
        size = sum(t.numel() * t.element_size() for t in module.state_dict().values() if isinstance(t, Tensor))
        again = f", continuing from step {training.step}" if self._start.resumed else ""
        say(f"run directory {self.run_dir}{again}")
        say(f"layers {', '.join(resolved.layers) or 'none'}; {len(resolved.parameters)} parameters; {self._schedule!r}")
        if training.max_steps is not None:
            count = len(self._schedule.steps_until(training.max_steps)) + 1
            say(f"at most {count} snapshots of {size / 1e6:.2f} MB = {count * size / 1e6:.0f} MB on disk")
        for note in resolved.notes:
            say(note)
        if training.heldout_data is None:
            say("no validation data: phases end at memorization; give the trainer a validation loader, or pass probe=")

    def _tell(self, change: PhaseChange) -> None:
        text = describe(change)
        say(text)
        self._loggers.alert(f"{change.name} {change.kind}", text)
        if change.kind == "began":
            for call in self._on_phase.get(change.name, ()):
                call(change)

    def _watch_engine(self) -> None:
        failure = None if self._failed else self._engine.failure
        if failure is None:
            return
        self._failed = True
        self._recorder.note("analyzer_failed", reason=failure)
        if self.config.strict:
            raise InterpError(f"strict: {failure}")
        warn(
            f"{failure}. Training goes on and snapshots are kept; finish the analysis with "
            f"`lightning-interp analyze {self.run_dir} --module pkg.mod:build`."
        )

    def _progress_line(self) -> Callable[[], None]:
        """Delivers results while closing, and says every few seconds how far the analyzer is."""
        next_line = time.monotonic() + 3.0

        def tick() -> None:
            nonlocal next_line
            self.drain()
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + 5.0
                known = len(snapshot_steps(self.run_dir))
                say(f"waiting for the analysis: step {self.latest.get('interp/step', 0):.0f}, {known} snapshots in all")

        return tick

    def _say_result(self, *, finished: bool, module: nn.Module | None) -> None:
        if module is not None and (changed := _changed(self._plain_tensors, _plain_tensors(module))):
            say(f"tensors outside the state_dict changed and were not followed: {', '.join(changed)}")
        verdict = self.timeline.verdict if self.timeline is not None else "unknown"
        written = f"{self._recorder.written} snapshots, {self._recorder.bytes_written / 1e6:.1f} MB"
        dropped = f", {len(self._recorder.dropped)} dropped" if self._recorder.dropped else ""
        say(f"verdict {verdict}; {written}{dropped}; everything is in {self.run_dir}")
        if self.timeline is not None:
            self._loggers.summarize(self.timeline)
        if not finished:
            say("the analysis goes on in the background and writes to the run directory; its late rows stay there")


def _examples(split: Any) -> int:
    return 0 if split is None else sum(example_count(batch) for batch in split.batches)


def _plain_tensors(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Tensors held as plain attributes, by name, with what tells whether they were replaced or written to."""
    return {
        f"{path}.{name}".lstrip("."): (value.data_ptr(), value._version)
        for path, child in module.named_modules()
        for name, value in vars(child).items()
        if isinstance(value, Tensor)
    }


def _changed(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> list[str]:
    return sorted(name for name in before if after.get(name) != before[name])
