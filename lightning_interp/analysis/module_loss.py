# SPDX-License-Identifier: Apache-2.0
"""The loss a Lightning module's own `validation_step` gives or logs, taken from a replica without a Trainer."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Batch

_loader: ContextVar[int] = ContextVar("loader", default=0)
_LOADER_INDEX = "dataloader_idx"
_LOSS_NAMES = ("loss", "val_loss", "val/loss", "valid_loss", "validation_loss", "test_loss")


class TrainerStandIn(SimpleNamespace):
    """What `validation_step` may read of a Trainer: the step and epoch of the snapshot, and that it validates."""

    def __getattr__(self, name: str) -> Any:
        raise ProbeError(f"validation_step reads trainer.{name}, which a replica does not have; pass probe_step=")


def attach_stand_in(replica: nn.Module, *, step: int, epoch: int) -> None:
    """Give a Lightning replica a read-only stand-in for its Trainer. Modules of other kinds are left alone."""
    if hasattr(type(replica), "trainer"):
        replica.trainer = TrainerStandIn(  # type: ignore[assignment]
            global_step=step,
            current_epoch=epoch,
            sanity_checking=False,
            training=False,
            validating=True,
            testing=False,
            predicting=False,
            world_size=1,
            global_rank=0,
            local_rank=0,
            is_global_zero=True,
        )


def has_validation_step(replica: nn.Module) -> bool:
    """Whether the module's class brings a `validation_step` of its own."""
    method = getattr(type(replica), "validation_step", None)
    return method is not None and not method.__module__.startswith(("lightning.", "pytorch_lightning."))


def validation_loss(replica: nn.Module, batch: Batch) -> Tensor:
    """Mean loss of a batch by the module's `validation_step`: returned, or logged under a name with "loss" in it.

    Raises:
        ProbeError: The step fails on this batch, or neither returns nor logs one loss.
    """
    logged: dict[str, Any] = {}
    _capture_logging(replica, logged)
    try:
        result = _call_step(replica, batch)
    except (ProbeError, torch.OutOfMemoryError):
        raise
    except Exception as err:
        raise ProbeError(f"validation_step failed on the probe ({type(err).__name__}: {err})") from err
    if isinstance(result, dict):
        result = result.get("loss")
    loss = result if isinstance(result, Tensor) else _logged_loss(logged)
    if loss.numel() != 1:
        raise ProbeError(f"validation_step gives a loss of shape {tuple(loss.shape)}, expected a scalar")
    return loss.reshape(())


@contextmanager
def batches_of_loader(index: int) -> Iterator[None]:
    """Inside, batches are those of a validation loader, by its place among them: a `validation_step` may ask."""
    token = _loader.set(index)
    try:
        yield
    finally:
        _loader.reset(token)


def _capture_logging(replica: nn.Module, logged: dict[str, Any]) -> None:
    """Replace `log` and `log_dict` on this replica (an instance attribute, the class is untouched)."""

    def log(name: str, value: Any, *_: object, **__: object) -> None:
        logged[name] = value

    def log_dict(values: Any, *_: object, **__: object) -> None:
        logged.update(values)

    replica.__dict__["log"], replica.__dict__["log_dict"] = log, log_dict


def _call_step(replica: nn.Module, batch: Batch) -> Any:
    step = replica.validation_step
    parameters = inspect.signature(step).parameters  # type: ignore[arg-type]
    required = [
        parameter
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name != _LOADER_INDEX
    ]
    named = {_LOADER_INDEX: _loader.get()} if _LOADER_INDEX in parameters else {}
    return step(batch, *(0 for _ in required[1:]), **named)  # type: ignore[operator]  # the batch's index


def _logged_loss(logged: dict[str, Any]) -> Tensor:
    numbers = {name: value for name, value in logged.items() if isinstance(value, Tensor | float | int)}
    exact = [name for name in _LOSS_NAMES if name in numbers]
    loose = [name for name in numbers if "loss" in name.lower()]
    if not exact and len(loose) != 1:
        found = ", ".join(map(str, logged)) or "nothing"
        raise ProbeError(f"validation_step returns no loss and logs no single loss (it logs {found}); pass probe_step=")
    value = numbers[exact[0] if exact else loose[0]]
    return value if isinstance(value, Tensor) else torch.tensor(float(value))
