# SPDX-License-Identifier: Apache-2.0
"""The loss a Lightning module's own step gives or logs for a batch, taken from a replica without a Trainer."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.analysis.apart import empty_directory
from lightning_interp.analysis.loss_names import is_whole, rank_losses
from lightning_interp.analysis.trainer_stand_in import StepName, enter_step, stand_still
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Batch

_loader: ContextVar[int] = ContextVar("loader", default=0)
_LOADER_INDEX = "dataloader_idx"
AT_EPOCH_END = "epoch:"
"""Start of the name of a loss that the end of a validation logs."""
_PLACES = (1, 0)
"""What a step is told of its batch's place. Many draw pictures at the first of an epoch, or at multiples of a number; it is
told that it is the first if it fails otherwise, since some make there what they need later."""


@dataclass(frozen=True)
class StepLoss:
    """A loss that a step gave.

    Attributes:
        value: The loss, a scalar.
        name: Where it was found: ``return``, ``return:<key>``, ``log:<name>`` or ``epoch:<name>`` (logged at the end).
        others: Names of further losses beside it.
        place: Place that the batch was said to have among others.
    """

    value: Tensor
    name: str
    others: tuple[str, ...] = ()
    place: int = 0

    @property
    def words(self) -> str:
        """How it was found, after the name of the step."""
        kind, _, key = self.name.partition(":")
        how = {"log": f", logged as {key}", "epoch": f", logged as {key} at the end of an epoch"}.get(kind, "")
        how = how or (f", returned as {key}" if key else "")
        return how + (f"; the first of several losses: {', '.join(self.others)} is left out" if self.others else "")


def has_own(replica: nn.Module, name: str) -> bool:
    """Whether the module's class brings a method of its own, such as `validation_step`."""
    method = getattr(type(replica), name, None)
    return method is not None and not method.__module__.startswith(("lightning.", "pytorch_lightning."))


def step_loss(
    replica: nn.Module, batch: Batch, step: StepName, *, name: str | None = None, place: int | None = None
) -> StepLoss:
    """Loss of a batch by the module's own step: returned or logged, under any name a loss has.

    Args:
        replica: The module; what a training step changes in it is forgotten again.
        batch: The batch, on its device.
        step: Which step.
        name: Where the loss was found before (`StepLoss.name`), `AT_EPOCH_END` to look among what the end of a validation
            logs, None to look elsewhere.
        place: Place among batches with which it worked before, None to find one.

    Raises:
        ProbeError: The step fails on this batch, or neither returns nor logs a loss.
    """
    logged: dict[str, Any] = {}
    _take_over_logging(replica, logged)
    enter_step(replica, step)
    places = _PLACES if place is None else (place,)
    try:
        if name is not None and name.startswith(AT_EPOCH_END):
            result, found, place = None, *_logged_at_epoch_end(replica, batch, logged, places)
        else:
            result, place = _result(replica, batch, step, places)
            found = _losses(result, logged)
    except (ProbeError, torch.OutOfMemoryError):
        raise
    except Exception as err:
        raise ProbeError(f"{step} failed on the probe ({type(err).__name__}: {err})") from err
    return replace(_chosen(found, result, logged, step, None if name == AT_EPOCH_END else name), place=place)


@contextmanager
def batches_of_loader(index: int) -> Iterator[None]:
    """Inside, batches are those of a validation loader, by its place among them: a `validation_step` may ask."""
    token = _loader.set(index)
    try:
        yield
    finally:
        _loader.reset(token)


def _chosen(found: dict[str, Tensor], result: Any, logged: Mapping[str, Any], step: StepName, name: str | None) -> StepLoss:
    if name is not None:
        if name not in found:
            raise ProbeError(f"{step} gives no {name.partition(':')[2] or 'loss'} at this snapshot, as it did at the first")
        return StepLoss(_scalar(found[name], step), name)
    if found:
        first, *others = found
        kind, _, key = first.partition(":")
        beside = () if is_whole(key) else tuple(each.partition(":")[2] for each in others if each.startswith(f"{kind}:"))
        return StepLoss(_scalar(found[first], step), first, beside)
    if isinstance(result, Tensor) and result.numel() != 1:
        _scalar(result, step)
    names = ", ".join(map(str, logged)) or "nothing"
    raise ProbeError(f"{step} returns no loss and logs no loss (it logs {names}); pass probe_step= (--probe-step)")


def _scalar(value: Tensor, step: StepName) -> Tensor:
    if value.numel() != 1:
        raise ProbeError(f"{step} gives a loss of shape {tuple(value.shape)}, expected a scalar")
    return value.reshape(()) if torch.is_grad_enabled() else value.detach().reshape(())


