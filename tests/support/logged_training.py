# SPDX-License-Identifier: Apache-2.0
"""A training with W&B and TensorBoard, with and without the monitor: ``python logged_training.py ROOT``.

In a process of its own: the type checks of the tests draw from python's random stream.
"""

import hashlib
import json
import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from noisy_training import quiet_trainer
from patient_monitor import PATIENT, keep_every_snapshot
from small_training import Classifier, data
from torch.utils.data import DataLoader
from wandb_records import SETTINGS

from lightning_interp import InterpMonitor
from lightning_interp.dashboards.loggers import live_figure


def train(root: Path, callbacks: list[Any]) -> str:
    """What must not differ by a bit: random states and weights at the end of the script, as one hash."""
    L.seed_everything(7, verbose=False)
    wandb_logger = WandbLogger(project="test", save_dir=root, mode="offline", id=root.name, settings=SETTINGS)
    trainer = quiet_trainer(root, callbacks, max_steps=20, logger=[wandb_logger, TensorBoardLogger(root)])
    module = Classifier()
    trainer.fit(module, DataLoader(data(), batch_size=32, shuffle=True), DataLoader(data(40), batch_size=20))
    wandb_logger.experiment.finish()
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    weights = {name: tensor.tolist() for name, tensor in module.state_dict().items()}
    return hashlib.sha256(repr([states, weights]).encode()).hexdigest()


def main(root: Path) -> None:
    """Train without the monitor, then with it and everything it shows."""
    warnings.simplefilter("ignore")
    os.environ |= {"LIGHTNING_INTERP_REPORT": "1", "WANDB_DATA_DIR": str(root / "wandb_data")}
    live_figure.FIRST_S = 0.0
    keep_every_snapshot()
    found = []
    # With an analyzer process: while the end of the training waits for it, a live figure is drawn.
    monitor = InterpMonitor(root / "run", every_n_steps=5, **PATIENT)
    for name, callbacks in (("without", []), ("with", [monitor])):
        (root / name).mkdir()
        found.append(train(root / name, callbacks))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
