# SPDX-License-Identifier: Apache-2.0
"""A training whose step works in the training alone, so that no loss can be computed of it afterwards."""

import math
from typing import Any

from small_training import Classifier
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class InItsTraining(Classifier):
    """Its network is at hand only between the hooks of a batch, and every way to a loss goes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.at_hand: list[nn.Module] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.at_hand = [self.net]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.at_hand = []

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.at_hand = [self.net]

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.at_hand = []

    def forward(self, x: Tensor) -> Tensor:
        return self.at_hand[0](x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        scores = self(batch[0])
        self.log("val_loss", cross_entropy(scores, batch[1]))
        self.log("val_acc", (scores.argmax(1) == batch[1]).float().mean())


class Grokks(InItsTraining):
    """Logs what a network does that fits by step 30 and generalizes from step 800 on."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.global_step
        self.log("loss", 1.1 * math.exp(-step / 6) + 1e-4)
        self.log("train_acc", 1.0 if step >= 30 else 0.4)
        return Classifier.training_step(self, batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])
        late = self.global_step >= 800
        self.log("val_loss", 0.01 if late else 3.0)
        self.log("val_acc", 1.0 if late else 0.34)
