# SPDX-License-Identifier: Apache-2.0
"""Half precision with a gradient scaler that leaves steps out: what the monitor keeps of such steps.

That the training stays the same bit by bit is a row of the neutrality matrix, whose half-precision trainings overflow as
planned here.
"""

import time
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from gpu_parts.rows import Row, verdict_of
from gpu_parts.setting import Part, Setting
from gpu_parts.trainings import OVERFLOWS, Noisy, loader, trainer
from torch import Tensor

from lightning_interp import InterpMonitor, open_run

STEPS = 30
WRITER_S = 0.02


class Witness(L.Callback):
    """What the weights were after every step, read on the training thread, and the scale of the gradients."""

    def __init__(self) -> None:
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.scales: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Copy, and leave the writer room for the snapshot of every step."""
        time.sleep(WRITER_S)
        state = pl_module.state_dict()
        self.weights[trainer.global_step] = {name: value.detach().cpu().clone() for name, value in state.items()}
        self.scales.append(trainer.precision_plugin.scaler.get_scale())


def skipped_steps(setting: Setting) -> Iterator[Row]:
    """Snapshots of every step, those left out among them, against what was there."""
    folder, witness = setting.folder("scaler"), Witness()
    torch.manual_seed(0)
    monitor = InterpMonitor(
        folder / "run",
        every_n_steps=1,
        device="cpu",
        max_overhead=1.0,
        close_timeout=1.0 if setting.quick else 60.0,
        report=False,
    )
    fit = trainer(setting.device, [witness, monitor], folder, max_steps=STEPS, precision="16-mixed")
    fit.fit(Noisy(overflows=OVERFLOWS), loader())
    run, names = open_run(folder / "run"), [name for name, _ in Noisy().named_parameters()]
    left_out = [s for s in range(2, STEPS + 1) if _equal(witness.weights[s], witness.weights[s - 1], names)]
    planned = [step + 1 for step in sorted(OVERFLOWS)]
    halved = sum(b < a for a, b in zip(witness.scales, witness.scales[1:], strict=False))
    yield Row("steps of the trainer", fit.global_step, "steps", aim=str(STEPS), verdict=verdict_of(fit.global_step == STEPS))
    yield Row(
        "steps the scaler left out",
        ", ".join(map(str, left_out)),
        aim=", ".join(map(str, planned)),
        verdict=verdict_of(left_out == planned),
        note=f"weights as after the step before; the scale fell {halved} times",
    )
    wrong = [step for step in run.steps if step and not _equal(run.snapshot(step).weights, witness.weights[step])]
    yield Row(
        "snapshots that are not the weights of their step",
        len(wrong),
        f"of {len(run.steps)}",
        aim="0",
        verdict=verdict_of(not wrong and len(run.steps) == STEPS + 1),
        note=f"steps {wrong[:5]}" if wrong else "bit by bit, buffers too",
    )


def _equal(one: dict[str, Tensor], other: dict[str, Tensor], names: list[str] | None = None) -> bool:
    return all(torch.equal(one[name], other[name]) for name in (names or other))


PARTS: dict[str, Part] = {"skipped steps": skipped_steps}
