# SPDX-License-Identifier: Apache-2.0
"""A first training in a fresh environment: ``python clean_training.py ROOT NAMESPACE``.

NAMESPACE is `lightning.pytorch` or `pytorch_lightning`. 200 steps with the monitor and its analyzer, Lightning's CSVLogger,
an offline W&B run, and a checkpoint every 20 steps. Also says how many snapshots were measured, and with which copy of the
package.
"""

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import lightning_interp

STEPS, EVERY = 200, 20
PATIENCE_S = 300.0


def examples(count: int, seed: int) -> TensorDataset:
    """Points in ten dimensions, of three classes."""
    x = torch.randn(count, 10, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def classifier(lightning: Any) -> Any:
    """A module of the namespace's own class; the class is the script's, as it is a user's."""

    class Classifier(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

        def forward(self, x: Any) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    return Classifier()


def main(root: Path, namespace: str) -> None:
    """Train, and wait until all snapshots were observed."""
    lightning = import_module(namespace)
    loggers, callbacks = import_module(f"{namespace}.loggers"), import_module(f"{namespace}.callbacks")
    torch.manual_seed(0)
    trainer = lightning.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=[loggers.CSVLogger(root, name="", version="csv"), loggers.WandbLogger(save_dir=root, offline=True)],
        callbacks=[
            lightning_interp.InterpMonitor(root / "run", every_n_steps=EVERY, background="process"),
            callbacks.ModelCheckpoint(root / "checkpoints", every_n_train_steps=EVERY, save_top_k=-1),
        ],
        log_every_n_steps=5,
        enable_progress_bar=False,
    )
    trainer.fit(classifier(lightning), DataLoader(examples(320, 0), 32), DataLoader(examples(64, 1), 64))
    run, deadline = lightning_interp.open_run(root / "run"), time.monotonic() + PATIENCE_S
    while run.analysis.get("stage") != "finished":
        if run.analysis.get("stage") in ("stopped", "failed") or time.monotonic() > deadline:
            raise SystemExit(f"the analysis did not finish: {run.analysis}")
        time.sleep(0.2)
    assert trainer.global_step == STEPS and run.all_records[-1].step == STEPS, [r.step for r in run.all_records]
    assert "heldout_loss" in run.series, sorted(run.series)
    print(f"{len(run.all_records)} records with {lightning_interp.__file__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
