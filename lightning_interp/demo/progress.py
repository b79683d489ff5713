# SPDX-License-Identifier: Apache-2.0
"""One progress bar over all optimizer steps of a run whose epochs mean nothing to the reader."""

from contextlib import ExitStack
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lightning_interp.core.terminal import shown


class StepProgress(L.Callback):
    """Shows step, held-out accuracy and time; ten plain lines instead of a bar where the output is not a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self._lines = 0
        self._shown = ExitStack()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar, unless the output is a file or a pipe."""
        if not self.console.is_terminal:
            return
        accuracy = TextColumn("held-out accuracy {task.fields[accuracy]:.2f}")
        columns = (TextColumn("step {task.completed}/{task.total}"), BarColumn(), accuracy)
        self.bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console)
        self.bar.add_task("training", total=trainer.max_steps, accuracy=0.0)
        self._shown.enter_context(shown(self.bar))

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        """Move the bar, or print a line at every tenth of the run."""
        step, last = trainer.global_step, trainer.max_steps
        accuracy = float(trainer.callback_metrics.get("val_accuracy", 0.0)) if step % 20 == 0 or step == last else None
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step)
            if accuracy is not None:
                self.bar.update(self.bar.task_ids[0], accuracy=accuracy)
        elif accuracy is not None and step * 10 // last > self._lines:
            self._lines = step * 10 // last
            self.console.print(f"step {step}/{last}, held-out accuracy {accuracy:.2f}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar: after a crash or Ctrl-C Lightning calls no other hook."""
        self._stop()

    def _stop(self) -> None:
        self._shown.close()
        self.bar = None
