# SPDX-License-Identifier: Apache-2.0
"""The user's project behind the run directories of `tests/data`: its module, its data, its LightningCLI.

Names, shapes and numbers here stay as they are: run directories, checkpoints and a config.yaml that earlier versions wrote
refer to them. ``python old_project.py fit --config config.yaml`` is the project's own command line.
"""

from itertools import product
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

BITS, CONSTANTS, CLASSES = 6, 2, 4
TRAIN_EXAMPLES, HELDOUT = 32, slice(40, 56)


class OldClassifier(L.LightningModule):
    """Parities of two pairs of bits by 8 hidden units; it groks within 1,000 steps. 108 parameters train, 2 do not."""

    def __init__(self, hidden: int = 8, lr: float = 1e-2, weight_decay: float = 0.3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.always = nn.Parameter(torch.ones(CONSTANTS), requires_grad=False)
        self.net = nn.Sequential(nn.Linear(BITS + CONSTANTS, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))
        self.readout = self.net[-1]  # a second name for the same tensors
        self.lr, self.weight_decay = lr, weight_decay

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.cat([x, self.always.expand(len(x), -1)], dim=1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), self.lr, weight_decay=self.weight_decay)


class OldData(L.LightningDataModule):
    """Patterns of six bits in an order that no random stream decides: 32 to train on, 16 held out."""

    def __init__(self, examples: int = TRAIN_EXAMPLES) -> None:
        super().__init__()
        patterns = torch.tensor(list(product((-1.0, 1.0), repeat=BITS)))
        x = patterns[[(37 * index + 11) % len(patterns) for index in range(len(patterns))]]
        y = 2 * (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] * x[:, 3] > 0).long()
        self.train, self.heldout = TensorDataset(x[:examples], y[:examples]), TensorDataset(x[HELDOUT], y[HELDOUT])

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=len(self.train))

    def val_dataloader(self) -> Any:
        return DataLoader(self.heldout, batch_size=len(self.heldout))


def build() -> nn.Module:
    """Factory for ``--module old_project:build``."""
    return OldClassifier()


def main(arguments: list[str] | None = None) -> None:
    """The project's command line."""
    from lightning.pytorch.cli import LightningCLI

    LightningCLI(OldClassifier, OldData, args=arguments)


if __name__ == "__main__":
    main()
