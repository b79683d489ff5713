# SPDX-License-Identifier: Apache-2.0
"""InterpMonitor: Lightning's hooks around a `RunMonitor`. No mathematics and no files here."""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_interp.analysis.worker.engines import Background
from lightning_interp.capture import first_loader, is_map_style
from lightning_interp.capture.schedule import Schedule
from lightning_interp.capture.selection import Pattern
from lightning_interp.config.monitor_config import MonitorConfig, check_arguments, resolve, switched_off
from lightning_interp.config.run_directory import Progress, choose_directory, state_of_run
from lightning_interp.core.batches import to_cpu
from lightning_interp.core.console import warn
from lightning_interp.core.errors import InterpError
from lightning_interp.core.outcome import Outcome
from lightning_interp.core.records import Batch, Probe, ProbeStep
from lightning_interp.core.request import AnalysisRequest
from lightning_interp.core.tca_settings import TCA
from lightning_interp.core.timeline import Timeline
from lightning_interp.measures import CyclicGroupTask, MeasureSpec
from lightning_interp.monitor.failure_shield import shielded, shielded_hook
from lightning_interp.monitor.last_snapshot import LastSnapshot
from lightning_interp.monitor.listeners import AlarmCallback, Listeners, PhaseCallback
from lightning_interp.monitor.logged_steps import LoggedSteps
from lightning_interp.monitor.run_monitor import RunMonitor
from lightning_interp.monitor.trainer_adapter import (
    SANITY_BATCHES,
    built_later,
    check_strategy,
    look_at_logged,
    publish,
    sanity_was_whole,
    snapshot_scalars,
    tell_untrained,
    training_of,
)

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from lightning_interp.monitor.lightning_types import Callback, LightningModule, Trainer


