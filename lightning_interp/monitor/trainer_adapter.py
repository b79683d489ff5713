# SPDX-License-Identifier: Apache-2.0
"""What the callback reads from a Lightning Trainer; nothing is changed there."""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_interp.analysis.trainer_stand_in import SETTINGS
from lightning_interp.capture import MOST_LOADERS, combined, first_loader, further_loaders, is_combined, is_map_style
from lightning_interp.core.batches import example_count, tensors_of
from lightning_interp.core.console import say
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.namespaces import is_overridden
from lightning_interp.core.outcome import OUTCOME_STEP
from lightning_interp.core.records import Batch
from lightning_interp.measures.logged_names import logged_name, record_name
from lightning_interp.monitor.batch_transfer import batch_transfer
from lightning_interp.monitor.logged_steps import LoggedSteps
from lightning_interp.monitor.training_context import NO_HELDOUT, TrainingContext

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
else:
    from lightning_interp.monitor.lightning_types import LightningModule, Trainer

SANITY_BATCHES = 8
"""Batches of the sanity check that may become the probe."""
MOST_GROUPS = 4
"""Most values of one setting that are kept of a training with many parameter groups."""
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


def training_of(trainer: Trainer, module: LightningModule, batch: Batch = None) -> TrainingContext:
    """The training as it starts, with the batch it starts with if that is at hand."""
    heldout, limits, train = _heldout(trainer), _most_batches(trainer), trainer.train_dataloader
    mode = _mode(trainer.fit_loop.epoch_loop.val_loop)
    together = is_combined(heldout) and mode not in ("", "sequential")
    whole = is_combined(train) and (together or heldout is None)
    return TrainingContext(
        root=Path(trainer.default_root_dir),
        step=trainer.global_step,
        epoch=trainer.current_epoch,
        max_steps=_length(trainer),
        device=str(module.device),
        # Beside validation batches of one loader the first is what losses can be compared on.
        train_data=combined(train, _mode(trainer.fit_loop)) if whole else first_loader(train),
        first_of_train="" if whole or not is_combined(train) else str(next(iter(train))) if isinstance(train, dict) else "0",
        heldout_data=combined(heldout, mode) if together else first_loader(heldout),
        further_heldout=() if together or heldout is None else further_loaders(heldout, limits),
        heldout_later=heldout is None and trainer.enable_validation,
        transfer=batch_transfer(trainer, module),
        loggers=trainer.loggers,
        settings=_plain_settings(trainer),
        first_batch=batch,
        most_batches={
            "train": trainer.num_training_batches,
            "heldout": max(limits, default=float("inf")) if together else next(iter(limits), float("inf")),
        },
        no_heldout=_why_no_heldout(trainer),
    )


def _plain_settings(trainer: Trainer) -> dict[str, float]:
    """What a step may read of its Trainer that is a finite number."""
    found = {}
    for name in SETTINGS:
        with suppress(Exception):  # of gradient accumulation that changes, or of a trainer of the user's own
            value = getattr(trainer, name)
            if isinstance(value, int | float) and math.isfinite(value):
                found[name] = value
    return found


def _mode(loop: Any) -> str:
    """How Lightning combines the loaders of a loop, which nothing public tells; empty where it cannot be found."""
    return str(getattr(getattr(loop, "_combined_loader", None), "_mode", ""))


def tell_untrained(trainer: Trainer) -> None:
    """Say that a fit had nothing to do, where that is so: no step, no run directory."""
    zero = [name for name in ("max_steps", "max_epochs", "limit_train_batches") if getattr(trainer, name) == 0]
    if zero or trainer.num_training_batches == 0:
        why = f"{zero[0]}=0" if zero else "the training loader has no batches"
        say(f"nothing was trained ({why}): there is no run to watch")


