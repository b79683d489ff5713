# SPDX-License-Identifier: Apache-2.0
"""An ordinary classifier with the monitor added: handwritten digits, a small MLP, under a minute on a CPU.

No task is declared, so the run gets what holds for any network: losses and accuracies on a fixed probe, weight norms,
spectra, sparsity, the held-out percentile, and phases. A network that generalizes from the start gets the verdict
`early_generalization`: most do.

Needs scikit-learn for its copy of the data (in the `test` extra).
"""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_interp import InterpMonitor


class DigitsMLP(L.LightningModule):
    """Two hidden layers of 64 units, as anyone would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch."""
        images, digits = batch
        loss = cross_entropy(self(images), digits)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Cross-entropy and accuracy of one held-out batch."""
        images, digits = batch
        scores = self(images)
        self.log("val_loss", cross_entropy(scores, digits), prog_bar=True)
        self.log("val_accuracy", (scores.argmax(dim=1) == digits).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def digits_loaders() -> tuple[DataLoader, DataLoader]:
    """Training and validation loaders of 8 x 8 images with pixels in 0 .. 1."""
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    examples = TensorDataset(images, torch.tensor(digits.target))
    train, heldout = random_split(examples, [0.8, 0.2], generator=torch.Generator().manual_seed(0))
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(heldout, batch_size=512)


def main(dirpath: Path | None = None, max_steps: int = 1000) -> InterpMonitor:
    """Train and say where the results are."""
    L.seed_everything(0)
    monitor = InterpMonitor(dirpath)
    train, heldout = digits_loaders()
    logger = CSVLogger("lightning_logs", name="plain_digits")
    L.Trainer(accelerator="cpu", max_steps=max_steps, logger=logger, callbacks=[monitor]).fit(DigitsMLP(), train, heldout)
    print(f"run directory: {monitor.run_dir}")
    print(f"verdict: {monitor.timeline.verdict if monitor.timeline else 'none yet'}")
    return monitor


if __name__ == "__main__":
    main()
