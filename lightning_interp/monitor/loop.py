# SPDX-License-Identifier: Apache-2.0
"""The monitor for a training loop of one's own: plain PyTorch, Fabric, or anything else that takes optimizer steps."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_interp.capture import FurtherLoader, first_loader, further_loaders
from lightning_interp.capture.weight_marks import WeightMarks
from lightning_interp.config.monitor_config import switched_off
from lightning_interp.config.run_directory import Progress
from lightning_interp.core.errors import InterpError
from lightning_interp.core.outcome import OUTCOME_STEP, Outcome, outcome_of
from lightning_interp.dashboards.loggers.logger_set import LightningLogger
from lightning_interp.measures.logged_names import logged_at, logged_name
from lightning_interp.monitor.failure_shield import shielded
from lightning_interp.monitor.run_monitor import RunMonitor
from lightning_interp.monitor.training_context import TrainingContext, unwrapped, unwrapped_loader
from lightning_interp.store.manifest import Status


class Monitor(RunMonitor):
    """Watches a training without a Trainer; options and results are those of `InterpMonitor`, which is built on it.

    Example:
        >>> monitor = Monitor("runs/mine", every_n_steps=10)
        >>> with monitor.watch(model, train_data=train_loader, heldout_data=heldout_loader):  # doctest: +SKIP
        ...     for batch in train_loader:
        ...         loss = train_on(batch)
        ...         monitor.step(train_loss=loss)
    """

    _module: nn.Module
    _marks: WeightMarks
    _step = 0
    _left_at: Progress | None = None
    _outcome: Outcome | None = None
    _carried: dict[str, Tensor | float]
    _given: frozenset[str] = frozenset()
    """What the last step was given."""

    @contextmanager
    def watch(
        self,
        module: nn.Module,
        *,
        train_data: object = None,
        heldout_data: object = None,
        max_steps: int | None = None,
        loggers: Sequence[LightningLogger] = (),
        step: int = 0,
        resume: Mapping[str, Any] | None = None,
    ) -> Iterator["Monitor"]:
        """Watch a loop of one's own: starts here, ends with the block, however that ends.

        The end of the block waits for results up to `close_timeout`; an exception passes on at once.

        Args:
            module: The module in training, also as Fabric, DDP or `torch.compile` wrapped it; only read.
            train_data: Training loader, for the probe.
            heldout_data: Validation loader, for the probe; without it phases end at memorization. Of several, in a list or
                by name, the first is judged as if it were alone, and each of the others gets a timeline of its own.
            max_steps: Length of the training in optimizer steps, where it is known.
            loggers: Lightning or Fabric loggers that get the results.
            step: Optimizer step the training goes on from.
            resume: What `state_dict` gave when the checkpoint was made that the training goes on from.

        Raises:
            ConfigError: The configuration does not fit; nothing was changed.
        """
        self._module, self._marks, self._step, self._left_at = unwrapped(module), WeightMarks(), step, None
        self._outcome, self._carried, self._given = outcome_of(self.config.request.outcome), {}, frozenset()
        if not switched_off():
            first, further = _of_several(heldout_data)
            device = next((str(parameter.device) for parameter in self._module.parameters()), "cpu")
            training = TrainingContext(
                root=Path.cwd(),
                step=step,
                max_steps=max_steps,
                device=device,
                train_data=unwrapped_loader(train_data),
                heldout_data=first,
                further_heldout=further,
                loggers=loggers,
                hands_batches=False,
            )
            progress = Progress.from_state(resume) if resume else None
            with shielded(
                "failed at its start", strict=self.config.request.strict, give_up=self._give_up, spares=(InterpError,)
            ):
                self.start(self._module, training, progress=progress)
        status: Status = "failed"
        try:
            yield self
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            with shielded("failed at its end", strict=self.config.request.strict, give_up=self._give_up):
                self._finish(status)

    def step(self, step: int | None = None, *, epoch: int = 0, **scalars: Tensor | float) -> None:
        """After each optimizer step of a loop under `watch`. A failure in here ends the monitor, never the training.

        Args:
            step: Optimizer step, counted from 1; the next one where None.
            epoch: Epoch it belongs to.
            **scalars: What to keep with a snapshot, e.g. the loss; tensors are copied, not read. What a validation gives,
                such as the outcome (option `outcome`), is given at its step, ``**{"val/f1": value}``.
        """
        entered = time.perf_counter()
        self._step = self._step + 1 if step is None else step
        if self._closed:
            return
        self._carry(scalars)
        with shielded("failed in step", strict=self.config.request.strict, give_up=self._give_up):
            if self.is_due(self._step, entered):
                given = {logged_at(name, "given"): float(self._step) for name in scalars}
                kept = {**self._carried, **scalars, **given}
                self.after_step(self._module, step=self._step, epoch=epoch, scalars=lambda: kept, entered=entered)
            if self.last_captured < self._step:  # it may be the last, and averages may be put in before the block ends
                self.mark(self._module, self._marks, step=self._step)

    def _carry(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Remember until a snapshot is due what is given now and then, as a loop of one's own does at its validations."""
        outcome = None if self._outcome is None else self._outcome.name
        for name, value in scalars.items():
            if name in self._given and name != outcome:
                self._carried.pop(name, None)  # it comes at every step
            else:  # cloned, since its buffer may be used again
                self._carried[name] = value.detach().clone() if isinstance(value, Tensor) else value
                self._carried[logged_at(name, "given")] = float(self._step)
                if name == outcome:
                    self._carried[logged_name(OUTCOME_STEP)] = float(self._step)
        self._given = frozenset(scalars)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold for `watch(resume=...)`, in plain values; empty where nothing runs.

        After an exception that ended `watch` it is what it was then: for a checkpoint made in an ``except`` clause.
        """
        if self._closed:
            return {} if self._left_at is None else self._left_at.state_dict()
        return self.progress().state_dict()

    def _finish(self, status: Status) -> None:
        if self._closed:
            return
        if status == "finished":
            self.last_snapshot(self._module, self._marks, step=self._step, epoch=0, scalars=self._carried)
            self.close(status=status, module=self._module)
        else:
            self._left_at = self.progress(wait_s=0.0)
            self.leave(status)

    def _give_up(self) -> str:
        self.abandon()
        return "it"


def _of_several(heldout_data: object) -> tuple[object, list[FurtherLoader]]:
    """The loader that is judged and the others, each without what Fabric put around it; a single one has no others."""
    listed = isinstance(heldout_data, list | tuple) and all(
        isinstance(unwrapped_loader(each), DataLoader) for each in heldout_data
    )
    if not (listed or isinstance(heldout_data, Mapping)):
        return unwrapped_loader(heldout_data), []
    further = [replace(each, data=unwrapped_loader(each.data)) for each in further_loaders(heldout_data)]
    return unwrapped_loader(first_loader(heldout_data)), further
