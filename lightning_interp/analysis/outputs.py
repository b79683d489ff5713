# SPDX-License-Identifier: Apache-2.0
"""Finding the loss of an arbitrary module on the probe (INTERFACES 3), and saying which way was taken.

Each route is a function from a replica and a batch to `ProbeOutputs`. They are tried in a fixed order on the first batch of
the first snapshot; what is chosen there is kept for the whole run, so that the numbers never change meaning. Only a guess
may be given up later, for the module's own loss, and then everything is measured with that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.analysis.guessed_outputs import describe, first_line, mapping_outputs, pair_outputs
from lightning_interp.analysis.module_loss import AT_EPOCH_END, StepLoss, has_own, step_loss
from lightning_interp.analysis.reduction import Reduction, as_mean, find_reduction
from lightning_interp.analysis.replica import eager, to_replica
from lightning_interp.analysis.trainer_stand_in import STEPS, StepName
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.randomness import repeatable_randomness
from lightning_interp.core.records import Batch, ProbeOutputs, ProbeStep
from lightning_interp.store.analysis_state import WEIGHTS_ONLY


@dataclass(frozen=True)
class LossSource:
    """How outputs are found.

    Attributes:
        name: One of `argument`, `probe_step`, `pair`, `mapping`, `validation_step`, `training_step`.
        call: The route itself.
        note: One line for the user, with what was tried where that matters.
        loss: Of the module's own step: under which name its loss was found (`name`), and how it sums up (`reduction`).
    """

    name: str
    call: ProbeStep
    note: str
    loss: dict[str, str] = field(default_factory=dict)

    @property
    def is_guess(self) -> bool:
        """Whether the loss is made here from what the module puts out, so that the module's own may be another."""
        return self.name in _GUESSES

    @property
    def is_share(self) -> bool:
        """Whether the module gives a batch's share of a loss, and not a loss."""
        return self.loss.get("reduction") == "share"


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
        return _checked(_GIVEN["probe_step"], replica, batch)
    failures: list[str] = []
    for route in _GUESSES.values():
        try:
            guess = _checked(route, replica, batch)
        except ProbeError as err:
            failures.append(f"{route.name}: {err}")
        else:
            return better_source(guess, replica, batch) or guess
    found = _by_own_step(replica, batch, failures)
    if found is not None:
        return found
    raise ProbeError(
        f"no loss can be found for this module and batch; {WEIGHTS_ONLY}. Tried " + "; ".join(failures) + ". "
        "Pass probe_step=fn (--probe-step PKG.MOD:FN) with fn(module, batch) -> ProbeOutputs(loss, logits, targets), or "
        "give the module such a method."
    )


def _by_own_step(replica: nn.Module, batch: Batch, failures: list[str]) -> LossSource | None:
    """The loss of the module's own steps, the first that gives one; None if none does, and why is added to the failures."""
    shares: list[LossSource] = []
    for step in STEPS:
        try:
            source = _own_source(step, replica, batch)
        except ProbeError as err:
            failures.append(f"{step}: {err}")
            continue
        if not source.is_share:
            return source
        shares.append(source)  # of how many examples it is a share only the module knows: rather a mean
    if not shares and has_own(replica, "on_validation_epoch_end"):
        try:
            shares.append(_own_source("validation_step", replica, batch, name=AT_EPOCH_END))
        except ProbeError as err:
            failures.append(f"on_validation_epoch_end: {err}")
    return shares[0] if shares else None


def route_by_name(name: str, *, probe_step: ProbeStep | None, loss: dict[str, str] | None = None) -> LossSource:
    """The route an earlier analyzer of the same run chose.

    Args:
        name: Its name.
        probe_step: The user's own function, if given.
        loss: What was found out about the loss of the module's own step (`LossSource.loss`).

    Raises:
        ProbeError: It was the `probe_step` argument and none is given now.
    """
    routes: dict[str, LossSource] = _GIVEN | _GUESSES
    routes |= {step: _step_source(step, loss or {}) for step in STEPS}
    if probe_step is not None:
        routes["argument"] = LossSource("argument", probe_step, "loss by the probe_step argument")
    if name not in routes:
        raise ProbeError(
            f"{WEIGHTS_ONLY}: this run's outputs come from its {name}, which is not given now; "
            "pass the same probe_step= (--probe-step)"
        )
    return routes[name]