def _losses(result: Any, logged: Mapping[str, Any]) -> dict[str, Tensor]:
    """Losses by where they were found, the best first."""
    numbers = {name: number for name, value in logged.items() if (number := _number(value)) is not None}
    named = {f"log:{name}": numbers[name] for name in rank_losses(numbers)}
    if isinstance(result, Tensor):
        others = [value for name, value in numbers.items() if f"log:{name}" not in named]
        # A step may return the accuracy that it logs.
        is_loss = result.numel() == 1 and not any(_is_same(result, other) for other in others)
        return ({"return": result} if is_loss else {}) | named
    if isinstance(result, Mapping):
        scalars = {str(key): number for key, value in result.items() if (number := _number(value)) is not None}
        return {f"return:{key}": scalars[key] for key in rank_losses(scalars)} | named
    if isinstance(result, list | tuple):
        parts = {f"return:{place}": part for place, part in enumerate(result) if _is_scalar(part)}
        return named | (parts if len(parts) == 1 else {})  # which of several it is, only a name can tell
    if isinstance(getattr(result, "loss", None), Tensor):
        return {"return:loss": result.loss} | named
    return named


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()


def _logged_at_epoch_end(
    replica: nn.Module, batch: Batch, logged: dict[str, Any], places: tuple[int, ...]
) -> tuple[dict[str, Tensor], int]:
    """Losses that the end of a validation of this batch alone logs, for steps that only collect."""
    if not has_own(replica, "on_validation_epoch_end"):
        raise ProbeError("the module has no on_validation_epoch_end")
    with empty_directory(needed=True):  # such a hook may save what it finds best
        if has_own(replica, "on_validation_epoch_start"):
            replica.on_validation_epoch_start()  # type: ignore[operator]
        _, place = _result(replica, batch, "validation_step", places)
        logged.clear()
        replica.on_validation_epoch_end()  # type: ignore[operator]
    numbers = {name: number for name, value in logged.items() if (number := _number(value)) is not None}
    return {f"{AT_EPOCH_END}{name}": numbers[name] for name in rank_losses(numbers)}, place


def _number(value: Any) -> Tensor | None:
    """A logged value as a scalar tensor; of a metric object, what it gave for this batch."""
    if callable(getattr(value, "compute", None)) and callable(getattr(value, "update", None)):
        cached = getattr(value, "_forward_cache", None)
        value = value.compute() if cached is None else cached
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return torch.tensor(float(value))
    return value.reshape(()) if isinstance(value, Tensor) and value.numel() == 1 else None


def _is_same(first: Tensor, second: Tensor) -> bool:
    return bool(first.detach().reshape(()).cpu().double() == second.detach().cpu().double())


def _take_over_logging(replica: nn.Module, logged: dict[str, Any]) -> None:
    """Replace what logs on this replica (instance attributes, the class is untouched); metrics start anew."""

    def log(name: str, value: Any, *_: object, **__: object) -> None:
        logged[name] = value

    def log_dict(values: Any, *_: object, **__: object) -> None:
        logged.update(values)

    own = replica.__dict__
    own["log"], own["log_dict"], own["print"] = log, log_dict, lambda *_, **__: None
    own["all_gather"] = lambda data, *_, **__: data
    for child in replica.modules():
        if any(base.__module__.startswith("torchmetrics") for base in type(child).__mro__):
            child.reset()  # type: ignore[operator]


class _TrainingStep(nn.Module):
    """A replica whose forward is its training step, so that all of its tensors can be lent for one call."""

    def __init__(self, replica: nn.Module) -> None:
        super().__init__()
        self.replica = replica

    def forward(self, batch: Batch, place: int) -> Any:
        return _call_step(self.replica, batch, "training_step", place)


def _result(replica: nn.Module, batch: Batch, step: StepName, places: tuple[int, ...]) -> tuple[Any, int]:
    """What a step gives for a batch, and the place with which it does."""
    if step == "training_step":
        stand_still(replica, needed=not getattr(replica, "automatic_optimization", True))
    *first, last = places
    for place in first:
        try:
            return _called(replica, batch, step, place), place
        except (ProbeError, torch.OutOfMemoryError):
            raise
        except Exception:  # what it says with the last place counts
            continue
    return _called(replica, batch, step, last), last


def _called(replica: nn.Module, batch: Batch, step: StepName, place: int) -> Any:
    if step == "training_step":
        return _call_training_step(replica, batch, place)
    return _call_step(replica, batch, step, place)


def _call_training_step(replica: nn.Module, batch: Batch, place: int) -> Any:
    """Run the step on copies of all tensors: it may move averages of weights, queues and centres, or step optimizers."""
    with torch.enable_grad(), empty_directory(needed=False):  # some steps differentiate on their own, or save something
        tensors = {**dict(replica.named_parameters()), **dict(replica.named_buffers())}
        lent = {f"replica.{name}": tensor.clone() for name, tensor in tensors.items()}
        return torch.func.functional_call(_TrainingStep(replica), lent, (batch, place))


def _call_step(replica: nn.Module, batch: Batch, name: StepName, place: int) -> Any:
    step = getattr(replica, name)
    parameters = inspect.signature(step).parameters
    required = [
        parameter
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name != _LOADER_INDEX
    ]
    named = {_LOADER_INDEX: _loader.get()} if _LOADER_INDEX in parameters else {}
    return step(batch, *(place for _ in required[1:]), **named)
