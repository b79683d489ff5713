# SPDX-License-Identifier: Apache-2.0
"""Which weights count: the selected floating-point parameters of a snapshot, tied ones once."""

from torch import Tensor

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.finite import all_finite
from lightning_interp.core.records import Observation


def float_weights(observation: Observation) -> dict[str, Tensor]:
    """Selected floating-point tensors by name; of names that share one tensor, the first.

    Raises:
        MeasureSkipped: None is selected, or one holds NaN or infinity.
    """
    found = unread_weights(observation)
    for name, tensor in found.items():
        if not all_finite(tensor):
            raise MeasureSkipped(f"weight {name} is not finite")
    return found


def unread_weights(observation: Observation) -> dict[str, Tensor]:
    """The same without a look at their numbers, which costs a pass over all of them.

    Raises:
        MeasureSkipped: None is selected.
    """
    found: dict[str, Tensor] = {}
    seen: set[tuple[object, ...]] = set()
    for name in observation.parameters:
        tensor = observation.weight(name)
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if not tensor.is_floating_point() or not tensor.numel() or place in seen:
            continue
        seen.add(place)
        found[name] = tensor
    if not found:
        raise MeasureSkipped("no floating-point parameter is selected: pass parameters=")
    return found


def weight_matrices(observation: Observation) -> dict[str, Tensor]:
    """Selected tensors of two axes or more as matrices [out, rest].

    A matrix with a single row or column has rank one whatever it holds; it counts as a vector and is left out.

    Raises:
        MeasureSkipped: There is none, or a selected weight is not finite.
    """
    tensors = {name: tensor.flatten(1) for name, tensor in float_weights(observation).items() if tensor.ndim > 1}
    matrices = {name: tensor for name, tensor in tensors.items() if min(tensor.shape) > 1}
    if not matrices:
        raise MeasureSkipped("no selected parameter is a matrix")
    return matrices
