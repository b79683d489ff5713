# SPDX-License-Identifier: Apache-2.0
"""Finding the loss of an arbitrary module on the probe (INTERFACES 3), and saying which way was taken.

Each route is a function from a replica and a batch to `ProbeOutputs`. They are tried in a fixed order on the first batch of
the first snapshot; what is chosen there is kept for the whole run, so that the numbers never change meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.analysis.module_loss import has_validation_step, validation_loss
from lightning_interp.analysis.replica import eager, to_replica
from lightning_interp.core.errors import ProbeError, ShapeError
from lightning_interp.core.records import Batch, ProbeOutputs, ProbeStep
from lightning_interp.measures import cross_entropy
from lightning_interp.store.analysis_state import WEIGHTS_ONLY

GUESS_TOLERANCE = 0.01
"""A guessed loss this far (relative) from the module's own is not used."""
_IGNORED_LABEL = -100  # torch's default ignore_index


@dataclass(frozen=True)
class LossSource:
    """How outputs are found.

    Attributes:
        name: One of `argument`, `probe_step`, `pair`, `mapping`, `validation_step`.
        call: The route itself.
        note: One line for the user, with what was tried where that matters.
    """

    name: str
    call: ProbeStep
    note: str


def find_loss_source(replica: nn.Module, batch: Batch, *, probe_step: ProbeStep | None) -> LossSource:
    """The first route that works on a batch.

    Args:
        replica: Private copy of the module, in evaluation mode.
        batch: First training batch of the probe.
        probe_step: The user's own function, if given; then nothing else is tried.

    Raises:
        ProbeError: None works; the message lists each reason and what to pass.
    """
    if probe_step is not None:
        return _checked(LossSource("argument", probe_step, "loss by the probe_step argument"), replica, batch)
    if callable(getattr(replica, "probe_step", None)):
        return _checked(_OWN_STEP, replica, batch)
    failures: list[str] = []
    for route in (_PAIR, _MAPPING):
        try:
            return _against_own_loss(_checked(route, replica, batch), replica, batch)
        except ProbeError as err:
            failures.append(f"{route.name}: {err}")
    try:
        return _checked(_VALIDATION, replica, batch)
    except ProbeError as err:
        failures.append(f"validation_step: {err}")
    raise ProbeError(
        f"no loss can be found for this module and batch; {WEIGHTS_ONLY}. Tried " + "; ".join(failures) + ". "
        "Pass probe_step=fn with fn(module, batch) -> ProbeOutputs(loss, logits, targets), or give the module such a method."
    )


def route_by_name(name: str, *, probe_step: ProbeStep | None) -> LossSource:
    """The route an earlier analyzer of the same run chose.

    Raises:
        ProbeError: It was the `probe_step` argument and none is given now.
    """
    routes = {route.name: route for route in (_OWN_STEP, _PAIR, _MAPPING, _VALIDATION)}
    if probe_step is not None:
        routes["argument"] = LossSource("argument", probe_step, "loss by the probe_step argument")
    if name not in routes:
        raise ProbeError(
            f"{WEIGHTS_ONLY}: this run's outputs come from its {name}, which is not given now; pass the same probe_step="
        )
    return routes[name]


