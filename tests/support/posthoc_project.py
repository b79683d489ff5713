# SPDX-License-Identifier: Apache-2.0
"""A project whose training is over: its module, its probe, and a callback that saves where the monitor looks."""

import os
import signal
import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from lightning_interp import CyclicGroupTask, InterpMonitor
from lightning_interp.demo.data import ModularAdditionData
from lightning_interp.demo.model import ModularAddition
from lightning_interp.measures import Measure

P = 11
EVERY = 20


def build() -> nn.Module:
    return ModularAddition(P, d_model=16, lr=1e-2, weight_decay=1.0)


class Save(Callback):
    """A checkpoint wherever the monitor's schedule has a snapshot."""

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every, self._seen = folder, every, -1

    def _save(self, trainer) -> None:
        step = trainer.global_step
        if step != self._seen and step % self._every == 0:
            trainer.save_checkpoint(self._folder / f"step={step}.ckpt")
            self._seen = step

    def on_train_start(self, trainer, pl_module) -> None:
        self._save(trainer)

    def on_train_batch_end(self, trainer, *_, **__) -> None:
        self._save(trainer)


def train(out: Path, *, steps: int = 200) -> None:
    """Train with the monitor and with checkpoints at the same steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=False,
            callbacks=[
                InterpMonitor(out / "run", every_n_steps=EVERY, task=CyclicGroupTask(P, "add"), tca=True),
                Save(out / "checkpoints", EVERY),
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(build(), datamodule=ModularAdditionData(P, fraction=0.5, seed=0))
    finally:
        torch.set_num_threads(threads)


class Kills(Measure):
    """Ends its process at some steps the first time or always, as running out of memory would.

    Args:
        marker: Path beside which it counts, for each step, the processes it ended.
        once: Steps at which it ends a process the first time.
        always: Steps at which it always does, once those of `once` have had their turn, so that who dies first is no race.
    """

    name, names, needs = "kills", ("kills",), frozenset({"weights"})

    def __init__(self, marker: str, *, once: tuple[int, ...] = (), always: tuple[int, ...] = ()) -> None:
        self._marker, self._once, self._always = marker, once, always

    def killed(self, step: int) -> int:
        """How many processes it ended at this step."""
        path = Path(f"{self._marker}-{step}")
        return len(path.read_bytes()) if path.exists() else 0

    def __call__(self, observation):
        step = observation.snapshot.step
        while step in self._always and not all(map(self.killed, self._once)):
            time.sleep(0.01)
        if step in self._always or (step in self._once and not self.killed(step)):
            with Path(f"{self._marker}-{step}").open("ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"kills": 1.0}
