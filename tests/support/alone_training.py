# SPDX-License-Identifier: Apache-2.0
"""A training under `pytorch_lightning` with the monitor, and what its checkpoints say: ``python -m alone_training``."""

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from other_namespace import Classifier, Data

from lightning_interp import InterpMonitor
from lightning_interp.cli.main import main as command_line

STEPS = 24


class AugmentedData(Data):
    """Has a transfer hook that must know in which stage it is."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 1.0, batch[1]] if self.trainer.training else batch


def main() -> None:
    """Leave a run in ``run``, one of the checkpoints in ``later``; print which Lightning was loaded and an exit code."""
    checkpoints = pl.callbacks.ModelCheckpoint("checkpoints", every_n_train_steps=8, save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        callbacks=[InterpMonitor("run", every_n_steps=8, strict=True), checkpoints],
        logger=False,
        enable_progress_bar=False,
    )
    trainer.fit(Classifier(), datamodule=AugmentedData())
    order = [
        "analyze",
        "checkpoints",
        "--module",
        "other_namespace:Classifier",
        "--probe",
        "run",
        "--out",
        "later",
        "--json",
    ]
    code = command_line(order)
    loaded = sorted(name for name in sys.modules if name in ("lightning", "pytorch_lightning"))
    Path("outcome.json").write_text(json.dumps({"analyze": code, "loaded": loaded}), encoding="utf-8")


if __name__ == "__main__":
    main()
