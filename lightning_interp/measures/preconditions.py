# SPDX-License-Identifier: Apache-2.0
"""What measures may demand of an observation; whatever is missing becomes a `MeasureSkipped` with the reason."""

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.finite import all_finite
from lightning_interp.core.records import Observation, Part, Split


def require_split(observation: Observation, split: Part) -> None:
    """Demand that the probe has examples of one split.

    Raises:
        MeasureSkipped: It has none; the message says how to provide them.
    """
    if observation.has_split(split):
        return
    remedy = "give the trainer a validation loader" if split == "heldout" else "the training data gave no examples"
    raise MeasureSkipped(f"the probe has no {split} examples: {remedy}")


def require_finite(value: float, what: str) -> float:
    """Return the value if it is a finite number.

    Raises:
        MeasureSkipped: The value is NaN or infinite.
    """
    if not math.isfinite(value):
        raise MeasureSkipped(f"{what} is not finite ({value})")
    return value


def require_scores(observation: Observation, split: Part) -> Tensor:
    """Class scores [example, class] of one split, whether or not its classes are known.

    Raises:
        MeasureSkipped: The split is missing, the module gives no class scores, or some are NaN or infinite.
    """
    require_split(observation, split)
    logits = observation.outputs(split).logits
    if logits is None:
        raise MeasureSkipped("the module gives no class scores for the probe: pass probe_step= (--probe-step)")
    if not len(logits):
        raise MeasureSkipped(f"the probe has no {split} examples")
    if not all_finite(logits):
        raise MeasureSkipped(f"some {split} logits are not finite")
    return logits


def require_classes(observation: Observation, split: Part) -> tuple[Tensor, Tensor]:
    """Class scores [example, class] and class indices [example] of one split.

    Raises:
        MeasureSkipped: The split is missing, the module gives no class scores, some are NaN or infinite, or a target is
            not one of the classes.
    """
    logits, targets = require_scores(observation, split), observation.outputs(split).targets
    if targets is None:
        raise MeasureSkipped(f"the {split} examples have no known classes: let probe_step= (--probe-step) return targets")
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise MeasureSkipped(
            f"{split} targets lie in {int(targets.min())} .. {int(targets.max())}, there are {logits.shape[1]} classes: "
            "let probe_step= (--probe-step) leave out ignored examples"
        )
    return logits, targets


def layer_activations(observation: Observation, split: Split) -> dict[str, Tensor]:
    """Activations [stimulus, unit] of every layer that has them, layers whose values are not finite left out.

    Raises:
        MeasureSkipped: No layer has any; the message is the reason the first one gave.
    """
    require_split(observation, split)
    found: dict[str, Tensor] = {}
    reasons = []
    for layer in observation.layers:
        try:
            values = observation.activations(layer, split)
        except MeasureSkipped as reason:
            reasons.append(str(reason))
            continue
        if values.isfinite().all():
            found[layer] = values
        else:
            reasons.append(f"activations of {layer} are not finite")
    if not found:
        raise MeasureSkipped(reasons[0] if reasons else "no activation layer is selected: pass layers=")
    return found


def layer_means(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """Per-layer values as ``name/<layer>`` beside their unweighted mean as ``name``; empty for no layers."""
    if not values:
        return {}
    return {name: mean(values.values()), **{f"{name}/{key}": value for key, value in values.items()}}


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, exactly rounded sum."""
    items = list(values)
    return math.fsum(items) / len(items)