class InterpMonitor(Callback):
    """Watches how a network learns: snapshots in, phases of learning out, the training untouched.

    Logged to every logger of the Trainer, x-axis ``interp/step`` (the snapshot's optimizer step): probe losses (nats) and
    accuracies (share), weight norm (L2) and its log-slope, spectra and sparsity (dimensionless), held-out percentile
    (share; z in standard deviations), intensities of the phases (0 to 1), number of the current phase; with `tca`, loadings
    of components (of activations scaled to root mean square 1).

    Args:
        dirpath: Run directory; a new one under ``<default_root_dir>/interp_runs/`` where None.
        every_n_steps: A snapshot every so many optimizer steps, in place of the log-spaced default.
        schedule: A schedule of your own.
        parameters: Parameters to measure: glob, ``re:`` expression, or a list of these. ``"*"`` leaves out copies of the
            network such as momentum encoders and teachers, ``["*"]`` does not.
        layers: Layers whose activations are measured: glob, ``re:`` expression, type, ``type:Name``, a list; ``name#1``
            is the second call in a forward. None takes up to eight: activations, or in a deep network embedding, attentions,
            MLPs, block outputs and head, evenly over depth.
        measures: ``"standard"``, names, measure objects, ``pkg.mod:Name``, or a list of these.
        task: Declares modular arithmetic, which adds the Fourier measures and takes the whole data set as probe.
        tca: Tensor component analysis of stored activations: `TCA(...)`, or true for its defaults.
        outcome: Name of a number the training logs that says how good a network is, such as ``"val/f1"``, in place of the
            probe's held-out accuracy (if more is better) or loss (if less is); ``"min:name"``, ``"max:name"`` or
            `Outcome(...)` where the name does not tell.
        probe: A `Probe`, a run directory to take one from, or a function that makes one; built from the data where None.
        probe_step: ``fn(module, batch) -> ProbeOutputs`` where the loss cannot be found by itself, or ``pkg.mod:fn``.
        module: Factory of the module, or ``pkg.mod:fn``, used where the module cannot be pickled.
        background: ``"process"``; ``"thread"`` and ``"inline"`` are for debugging and not bitwise neutral.
        device: Where to analyze: ``"auto"``, ``"cpu"``, ``"cuda:1"``.
        max_overhead: Most of the wall time the monitor may take, as a share: time in its hooks, and what writing and
            analyzing take from the training's cores as far as that can be measured. Over it, the analyzer is halted at
            times and the schedule thinned in log(step).
        max_disk: Most that snapshots and stored activations may take on disk: ``"5GB"``, bytes, None for no limit.
        retention: Which observed snapshots stay: ``"log"`` as many as `max_disk` allows, evenly in log(step); ``"all"``;
            ``"last:20"``. The first and the latest stay in any case, as do all records.
        close_timeout: Seconds the end of training waits for the analysis, None until it is complete. Without all of it
            there is no final verdict, and loggers get none.
        save_probe: Whether the probe is written into the run directory.
        report: Whether the end of training writes ``report.html`` into the run directory.
        strict: Let a failed analysis stop the training.

    Raises:
        ConfigError: In `setup`, before anything changes, where an argument cannot be honoured.
    """

    _validated: int | None = None
    """Optimizer step of the latest validation: until the next, what it logged is only carried on."""
    _last: LastSnapshot  # of `_monitor`
    _begins = False  # with the next batch
    _given: Mapping[str, Any] | None = None
    """State that a checkpoint got last: read back, it is no checkpoint to go on from (tuners save and restore)."""

    def __init__(  # noqa: PLR0913 - one argument for each thing a user may set; all but the first by keyword
        self,
        dirpath: str | PathLike[str] | None = None,
        *,
        every_n_steps: int | None = None,
        schedule: Schedule | None = None,
        parameters: Pattern = "*",
        layers: Pattern | None = None,
        measures: MeasureSpec | Sequence[MeasureSpec] = "standard",
        task: CyclicGroupTask | None = None,
        tca: TCA | bool | None = None,
        outcome: Outcome | str | None = None,
        probe: Probe | str | Callable[[], Probe] | None = None,
        probe_step: ProbeStep | str | None = None,
        module: Callable[[], nn.Module] | str | None = None,
        background: Background = "process",
        device: str = "auto",
        max_overhead: float = 0.02,
        max_disk: str | int | None = "5GB",
        retention: str = "log",
        close_timeout: float | None = 60.0,
        save_probe: bool = True,
        report: bool = True,
        strict: bool = False,
    ) -> None:
        super().__init__()
        self.config = MonitorConfig(
            dirpath=dirpath,
            every_n_steps=every_n_steps,
            schedule=schedule,
            request=AnalysisRequest(
                parameters=parameters,
                layers=layers,
                measures=measures,
                task=task,
                tca=tca,
                outcome=outcome,
                probe=probe,
                probe_step=probe_step,
                module=module,
                device=device,
                strict=strict,
            ),
            background=background,
            max_overhead=max_overhead,
            max_disk=max_disk,
            retention=retention,
            close_timeout=close_timeout,
            save_probe=save_probe,
            report=report,
        )
        self._listeners = Listeners()
        self._monitor: RunMonitor | None = None
        self._left: RunMonitor | None = None  # of a training that broke off: it may still learn more
        self._progress: Progress | None = None
        self._timeline: Timeline | None = None
        self._directory: Path | None = None
        self._resumes = False
        self._sanity: list[Batch] = []
        self._logged = LoggedSteps()

    @property
    def run_dir(self) -> Path | None:
        """Directory of the latest run, None before training started."""
        return self._directory

    @property
    def timeline(self) -> Timeline | None:
        """Phases found so far, None before the first record."""
        monitor = self._monitor or self._left
        return monitor.timeline if monitor is not None else self._timeline

    def on_phase(self, name: str, fn: PhaseCallback) -> None:
        """Call `fn` on the training thread when a phase begins.

        Args:
            name: One of the phase names.
            fn: Gets the `PhaseChange`.

        Raises:
            ConfigError: There is no such phase.
        """
        self._listeners.on_phase(name, fn)

    def on_alarm(self, name: str, fn: AlarmCallback) -> None:
        """Call `fn` on the training thread when an alarm is raised; an early warning is one once in a run.

        Args:
            name: One of the alarm names.
            fn: Gets the `Alarm`: its name and the optimizer step at which it was known.

        Raises:
            ConfigError: There is no such alarm.
        """
        self._listeners.on_alarm(name, fn)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the whole configuration; nothing is written yet."""
        self._sanity.clear()  # of a fit that broke off in its sanity check
        if stage == "fit" and not self._inactive(trainer):
            check_strategy(trainer)
            check_arguments(self.config)
            if not built_later(pl_module):
                resolve(self.config, pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check layers and parameters of a module that is only now complete."""
        if not self._inactive(trainer) and built_later(pl_module):
            resolve(self.config, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the run directory. The run begins with the first batch: until then hooks may load or make weights."""
        self._begins = not self._inactive(trainer)
        if not self._begins:
            return
        root = Path(trainer.default_root_dir)
        # A second fit of this callback continues its run only where the training itself goes on.
        self._progress = self._progress if self._resumes or trainer.global_step > 0 else None
        self._resumes = False
        chosen = choose_directory(self.config, root, self._progress) if trainer.is_global_zero else None
        self._directory = Path(trainer.strategy.broadcast(str(chosen)))  # every rank learns it

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin the run before the first step; note what an epoch logged; let batches pass by the probe."""
        if self._begins:
            self._begin(trainer, pl_module, batch)
        if self._monitor is not None and (batch_idx == 0 or self._monitor.probe.collects):
            self._before_batch(trainer, batch, batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a snapshot if one is due; fires more often than the optimizer steps, and mostly there is nothing to do."""
        monitor = self._monitor
        if monitor is None or self._last.is_over(trainer):
            return
        entered = time.perf_counter()
        step = trainer.global_step
        if monitor.is_due(step, entered) or self._last.is_near(trainer, step):
            self._after_step(trainer, pl_module, step, entered, batch)

    @shielded_hook
    def _after_step(self, trainer: Trainer, pl_module: LightningModule, step: int, entered: float, batch: Batch) -> None:
        assert self._monitor is not None, "the hook looked"
        if self._monitor.is_due(step, entered) and not self._last.is_awaited(trainer, step):
            scalars = functools.partial(snapshot_scalars, trainer, batch, self._logged, validated=self._validated)
            self._monitor.after_step(pl_module, step=step, epoch=trainer.current_epoch, scalars=scalars, entered=entered)
            publish(trainer, self._monitor.take_latest())
        self._last.after_batch(trainer, pl_module, step)

    @shielded_hook
    def _before_batch(self, trainer: Trainer, batch: Any, batch_idx: int) -> None:
        assert self._monitor is not None, "the hook looked"
        if self._monitor.probe.collects:
            self._monitor.probe.offer("train", batch)
        if batch_idx == 0 and self._monitor.is_due(self._logged.epoch_ends_at(trainer.global_step), -math.inf):
            look_at_logged(trainer, self._logged)  # not before: Lightning would average for this callback alone

    @shielded_hook
    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Let validation batches of data that cannot be indexed pass by the probe; the sanity check comes before start."""
        if dataloader_idx != 0:
            return
        if self._monitor is not None:
            self._monitor.probe.offer("heldout", batch)
        elif self._wants_sanity(trainer):
            self._sanity.append(to_cpu(batch))

    @shielded_hook
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that all validation batches have passed, and what they were logged as."""
        if self._monitor is not None:
            self._monitor.probe.ended("heldout")
            self._validated = trainer.global_step
            look_at_logged(trainer, self._logged)

    @shielded_hook
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that all training batches have passed."""
        if self._monitor is not None:
            self._monitor.probe.ended("train")
            self._last.after_epoch(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the last snapshot; where no batch came, also the first."""
        if self._begins:
            self._begin(trainer, pl_module)
        self._take_last(trainer, pl_module)

    @shielded_hook
    def _take_last(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._monitor is not None:
            scalars = snapshot_scalars(trainer, None, self._logged, validated=self._validated)
            self._last.take(trainer, pl_module, scalars)

    @shielded_hook
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finish the analysis within `close_timeout` and deliver what is left."""
        if stage == "fit":
            if self._monitor is None and not self._inactive(trainer):
                tell_untrained(trainer)
            self._close(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """After a crash or Ctrl-C, which skip `teardown`: only mark it; checkpoints of the user's are made after this."""
        monitor, self._monitor, self._begins = self._monitor, None, False
        if monitor is None:
            return
        self._left = monitor
        try:
            self._last.hand_over({})
            self._progress = monitor.progress(wait_s=0.0)
            monitor.leave("interrupted" if isinstance(exception, KeyboardInterrupt) else "failed")
        except Exception as err:  # also under `strict`: what the user has to know is the exception that is on its way
            warn(f"the run in {self._directory} was not closed ({type(err).__name__}: {err})")

    @property
    def state_key(self) -> str:
        """Name in checkpoints: monitors of one trainer, each with a `dirpath` of its own, are told apart by it."""
        name = type(self).__qualname__
        return name if self.config.dirpath is None else f"{name}({str(self.config.dirpath)!r})"

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run that had another `dirpath` when the checkpoint was made: known by its directory, or as the only one."""
        states = checkpoint.get("callbacks") or {}
        if self.state_key not in states and not self._inactive(trainer):
            alone = sum(isinstance(callback, InterpMonitor) for callback in getattr(trainer, "callbacks", ())) == 1
            self.load_state_dict(state_of_run(states, self.config.dirpath, alone=alone))

    def state_dict(self) -> dict[str, Any]:
        """Where the run is and how far it was captured, in plain values."""
        if self._monitor is not None:
            self._progress = self._monitor.progress()
        self._given = {} if self._progress is None else self._progress.state_dict()
        return dict(self._given)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the run a checkpoint belongs to."""
        self._progress = Progress.from_state(state_dict)
        # One that goes on from a later step does so by its step.
        self._resumes = self._progress is not None and (self._resumes or state_dict != self._given)

    def __getstate__(self) -> dict[str, Any]:
        """Without the running monitor: threads and pipes cannot travel."""
        return {**self.__dict__, "_monitor": None, "_left": None, "_last": None, "_timeline": self.timeline}

    def _begin(self, trainer: Trainer, module: LightningModule, batch: Batch = None) -> None:
        """Start the monitor. Every rank stops where rank 0 cannot go on: alone they would wait for it for ever."""
        self._begins = False
        failure = self._start(trainer, module, batch) if trainer.is_global_zero else None
        reason = trainer.strategy.broadcast("" if failure is None else str(failure))
        if reason:
            raise InterpError(reason) if failure is None else failure

    def _start(self, trainer: Trainer, module: LightningModule, batch: Batch) -> Exception | None:
        """Start the monitor; returns what must stop the training: bad configuration, under `strict` anything."""
        monitor = RunMonitor(config=self.config, listeners=self._listeners)
        try:
            with shielded("could not start", strict=self.config.request.strict, give_up=lambda: "it", spares=(InterpError,)):
                training = training_of(trainer, module, batch)
                monitor.start(module, training, directory=self._directory, progress=self._progress)
                self._last = LastSnapshot(trainer, self, monitor, waits=self.config.request.outcome is not None)
                self._monitor, self._left, self._validated, self._logged = monitor, None, None, LoggedSteps()
        except Exception as err:
            return err
        if self._monitor is not None:
            monitor.probe.offer_sanity(self._sanity, whole=sanity_was_whole(trainer, len(self._sanity)))
            self._sanity.clear()
        return None

    def _give_up(self) -> str:
        """Let go of the monitor, and say what the training goes on without."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            self._timeline = monitor.timeline
            monitor.abandon()
        return f"the monitor; what was written is in {self._directory}"

    def _close(self, trainer: Trainer, module: LightningModule) -> None:
        if self._monitor is None:
            return
        monitor, self._monitor = self._monitor, None
        self._progress = monitor.progress()
        monitor.close(status="finished", module=module)
        publish(trainer, monitor.take_latest())
        self._timeline = monitor.timeline

    def _wants_sanity(self, trainer: Trainer) -> bool:
        """Whether the sanity check shows batches that may become the probe: the first ones, where none can be indexed."""
        wanted = trainer.sanity_checking and trainer.is_global_zero and len(self._sanity) < SANITY_BATCHES
        return wanted and not self._inactive(trainer) and not is_map_style(first_loader(trainer.val_dataloaders))

    def _inactive(self, trainer: Trainer) -> bool:
        return switched_off() or bool(getattr(trainer, "fast_dev_run", False))
