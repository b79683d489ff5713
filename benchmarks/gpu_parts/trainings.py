# SPDX-License-Identifier: Apache-2.0
"""A training that would notice any disturbance, in every precision, eager and compiled; on a GPU or, to rehearse, the CPU.

The names below `noisy` are factories for `check_neutral`, which finds them by name from other processes: the device and the
compiler come from the environment.
"""

import logging
import os
import random
import warnings
from collections.abc import Collection
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

DEVICE, COMPILER = "INTERP_BENCH_DEVICE", "INTERP_BENCH_COMPILER"
"""Environment variables that factories read: ``cpu`` or ``cuda:0``; a backend of `torch.compile`."""
INPUTS, WIDTH, CLASSES = 32, 64, 5
DEPTH = 3
"""Matrix products from input to output."""
EXAMPLES, BATCH = 512, 32
OVERFLOWS = frozenset({3, 4, 20})
"""Optimizer steps at which the scaled loss is made to overflow, so that the gradient scaler leaves the step out."""


class Noisy(L.LightningModule):
    """An MLP with dropout and BatchNorm that logs to the progress bar, as people do.

    Args:
        overflows: Steps whose loss is infinite.
        hog: Share of the GPU that a forward in evaluation mode allocates besides, as a large module would.
    """

    def __init__(self, *, overflows: Collection[int] = (), hog: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(INPUTS, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, CLASSES),
        )
        self.overflows, self.hog = frozenset(overflows), hog

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        if self.hog and x.is_cuda and not self.training:
            torch.empty(int(self.hog * torch.cuda.mem_get_info(x.device)[1]), dtype=torch.uint8, device=x.device)
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean cross-entropy."""
        loss = cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss * float("inf") if self.global_step in self.overflows else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Held-out cross-entropy; with it the probe has held-out examples."""
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), 1e-3)


class NoisyExamples(Dataset[tuple[Tensor, Tensor]]):
    """Examples whose reading draws from python's, NumPy's and torch's random streams."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(EXAMPLES, INPUTS, generator=draw)
        self.targets = self.inputs[:, :CLASSES].argmax(dim=1)

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        shift = random.random() + np.random.rand() + torch.rand(()).item()
        return self.inputs[index] + 0.01 * shift, self.targets[index]


def loader() -> "DataLoader[tuple[Tensor, Tensor]]":
    """Shuffled examples, for training and as held-out ones."""
    return DataLoader(NoisyExamples(), batch_size=BATCH, shuffle=True)


def trainer(
    device: str, callbacks: list[Any], root: Path, *, max_steps: int, precision: Any = "32-true", validates: bool = False
) -> L.Trainer:
    """A Trainer that prints nothing. Half precision on a CPU scales gradients, too, which Lightning does only when told."""
    quiet()
    kind: dict[str, Any] = {"precision": precision}
    if device == "cpu" and precision == "16-mixed":
        kind = {"plugins": [MixedPrecision("16-mixed", "cpu")]}
    return L.Trainer(
        accelerator="cpu" if device == "cpu" else "gpu",
        devices=1,
        deterministic="warn",  # what has no deterministic kernel shows as a control that differs, not as an error
        max_steps=max_steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=1 if validates else 10**9,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        **kind,
    )


def quiet() -> None:
    """No advice about data workers and the like: what is measured is in the table."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def noisy(precision: str, *, compiled: bool = False, overflows: Collection[int] = ()) -> tuple[L.Trainer, Noisy, Any]:
    """Trainer, module and data of one training, as `check_neutral` wants them."""
    module = Noisy(overflows=overflows)
    if compiled:
        module.net = torch.compile(module.net, backend=os.environ[COMPILER])  # type: ignore[assignment]
    device = os.environ[DEVICE]
    return trainer(device, [], Path(gettempdir()), max_steps=-1, precision=precision), module, loader()


float32_eager = partial(noisy, "32-true")
float32_compiled = partial(noisy, "32-true", compiled=True)
bfloat16_eager = partial(noisy, "bf16-mixed")
bfloat16_compiled = partial(noisy, "bf16-mixed", compiled=True)
float16_eager = partial(noisy, "16-mixed", overflows=OVERFLOWS)
float16_compiled = partial(noisy, "16-mixed", compiled=True, overflows=OVERFLOWS)
