# SPDX-License-Identifier: Apache-2.0
"""Trainings whose steps work in the training alone, so that no loss can be computed of them afterwards."""

from typing import Any

import lightning as L
import torch
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


class LogsAccuracyOnly(InItsTraining):
    """Percentages of the epoch and of the validation, and no loss."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("train_acc", self.percent(batch), on_step=False, on_epoch=True)
        return Classifier.training_step(self, batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", self.percent(batch))

    def percent(self, batch: Any) -> Tensor:
        return 100 * (self(batch[0]).argmax(1) == batch[1]).float().mean()


class LogsBoth(InItsTraining):
    """Its loss at each step and as an average over the epoch, and another of which nobody asks for more than that."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = Classifier.training_step(self, batch, batch_idx)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("d_loss", torch.ones(()))
        return loss


class BreaksLater(Classifier):
    """A step that can be repeated on one batch, and on another no more."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(x) * scale

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if not isinstance(self.trainer, L.Trainer):
            self.seen = batch[0] if self.seen is None else self.seen
            if not torch.equal(self.seen[:1], batch[0][:1]):
                raise ValueError("it knows another batch")
        loss = cross_entropy(self(batch[0], torch.ones(())), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", torch.rand(()))
