# SPDX-License-Identifier: Apache-2.0
"""The small training in the other Lightning namespace, `pytorch_lightning`."""

from typing import Any

import pytorch_lightning as pl
import torch
from three_classes import data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader


class Classifier(pl.LightningModule):
    """A two-layer network on ten numbers, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-2)


class Data(pl.LightningDataModule):
    """Its loaders."""

    def train_dataloader(self) -> Any:
        return DataLoader(data(), batch_size=32)

    def val_dataloader(self) -> Any:
        return DataLoader(data(40), batch_size=20)
