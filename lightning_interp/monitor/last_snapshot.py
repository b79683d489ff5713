# SPDX-License-Identifier: Apache-2.0
"""The last snapshot of a training with a Trainer: of the weights that its last optimizer step left, whatever came after.

Between that step and the monitor's `on_train_end` lie a validation and the hooks of other callbacks, some of which put
averaged or merged weights into the module. So the copy is made at the end of the last batch if that is known to be the last,
and handed over when everything is logged; if it is not known, a few numbers of each parameter tell whether the weights are
still the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_interp.capture import RawSnapshot
from lightning_interp.capture.weight_marks import WeightMarks
from lightning_interp.core.console import say
from lightning_interp.monitor.run_monitor import RunMonitor
from lightning_interp.monitor.training_end import TrainingEnd

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from lightning_interp.monitor.lightning_types import Callback, LightningModule, Trainer


class LastSnapshot:
    """Keeps what the last snapshot needs.

    Args:
        trainer: The trainer.
        callback: The callback that asks.
        monitor: Takes the snapshots.
        waits: Whether the snapshot of the last step waits for what the validation after it logs, also where it was due.
    """

    def __init__(self, trainer: Trainer, callback: Callback, monitor: RunMonitor, *, waits: bool) -> None:
        self._end = TrainingEnd(trainer, callback)
        self._monitor, self._waits = monitor, waits
        self._held: RawSnapshot | None = None
        self._marks = WeightMarks()
        if self._end.averaging:
            names = " and ".join(dict.fromkeys(self._end.averaging))
            say(f"snapshots hold the network in training; what is logged in validation may be of the averages of {names}")

    def is_over(self, trainer: Trainer) -> bool:
        """Whether nothing is trained any more: averaged weights are on their way through the data."""
        return self._end.is_over(trainer)

    def is_awaited(self, trainer: Trainer, step: int) -> bool:
        """Whether the snapshot of this step is taken here, and not where it is due."""
        return self._waits and self._end.is_last_step(trainer, step)

    def is_near(self, trainer: Trainer, step: int) -> bool:
        """Whether `after_batch` has anything to do; for most steps this is all they cost."""
        return trainer.is_last_batch or self._end.is_preceded or self._end.is_last_step(trainer, step)

    def after_batch(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        """A batch has ended: copy the weights if it is the last one, mark them if it may be."""
        if not self.is_near(trainer, step) or self._has(step):
            return
        if not self._end.is_last_step(trainer, step) or not self._hold(trainer, module, step):
            self._monitor.mark(module, self._marks, step=step)

    def after_epoch(self, trainer: Trainer, module: LightningModule) -> None:
        """An epoch has ended, maybe because the training was told to stop in it."""
        step = trainer.global_step
        if self._end.is_over(trainer) or self._has(step):
            return
        if self._end.stops(trainer, trainer.current_epoch + 1) and self._marks.fit(module, step=step):
            self._hold(trainer, module, step)
        elif self._marks.step != step:
            self._monitor.mark(module, self._marks, step=step)

    def take(self, trainer: Trainer, module: LightningModule, scalars: Mapping[str, Tensor | float]) -> None:
        """The training is over: hand over the last snapshot, with what was logged until now."""
        step, epoch, is_over = trainer.global_step, trainer.current_epoch, self._end.is_over(trainer)
        if self._held is not None and self._held.step < step and not is_over:
            self._let_go()  # the training had been told to stop, and went on
        if not self.hand_over(scalars) and not is_over:
            self._monitor.last_snapshot(module, self._marks, step=step, epoch=epoch, scalars=scalars)
        self._marks = WeightMarks()  # which refer to the module

    def hand_over(self, scalars: Mapping[str, Tensor | float]) -> bool:
        """Whether there was a copy of the last step's weights, which the writer gets now: also where the end breaks off."""
        held, self._held = self._held, None
        if held is None or held.step <= self._monitor.last_captured:
            return False
        held.copies.keep(scalars)
        self._monitor.submit(held)
        return True

    def _has(self, step: int) -> bool:
        return self._monitor.last_captured >= step or (self._held is not None and self._held.step >= step)

    def _hold(self, trainer: Trainer, module: LightningModule, step: int) -> bool:
        """Whether there is a copy of the step's weights now."""
        if not self._has(step):
            self._let_go()
            self._held = self._monitor.hold(module, step=step, epoch=trainer.current_epoch)
        return self._has(step)

    def _let_go(self) -> None:
        """Give the memory of a copy back that is not needed any more."""
        held, self._held = self._held, None
        if held is not None:
            self._monitor.let_go(held)