def _length(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole training, None where it is open or cannot be told."""
    try:
        steps = trainer.estimated_stepping_batches
    except Exception:  # of gradient accumulation that changes, or of a trainer of the user's own
        steps = trainer.max_steps
    return int(steps) if 0 < steps < float("inf") else None  # -1 of a stream that has epochs to end it


def _heldout(trainer: Trainer) -> Any:
    """The validation loaders, None where there are none, or none yet.

    Before Lightning has asked for them, and of a module without a `validation_step`, they are those passed to `fit`. It asks
    late where there is no sanity check and the first epoch ends without a validation.
    """
    if trainer.limit_val_batches == 0:
        return None
    if trainer.enable_validation and trainer.val_dataloaders is not None:
        return trainer.val_dataloaders
    # Nothing public has them yet; a hook of the user's that makes loaders is left to Lightning.
    source = getattr(trainer.fit_loop.epoch_loop.val_loop, "_data_source", None)
    passed = None if source is None or source.is_module() else source.instance
    passed = getattr(passed, "iterables", passed)
    return passed if trainer.enable_validation or is_map_style(first_loader(passed)) else None


def _most_batches(trainer: Trainer) -> list[float]:
    """Batches of each validation loader in one pass."""
    known = list(trainer.num_val_batches)
    limit = trainer.limit_val_batches
    return known or ([float(limit)] * MOST_LOADERS if isinstance(limit, int) else [])


def _why_no_heldout(trainer: Trainer) -> tuple[str, str]:
    """What to say where there is no validation data, and what to do about it."""
    if trainer.limit_val_batches == 0:
        return "limit_val_batches=0 leaves no validation data", "raise it, or pass probe="
    return NO_HELDOUT


def sanity_was_whole(trainer: Trainer, seen: int) -> bool:
    """Whether the sanity check showed every validation batch: as many as there are, or fewer than it would have taken."""
    if not 0 < seen <= SANITY_BATCHES:
        return False
    ran_out = seen < min(trainer.num_sanity_val_batches[0], SANITY_BATCHES)
    return ran_out or seen == trainer.num_val_batches[0]


class _NumbersStayOnTheGpu(TorchFunctionMode):
    """Nothing on a GPU is read as a number of python's; NaN stands for it.

    Lightning makes such numbers of what the progress bar shows whenever it is asked for logged values of whatever kind
    (2.6, `_ResultCollection.metrics`), and each of them waits for the device. They go nowhere when it is not asked for those
    of the progress bar.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.item and args[0].device.type != "cpu":
            return math.nan
        return func(*args, **(kwargs or {}))


def logged_values(trainer: Trainer, *, wait: bool = True) -> dict[str, Tensor | float]:
    """What the user's code logged, without our own names.

    Args:
        trainer: The trainer.
        wait: Whether values may be computed and waited for, which is so at the end of a training. Between steps Lightning
            only hands out what was logged.
    """
    with nullcontext() if wait else _NumbersStayOnTheGpu():
        logged = trainer.callback_metrics
    return {name: value for name, value in logged.items() if record_name(name) is None}


def look_at_logged(trainer: Trainer, logged: LoggedSteps) -> None:
    """Note what was logged, right after a validation, or after an epoch once Lightning has its averages."""
    logged.look(logged_values(trainer, wait=False), step=trainer.global_step, kind="average")


def publish(trainer: Trainer, latest: Mapping[str, float]) -> None:
    """Put results where early stopping, checkpoints and tuners look for metrics."""
    if latest:
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in latest.items()})


def snapshot_scalars(
    trainer: Trainer, batch: Batch | None, logged: LoggedSteps, *, validated: int | None = None
) -> dict[str, Tensor | float]:
    """What to keep with a snapshot: what the user's code logged, when, and what the training is set to.

    Settings come first: where only some can be shown, these are.

    Args:
        trainer: The trainer.
        batch: The latest batch, None at the end of the training.
        logged: When values were logged, up to the last look.
        validated: Optimizer step of the latest validation, or None if there was none.
    """
    told = {} if validated is None else {logged_name(OUTCOME_STEP): float(validated)}
    values = logged_values(trainer, wait=batch is None)
    logged.look(values, step=trainer.global_step, kind="average" if batch is None else "batch")
    return {**training_settings(trainer, batch), **told, **values, **logged.scalars(values)}


def training_settings(trainer: Trainer, batch: Batch | None) -> dict[str, Tensor | float]:
    """What the training is set to after this step, by names that no logged value has; nothing where it cannot be read.

    ``interp/lr`` and ``interp/weight_decay`` of the optimizers' parameter groups: where they differ, ``interp/lr/1``
    and so on are the other values in their order, four at most. ``interp/batch_size`` is the number of examples of a
    whole optimizer step over all processes, by the examples of this batch.

    Args:
        trainer: The trainer; no tensor on a GPU is read, a learning rate that is one is copied as logged values are.
        batch: The latest batch, None where there is none at hand.
    """
    try:
        settings = dict(_group_settings(trainer))
        first = next((tensor for tensor in tensors_of(batch) if tensor.ndim), None)
        if first is not None:
            examples = example_count(batch) * trainer.accumulate_grad_batches * trainer.world_size
            settings[logged_name("batch_size")] = float(examples)
    except Exception:  # an optimizer of the user's own may hold anything; a figure without it is no reason to stop
        return {}
    return settings


def _group_settings(trainer: Trainer) -> Iterator[tuple[str, Tensor | float]]:
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    for name in ("lr", "weight_decay"):
        values: list[Tensor | float] = []
        for value in (_readable(group[name]) for group in groups if group.get(name) is not None):
            if not any(_is_same(value, known) for known in values):
                values.append(value)
            if len(values) == MOST_GROUPS:  # a group for each parameter would be thousands to compare
                break
        for index, value in enumerate(values):
            yield logged_name(f"{name}/{index}" if index else name), value


def _readable(value: Tensor | float) -> Tensor | float:
    """The number, except on a GPU, which would have to be waited for."""
    return value if isinstance(value, Tensor) and value.device.type != "cpu" else float(value)


def _is_same(value: Tensor | float, other: Tensor | float) -> bool:
    if isinstance(value, Tensor) or isinstance(other, Tensor):
        return value is other
    return value == other
