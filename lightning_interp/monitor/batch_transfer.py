# SPDX-License-Identifier: Apache-2.0
"""The batch transfer hooks of a training, applied to the probe without touching the training's own objects."""

import copy
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_interp.capture import Transfer, as_loaded
from lightning_interp.core.batches import to_cpu
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.namespaces import is_overridden
from lightning_interp.core.records import Batch, Split

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
else:
    from lightning_interp.monitor.lightning_types import LightningDataModule, LightningModule, Trainer

_BEFORE, _MOVE, _AFTER = "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"
_STAGES = {"train": "TRAINING", "heldout": "VALIDATING"}
"""Names among the `RunningStage` of the trainer's own namespace."""


def batch_transfer(trainer: Trainer, module: LightningModule) -> Transfer:
    """What the training does to a batch between loader and step, for `build_probe`; `as_loaded` where it does nothing."""
    datamodule = getattr(trainer, "datamodule", None)
    hooks = {name: _owner(name, datamodule, module) for name in (_BEFORE, _AFTER)}
    present = [name for name, owner in hooks.items() if owner is not None]
    return BatchTransfer(trainer, module, datamodule, present) if present else as_loaded


class BatchTransfer:
    """Runs the overridden hooks on copies that believe to be in training or in validation.

    Args:
        trainer: The trainer, only read.
        module: The module; parameters are shared with the copies, everything else is theirs.
        datamodule: The data module; copies are shallow, for it may hold the data.
        hooks: Names of the hooks that are overridden.
    """

    def __init__(
        self, trainer: Trainer, module: LightningModule, datamodule: LightningDataModule | None, hooks: list[str]
    ) -> None:
        self.owners = (datamodule, *module.modules())
        self._trainer, self._module, self._datamodule = trainer, module, datamodule
        # A batch moves to the device only where a hook waits for it there.
        self._hooks = [name for name in (_BEFORE, _MOVE, _AFTER) if name in hooks or (name == _MOVE and _AFTER in hooks)]
        self._copies: dict[Split, tuple[LightningDataModule | None, LightningModule]] = {}

    def __call__(self, batch: Batch, split: Split, dataloader_idx: int = 0) -> Batch:
        """The batch as the step would get it.

        Raises:
            ProbeError: The module cannot be copied, or a hook failed.
        """
        try:
            if split not in self._copies:
                self._copies[split] = self._copy(split)
            # A copy: what a hook writes into may be the data set's own, and the training applies the hook itself.
            return self._apply(to_cpu(batch), *self._copies[split], dataloader_idx)
        except Exception as err:
            raise ProbeError(f"the batch transfer hooks cannot be applied ({type(err).__name__}: {err})") from err

    def _apply(
        self, batch: Batch, datamodule: LightningDataModule | None, module: LightningModule, dataloader_idx: int
    ) -> Batch:
        for name in self._hooks:
            hook = getattr(_owner(name, datamodule, module) or module, name)
            batch = hook(batch, self._module.device, dataloader_idx) if name == _MOVE else hook(batch, dataloader_idx)
        return batch

    def _copy(self, split: Split) -> tuple[LightningDataModule | None, LightningModule]:
        """Copies with a trainer that says which stage it is: hooks augment training batches only."""
        trainer = copy.copy(self._trainer)
        stages = import_module(type(trainer.state).__module__).RunningStage
        trainer.state = replace(self._trainer.state, stage=stages[_STAGES[split]])
        memo = _shared(self._module)
        memo[id(self._trainer)] = trainer
        if self._datamodule is not None:
            memo[id(self._datamodule)] = self._datamodule
        module = copy.deepcopy(self._module, memo)
        module.trainer = trainer  # Lightning leaves it out of copies
        for name in ("log", "log_dict"):  # would land among the results of the training
            setattr(module, name, _nothing)
        module.train(self._module.training and split == "train")
        datamodule = copy.copy(self._datamodule)
        if datamodule is not None:
            datamodule.trainer = trainer
        return datamodule, module


def _owner(
    name: str, datamodule: LightningDataModule | None, module: LightningModule
) -> LightningDataModule | LightningModule | None:
    """Whose hook Lightning calls: the data module's if it overrides it, else the module's; None if neither does."""
    for owner in (datamodule, module):
        if owner is not None and is_overridden(name, owner):
            return owner
    return None


def _shared(module: LightningModule) -> dict[int, Any]:
    """Deep copy memo of what stays common: parameters, data, and tensors of a graph, which cannot be copied."""
    shared: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Dataset | DataLoader) or (isinstance(value, Tensor) and not value.is_leaf):
                shared[id(value)] = value
    return shared


def _nothing(*args: object, **kwargs: object) -> None:
    """Stands in for `log`."""
