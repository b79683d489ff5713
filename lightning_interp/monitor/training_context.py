# SPDX-License-Identifier: Apache-2.0
"""What the monitor must know of the training around it, whatever framework runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from lightning_interp.capture import FurtherLoader, Transfer, as_loaded
from lightning_interp.core.records import Batch, Split
from lightning_interp.dashboards.loggers.logger_set import LightningLogger

NO_HELDOUT = ("no validation data", "give the trainer a validation loader, or pass probe=")


@dataclass(frozen=True)
class TrainingContext:
    """A training as it starts.

    Attributes:
        root: Where a run directory is made when none is named.
        step: Optimizer step it starts from.
        epoch: Epoch it starts from.
        max_steps: Length in optimizer steps, None where it is open.
        device: Device of the module.
        train_data: Training loader, or any other iterable.
        first_of_train: Name of the training loader that `train_data` is, where a training batch has a batch of several.
        heldout_data: First validation loader, None where there is none.
        further_heldout: The other validation loaders.
        no_heldout: Why there are no held-out examples, where there are none, and what to do about it.
        heldout_later: Whether validation data will be known at the first validation only.
        most_batches: Batches taken of one pass over a split, where that is limited (``overfit_batches``).
        transfer: What the training does to a batch between loader and step.
        loggers: Lightning loggers.
        settings: Numbers of a Trainer that a step may read.
        first_batch: The batch that is about to be trained on, None where it is not at hand.
        hands_batches: Whether batches are handed by as they pass, to become the probe where no loader can be indexed.
    """

    root: Path
    step: int = 0
    epoch: int = 0
    max_steps: int | None = None
    device: str = "cpu"
    train_data: object = None
    first_of_train: str = ""
    heldout_data: object = None
    further_heldout: Sequence[FurtherLoader] = ()
    no_heldout: tuple[str, str] = NO_HELDOUT
    heldout_later: bool = False
    most_batches: Mapping[Split, float] = field(default_factory=dict)
    transfer: Transfer = as_loaded
    loggers: Sequence[LightningLogger] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    first_batch: Batch = None
    hands_batches: bool = True


_WRAPPERS = {"_FabricModule": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Attribute that holds what a wrapper wraps, by the wrapper's class name: none of them need be imported here."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The user's own module inside what Fabric, DDP and `torch.compile` put around it; its tensors are the same."""
    while (name := next((base.__name__ for base in type(module).__mro__ if base.__name__ in _WRAPPERS), None)) is not None:
        module = getattr(module, _WRAPPERS[name])
    return module


def unwrapped_loader(loader: object) -> object:
    """The loader inside what Fabric puts around it: it draws the same examples, and can be asked which."""
    return getattr(loader, "_dataloader", loader) if type(loader).__name__ == "_FabricDataLoader" else loader
