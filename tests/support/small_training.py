# SPDX-License-Identifier: Apache-2.0
"""A training of a second or so, for tests that look at the callback and not at the numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from noisy_training import quiet_trainer
from three_classes import data as data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset

from lightning_interp import InterpMonitor


class Classifier(L.LightningModule):
    """A two-layer network on ten numbers, three classes."""

    def __init__(self, *, lr: float = 1e-2) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), self.lr)


class NeedsTwoInputs(Classifier):
    """Its forward cannot be called on a batch's x, it logs no loss in validation, and it trains only with a real Trainer."""

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(x) * scale

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        scale = torch.tensor(float(self.trainer.train_dataloader is not None))
        return cross_entropy(self(batch[0], scale), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_score", self.net(batch[0]).mean())


class TurnsNaN(Classifier):
    """Its loss, and with it every weight, is NaN from step 30 on."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_step >= 30 else loss


class Stream(IterableDataset[Any]):
    """The same examples without an index."""

    def __init__(self, examples: int = 96) -> None:
        self.examples = list(data(examples))

    def __iter__(self) -> Any:
        return iter(self.examples)


def fit(
    root: Path,
    monitor: InterpMonitor,
    module: L.LightningModule | None = None,
    *,
    train: Any = None,
    heldout: Any = "default",
    max_steps: int = 60,
    also: Sequence[L.Callback] = (),
    **arguments: Any,
) -> L.Trainer:
    """Train a small network under a monitor."""
    torch.manual_seed(0)
    trainer = quiet_trainer(root, [monitor, *also], max_steps=max_steps, **arguments)
    train = DataLoader(data(), batch_size=32) if train is None else train
    heldout = DataLoader(data(40), batch_size=20) if isinstance(heldout, str) else heldout
    trainer.fit(Classifier() if module is None else module, train, heldout)
    return trainer
