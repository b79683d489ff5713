# SPDX-License-Identifier: Apache-2.0
"""What the callback reads from a Lightning Trainer; nothing is changed there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_interp.batch_transfer import batch_transfer
from lightning_interp.errors import ConfigError
from lightning_interp.namespaces import is_overridden
from lightning_interp.training import Training

SANITY_BATCHES = 8
"""Batches of the sanity check that may become the probe."""
_SHARDING = {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"}


def check_strategy(trainer: Trainer) -> None:
    """Refuse strategies that split parameters over processes; by name, so that none of them is imported."""
    sharding = {base.__name__ for base in type(trainer.strategy).__mro__} & _SHARDING
    if sharding:
        raise ConfigError(
            f"InterpMonitor: {sharding.pop()} shards parameters, which this version does not capture. "
            "Remove the monitor from this run, or train with one device or DDP."
        )


def built_later(module: LightningModule) -> bool:
    """Whether the module may make its layers in hooks that come after the callbacks' `setup`."""
    return is_overridden("setup", module) or is_overridden("configure_model", module)


def training_of(trainer: Trainer, module: LightningModule) -> Training:
    """The training as it starts."""
    steps = trainer.estimated_stepping_batches
    heldout = trainer.val_dataloaders
    return Training(
        root=Path(trainer.default_root_dir),
        step=trainer.global_step,
        epoch=trainer.current_epoch,
        max_steps=int(steps) if steps != float("inf") else None,
        device=str(module.device),
        train_data=first_loader(trainer.train_dataloader),
        heldout_data=first_loader(heldout) if trainer.enable_validation else None,
        transfer=batch_transfer(trainer, module),
        loggers=trainer.loggers,
        most_batches={
            "train": trainer.num_training_batches,
            "heldout": next(iter(trainer.num_val_batches), float("inf")),
        },
    )


def sanity_was_whole(trainer: Trainer, seen: int) -> bool:
    """Whether the sanity check showed every validation batch: as many as there are, or fewer than it would have taken."""
    if not 0 < seen <= SANITY_BATCHES:
        return False
    ran_out = seen < min(trainer.num_sanity_val_batches[0], SANITY_BATCHES)
    return ran_out or seen == trainer.num_val_batches[0]


def first_loader(loaders: Any) -> Any:
    """The loader, or the first of several."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return next(iter(loaders), None) if isinstance(loaders, list | tuple) else loaders


def logged_values(trainer: Trainer) -> dict[str, Tensor | float]:
    """What the user's code logged, without our own names."""
    return {name: value for name, value in trainer.callback_metrics.items() if not name.startswith("interp/")}