def own_probe_step(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Outputs by the module's `probe_step(batch)`."""
    return replica.probe_step(batch)  # type: ignore[operator,no-any-return]


def own_loss(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Mean loss by the module's `validation_step`; no logits."""
    if not has_validation_step(replica):
        raise ProbeError("the module has no validation_step")
    return ProbeOutputs(validation_loss(replica, batch))


def pair_outputs(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Outputs for an (x, y) batch: cross-entropy for class indices, squared error for real-valued targets."""
    if not (isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor)):
        raise ProbeError(f"the batch is no (x, y) pair but {_describe(batch)}")
    outputs = _forward(replica, (batch[0],), {})
    if not isinstance(outputs, Tensor):
        raise ProbeError(f"module(x) gives {_describe(outputs)}, expected a tensor")
    return _compare(outputs, batch[1])


def mapping_outputs(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Outputs for a dict batch whose module returns something with `.loss` (and `.logits`)."""
    if not isinstance(batch, Mapping):
        raise ProbeError(f"the batch is no dict but {_describe(batch)}")
    outputs = _forward(replica, (), batch)
    loss, logits = _member(outputs, "loss"), _member(outputs, "logits")
    if loss is None:
        raise ProbeError(f"module(**batch) gives {_describe(outputs)} without a loss")
    targets = batch.get("labels", batch.get("label"))
    classifies = (
        logits is not None
        and isinstance(targets, Tensor)
        and logits.ndim == 2
        and targets.ndim == 1
        and not targets.is_floating_point()
    )
    return ProbeOutputs(loss, logits if classifies else None, targets if classifies else None)


def _forward(replica: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    try:
        return replica(*args, **kwargs)
    except torch.OutOfMemoryError:
        raise  # nothing is wrong with the batch; the analyzer moves to the CPU
    except Exception as err:
        raise ProbeError(f"forward cannot be called on the batch ({type(err).__name__}: {_first_line(err)})") from err


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


def _squared_error(outputs: Tensor, targets: Tensor) -> ProbeOutputs:
    if bool(((targets == 0) | (targets == 1)).all()):
        raise ProbeError("real-valued targets that are all 0 or 1 may mean several losses")
    if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
        outputs = outputs.squeeze(-1)
    if outputs.shape != targets.shape:
        raise ProbeError(f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} differ in shape")
    error = (outputs.double() - targets.double()) ** 2
    return ProbeOutputs(error.reshape(len(error), -1).mean(1) if error.ndim else error)


def _checked(route: LossSource, replica: nn.Module, batch: Batch) -> LossSource:
    """The route, after it gave outputs of the right kind once."""
    try:
        outputs = evaluate(route.call, replica, batch)
    except (ProbeError, torch.OutOfMemoryError):
        raise
    except Exception as err:  # the user's own probe_step may raise anything
        raise ProbeError(f"{route.name} failed on the probe ({type(err).__name__}: {_first_line(err)})") from err
    if not isinstance(outputs, ProbeOutputs):
        raise ProbeError(f"{route.name} returned {_describe(outputs)}, expected ProbeOutputs(loss, logits, targets)")
    if not isinstance(outputs.loss, Tensor) or outputs.loss.ndim > 1:
        raise ProbeError(f"{route.name} gives a loss that is neither a scalar nor one value per example")
    return route


def _against_own_loss(route: LossSource, replica: nn.Module, batch: Batch) -> LossSource:
    """The guess, unless the module's own validation loss is something else."""
    if not has_validation_step(replica):
        return route
    try:
        own = float(evaluate(own_loss, replica, batch).loss)
    except ProbeError:
        return route  # the module gives no loss of its own to compare with
    guess = float(evaluate(route.call, replica, batch).loss.double().mean())
    if abs(guess - own) <= GUESS_TOLERANCE * max(abs(own), 1e-12):
        return route
    note = (
        f"the module's validation_step gives {own:.4g} where {route.note} gives {guess:.4g}: its own loss is used, "
        "and no accuracy is reported; pass probe_step= to have one"
    )
    return LossSource("validation_step", own_loss, note)


def evaluate(call: ProbeStep, replica: nn.Module, batch: Batch) -> Any:
    """One route on one batch, eagerly and without gradients; what a user's function gives is not checked here."""
    with torch.no_grad(), eager():
        return call(replica, to_replica(batch, replica))


def _member(value: Any, name: str) -> Tensor | None:
    found = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return found if isinstance(found, Tensor) else None


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _first_line(err: Exception) -> str:
    return (str(err).splitlines() or ["no message"])[0][:200]


_OWN_STEP = LossSource("probe_step", own_probe_step, "loss by the module's probe_step")
_PAIR = LossSource("pair", pair_outputs, "loss from (x, y) batches: module(x) against y")
_MAPPING = LossSource("mapping", mapping_outputs, "loss from dict batches: module(**batch).loss")
_VALIDATION = LossSource("validation_step", own_loss, "loss by the module's validation_step")