def better_source(guess: LossSource, replica: nn.Module, batch: Batch, *, least: float = 0.0) -> LossSource | None:
    """The module's own loss, if it has one that is something else than a guess; None while they agree.

    Args:
        guess: The route in use.
        replica: The module.
        batch: Any batch of the probe.
        least: Difference up to which losses are one, whatever their size: both round.
    """
    better: LossSource | None = None
    for step in STEPS:
        try:
            own = _own_source(step, replica, batch)
        except ProbeError:
            continue  # the module gives no loss of its own by this step
        theirs, ours = (evaluate(route.call, replica, batch).loss for route in (own, guess))
        if _agree(theirs.double().mean(), ours.double().mean(), torch.finfo(theirs.dtype).eps, least):
            return None
        note = (
            f"the module's {step} gives {float(theirs):.4g} where {guess.note} gives {float(ours.double().mean()):.4g}: "
            "its own loss is used, and no accuracy is reported; pass probe_step= (--probe-step) to have one"
        )
        better = better or replace(own, note=note)
        if own.loss["name"] != "return":  # a number without a name may also be an accuracy: the training step tells
            break
    return better


def own_probe_step(replica: nn.Module, batch: Batch) -> ProbeOutputs:
    """Outputs by the module's `probe_step(batch)`."""
    return replica.probe_step(batch)  # type: ignore[operator,no-any-return]


def evaluate(call: Callable[[nn.Module, Batch], Any], replica: nn.Module, batch: Batch) -> Any:
    """One route on one batch, eagerly and without gradients; what a user's function gives is not checked here."""
    with torch.no_grad(), eager(), repeatable_randomness():
        return call(replica, to_replica(batch, replica))


GUESS_TOLERANCE = 0.01
"""A guessed loss this far (relative) from the module's own is not used."""


def _agree(own: Tensor, guess: Tensor, rounding: float, least: float) -> bool:
    """Whether two losses are one, the module's being rounded to a share of itself."""
    off = (own - guess).abs()
    return bool(off <= max(GUESS_TOLERANCE, 4 * rounding) * own.abs() + max(least, 1e-12 * GUESS_TOLERANCE))


def _own_source(step: StepName, replica: nn.Module, batch: Batch, *, name: str | None = None) -> LossSource:
    """The route by the module's own step, with what its loss is called and how it sums up.

    Args:
        step: Which step.
        replica: The module.
        batch: Any batch.
        name: Where to look (`step_loss`).

    Raises:
        ProbeError: There is no such step, it gives no loss, or another one when asked again.
    """
    if not has_own(replica, step):
        raise ProbeError(f"the module has no {step}")
    found: StepLoss = evaluate(partial(step_loss, step=step, name=name), replica, batch)
    again = partial(step_loss, step=step, name=found.name, place=found.place)
    if name is not None and not torch.equal(found.value, evaluate(again, replica, batch).value):
        raise ProbeError(f"{found.name.partition(':')[2]} of a batch depends on what was validated before it")
    reduction = find_reduction(lambda part: float(evaluate(again, replica, part).value), batch, found.name)
    source = _step_source(step, {"name": found.name, "reduction": reduction, "place": str(found.place)})
    return replace(source, note=f"{source.note}{found.words}{_SAYS[reduction]}")


def _step_source(step: StepName, loss: dict[str, str]) -> LossSource:
    def outputs(replica: nn.Module, batch: Batch) -> ProbeOutputs:
        found = step_loss(replica, batch, step, name=loss.get("name"), place=int(loss["place"]) if "place" in loss else None)
        return ProbeOutputs(as_mean(found.value, batch, loss.get("reduction", "mean")))

    return LossSource(step, outputs, f"loss by the module's {step}", loss)


def _checked(route: LossSource, replica: nn.Module, batch: Batch) -> LossSource:
    """The route, after it gave outputs of the right kind once."""
    try:
        outputs = evaluate(route.call, replica, batch)
    except (ProbeError, torch.OutOfMemoryError):
        raise
    except Exception as err:  # the user's own probe_step may raise anything
        raise ProbeError(f"{route.name} failed on the probe ({type(err).__name__}: {first_line(err)})") from err
    if not isinstance(outputs, ProbeOutputs):
        raise ProbeError(f"{route.name} returned {describe(outputs)}, expected ProbeOutputs(loss, logits, targets)")
    if not isinstance(outputs.loss, Tensor) or outputs.loss.ndim > 1:
        raise ProbeError(f"{route.name} gives a loss that is neither a scalar nor one value per example")
    return route


_SAYS: dict[Reduction, str] = {
    "mean": "",
    "sum": "; it is a sum over the batch, and divided by its examples here",
    "share": "; each batch has its share of it, and the shares are added up here",
}
_GIVEN = {"probe_step": LossSource("probe_step", own_probe_step, "loss by the module's probe_step")}
_GUESSES = {
    "pair": LossSource("pair", pair_outputs, "loss from (x, y) batches: module(x) against y"),
    "mapping": LossSource("mapping", mapping_outputs, "loss from dict batches: module(**batch).loss"),
}
