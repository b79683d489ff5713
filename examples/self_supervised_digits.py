# SPDX-License-Identifier: Apache-2.0
"""Two self-supervised tasks at once, no labels: fill in hidden pixels and tell how an image was turned; seconds on a CPU.

Nothing here is a classifier that the monitor could score, so it takes the loss that `validation_step` logs, says so, and
gives no verdict on grokking. The report still has a page that makes sense: the shape of the loss, the losses of both tasks,
norms and spectra of every layer, sparsity, the trajectory of the weights, and the learning rate that falls over the run.

Needs scikit-learn for its copy of the data (in the `test` extra).
"""

import argparse
from pathlib import Path

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset

from lightning_interp import InterpMonitor


class TurnedDigits(Dataset):
    """8 x 8 images, each turned by a quarter, half or three quarters or not at all, with a part of them hidden."""

    def __init__(self, images: Tensor) -> None:
        draw = torch.Generator().manual_seed(0)
        turns = torch.randint(4, (len(images),), generator=draw)
        self.whole = torch.stack([image.rot90(int(turn)) for image, turn in zip(images, turns, strict=True)])
        self.shown = self.whole * (torch.rand(self.whole.shape, generator=draw) > 0.3)
        self.turns = turns

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"shown": self.shown[index], "whole": self.whole[index], "turn": self.turns[index]}


class TwoTasks(L.LightningModule):
    """One trunk, one head for the hidden pixels, one for the turn."""

    def __init__(self, max_steps: int) -> None:
        super().__init__()
        self.max_steps = max_steps
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.pixels = nn.Linear(64, 64)
        self.turn = nn.Linear(64, 4)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss of each task, and their sum."""
        inside = self.trunk(batch["shown"])
        filled = mse_loss(self.pixels(inside), batch["whole"].flatten(1))
        turned = cross_entropy(self.turn(inside), batch["turn"])
        return {"loss": filled + turned, "loss_pixels": filled, "loss_turn": turned}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Both tasks on one batch."""
        losses = self.losses(batch)
        self.log_dict({f"train_{name}": value for name, value in losses.items()})
        return losses["loss"]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Both tasks on one held-out batch."""
        self.log_dict({f"val_{name}": value for name, value in self.losses(batch).items()}, batch_size=len(batch["turn"]))

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW with a learning rate that falls to zero."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """Train, and say where the report is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-steps", type=int, default=1500)
    parser.add_argument("--dirpath", type=Path, help="run directory (default: a new one under interp_runs/)")
    args = parser.parse_args()
    L.seed_everything(0)
    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    train = DataLoader(TurnedDigits(images[:1400]), batch_size=128, shuffle=True)
    heldout = DataLoader(TurnedDigits(images[1400:]), batch_size=512)
    monitor = InterpMonitor(args.dirpath)
    trainer = L.Trainer(accelerator="cpu", max_steps=args.max_steps, logger=False, callbacks=[monitor])
    trainer.fit(TwoTasks(args.max_steps), train, heldout)
    print(f"report: {monitor.run_dir}/report.html")


if __name__ == "__main__":
    main()
