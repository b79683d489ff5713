# SPDX-License-Identifier: Apache-2.0
"""The networks that are trained with and without the monitor, and how people monitor them otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor

ALONE, MONITOR, DENSE = "alone", "InterpMonitor", "InterpMonitor, every step"
WANDB, SYNCHRONOUS = "wandb.watch", "synchronous hook"
LARGE = "transformer, 10 M"


@dataclass(frozen=True)
class Case:
    """A network and a batch for it.

    Attributes:
        name: For the table.
        build: Makes the network.
        inputs: Makes so many inputs.
        classes: Number of classes.
        batch: Examples in a batch.
        turn: Seconds of a turn: ten steps or more.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    classes: int
    batch: int
    turn: float = 0.5


class Transformer(nn.Module):
    """Embedding, encoder layers, readout of the last token."""

    def __init__(self, tokens: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.readout = nn.Linear(width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the last token's class."""
        out: Tensor = self.readout(self.encoder(self.embedding(tokens))[:, -1])
        return out


def cases() -> list[Case]:
    """From a step of about a millisecond to one of a second."""
    small = Case("MLP, 0.1 M", lambda: mlp(100, 256, 10), lambda n: torch.randn(n, 100), 10, 64)
    addition = Case(
        "modular-addition transformer, 0.2 M",
        lambda: Transformer(114, 128, 1, 4),
        lambda n: torch.randint(114, (n, 3)),
        113,
        512,
    )
    cnn = Case("CNN, 0.1 M", _cnn, lambda n: torch.randn(n, 3, 32, 32), 10, 32)
    large = Case(LARGE, lambda: Transformer(1000, 384, 5, 6), lambda n: torch.randint(1000, (n, 32)), 1000, 8, 2.5)
    return [small, addition, cnn, large]


def mlp(inputs: int, width: int, classes: int) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class Classifier(L.LightningModule):
    """Cross-entropy on a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean cross-entropy."""
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Held-out cross-entropy."""
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), 1e-3)


class WandbWatch(L.Callback):
    """`wandb.watch` on an offline run."""

    def __init__(self, root: Path) -> None:
        import wandb

        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        self.run = wandb.init(project="overhead", mode="offline", dir=str(root), settings=settings)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Watch."""
        self.run.watch(pl_module, log="all", log_freq=100)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Gradients' histograms are logged with the next row."""
        self.run.log({"step": trainer.global_step})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the run."""
        self.run.finish()


class SynchronousHook(L.Callback):
    """A monitor as people write it: spectra and norms of every matrix on the training thread, every 100 steps."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure."""
        if trainer.global_step % 100 == 0:
            for parameter in pl_module.parameters():
                matrix = parameter.detach().flatten(1) if parameter.ndim > 1 else parameter.detach()[None]
                torch.linalg.svdvals(matrix).square().sum().item()


MONITORS: dict[str, Callable[[Path], list[L.Callback]]] = {
    ALONE: lambda _: [],
    MONITOR: lambda folder: [InterpMonitor(folder / "run", close_timeout=1.0)],
    DENSE: lambda folder: [InterpMonitor(folder / "run", every_n_steps=1, max_overhead=1.0, close_timeout=1.0)],
    WANDB: lambda folder: [WandbWatch(folder)],
    SYNCHRONOUS: lambda _: [SynchronousHook()],
}
"""What watches a training, made for a folder."""


def train(case: Case, callbacks: list[L.Callback], root: Path, *, max_steps: int = -1, device: str = "cpu") -> None:
    """One training from the same seed on the CPU or the first GPU (``cuda``), for ever unless a callback ends it."""
    torch.manual_seed(0)
    inputs, targets = case.inputs(case.batch * 8), torch.randint(case.classes, (case.batch * 8,))
    dataset = TensorDataset(inputs, targets)
    trainer = L.Trainer(
        accelerator="cpu" if device == "cpu" else "gpu",
        devices=1,
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        check_val_every_n_epoch=10**9,
        num_sanity_val_steps=0,
        default_root_dir=root,
    )
    loader = DataLoader(dataset, batch_size=case.batch)
    trainer.fit(Classifier(case.build()), loader, DataLoader(dataset, batch_size=case.batch))
