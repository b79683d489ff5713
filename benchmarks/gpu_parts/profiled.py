# SPDX-License-Identifier: Apache-2.0
"""Callbacks that put a training under the profiler, our hooks into a named range, and waits we know of into another."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from lightning_interp import InterpMonitor

RANGE, PLANTED = "interp hook", "planted wait"


class Ranged(InterpMonitor):
    """The monitor with the hooks of every step in a range of the trace."""

    def on_train_batch_start(self, *arguments: Any) -> None:
        """In the range."""
        with record_function(RANGE):
            super().on_train_batch_start(*arguments)

    def on_train_batch_end(self, *arguments: Any) -> None:
        """In the range."""
        with record_function(RANGE):
            super().on_train_batch_end(*arguments)


class Profiled(L.Callback):
    """Records some steps and writes a Chrome trace.

    Args:
        trace: The file.
        first: Step before which it starts.
        steps: How many it records.
        on_gpu: Whether there is a GPU to record, too.
    """

    def __init__(self, trace: Path, *, first: int, steps: int, on_gpu: bool) -> None:
        self._trace, self._first, self._last = trace, first, first + steps
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        self._profile = profile(activities=activities)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start, and stop, between steps."""
        if trainer.global_step == self._first:
            self._profile.start()
        elif trainer.global_step == self._last:
            self._profile.stop()
            self._profile.export_chrome_trace(str(self._trace))


class Planted(L.Callback):
    """Waits for the device twice at one step, in a range of its own, so that the trace can be seen to show such waits.

    Args:
        step: The step.
        on_gpu: Whether there is a device to wait for.
    """

    def __init__(self, step: int, *, on_gpu: bool) -> None:
        self._step, self._on_gpu = step, on_gpu

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Wait."""
        if trainer.global_step != self._step:
            return
        with record_function(PLANTED):
            if self._on_gpu:
                torch.cuda.synchronize()
            float(outputs["loss"])
