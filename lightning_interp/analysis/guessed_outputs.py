# SPDX-License-Identifier: Apache-2.0
"""Outputs by the shape of a batch: (x, y) against the module's forward, or a dict that the module takes whole."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.core.errors import ProbeError, ShapeError
from lightning_interp.core.records import Batch, ProbeOutputs
from lightning_interp.measures import cross_entropy

_IGNORED_LABEL = -100  # torch's default ignore_index


def pair_outputs(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Outputs for an (x, y) batch: cross-entropy for class indices, squared error for real-valued targets."""
    if not (isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor)):
        raise ProbeError(f"the batch is no (x, y) pair but {describe(batch)}")
    outputs = _forward(replica, (batch[0],), {})
    if not isinstance(outputs, Tensor):
        raise ProbeError(f"module(x) gives {describe(outputs)}, expected a tensor")
    return _compare(outputs, batch[1])


def mapping_outputs(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Outputs for a dict batch whose module returns something with `.loss` (and `.logits`)."""
    if not isinstance(batch, Mapping):
        raise ProbeError(f"the batch is no dict but {describe(batch)}")
    outputs = _forward(replica, (), batch)
    loss, logits = _member(outputs, "loss"), _member(outputs, "logits")
    if loss is None:
        raise ProbeError(f"module(**batch) gives {describe(outputs)} without a loss")
    targets = batch.get("labels", batch.get("label"))
    classifies = (
        logits is not None
        and isinstance(targets, Tensor)
        and logits.ndim == 2
        and targets.ndim == 1
        and not targets.is_floating_point()
    )
    return ProbeOutputs(loss, logits if classifies else None, targets if classifies else None)


def class_axis(outputs: tuple[int, ...], targets: tuple[int, ...]) -> int:
    """The one axis of `outputs` whose removal gives the shape of `targets`; never the first of several, which is the batch.

    Raises:
        ProbeError: There is none, or more than one.
    """
    first = min(1, len(outputs) - 1)  # a batch may hold as many examples as there are classes
    axes = [axis for axis in range(first, len(outputs)) if outputs[:axis] + outputs[axis + 1 :] == targets]
    if len(axes) != 1:
        kind = "no axis" if not axes else "more than one axis"
        raise ProbeError(f"{kind} of the outputs {outputs} can be the class axis for targets {targets}")
    return axes[0]


def describe(value: Any) -> str:
    """Kind and size of a value, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def first_line(err: Exception) -> str:
    """The start of an exception's message."""
    return (str(err).splitlines() or ["no message"])[0][:200]


def _forward(replica: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    try:
        return replica(*args, **kwargs)
    except torch.OutOfMemoryError:
        raise  # nothing is wrong with the batch; the analyzer moves to the CPU
    except Exception as err:
        raise ProbeError(f"forward cannot be called on the batch ({type(err).__name__}: {first_line(err)})") from err


def _compare(outputs: Tensor, targets: Tensor) -> ProbeOutputs:
    if targets.is_floating_point():
        return _squared_error(outputs, targets)
    axis = class_axis(tuple(outputs.shape), tuple(targets.shape))
    logits = outputs.movedim(axis, -1).reshape(-1, outputs.shape[axis])
    labels = targets.reshape(-1).long()
    kept = labels != _IGNORED_LABEL
    if not bool(kept.all()):  # picking rows copies them, and logits can be large
        logits, labels = logits[kept], labels[kept]
    try:
        losses = cross_entropy(logits, labels)
    except ShapeError as err:
        raise ProbeError(f"targets are no class indices for {logits.shape[1]} classes") from err
    return ProbeOutputs(losses, logits, labels)


def _squared_error(outputs: Tensor, targets: Tensor) -> ProbeOutputs:
    if bool(((targets == 0) | (targets == 1)).all()):
        raise ProbeError("real-valued targets that are all 0 or 1 may mean several losses")
    if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
        outputs = outputs.squeeze(-1)
    if outputs.shape != targets.shape:
        raise ProbeError(f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} differ in shape")
    error = (outputs.double() - targets.double()) ** 2
    return ProbeOutputs(error.reshape(len(error), -1).mean(1) if error.ndim else error)


def _member(value: Any, name: str) -> Tensor | None:
    found = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return found if isinstance(found, Tensor) else None
