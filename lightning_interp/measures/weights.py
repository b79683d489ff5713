# SPDX-License-Identifier: Apache-2.0
"""Which weights count: the selected floating-point and complex parameters of a snapshot, tied ones once."""

import torch
from torch import Tensor

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.finite import all_finite
from lightning_interp.core.records import Observation


def float_weights(observation: Observation) -> dict[str, Tensor]:
    """Selected floating-point tensors by name; of names that share one tensor, the first; complex ones by their two parts.

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
        if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel() or place in seen:
            continue
        seen.add(place)
        found[name] = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    if not found:
        raise MeasureSkipped("no floating-point parameter is selected: pass parameters=")
    return found


def weight_matrices(observation: Observation) -> dict[str, Tensor]:
    """Selected tensors of two axes or more as matrices [out, rest].

    A matrix with a single row or column has rank one whatever it holds; it counts as a vector and is left out, as is a
    complex one.

    Raises:
        MeasureSkipped: There is none, or a selected weight is not finite.
    """
    real = {name: each for name, each in float_weights(observation).items() if not observation.weight(name).is_complex()}
    tensors = {name: tensor.flatten(1) for name, tensor in real.items() if tensor.ndim > 1}
    matrices = {name: tensor for name, tensor in tensors.items() if min(tensor.shape) > 1}
    if not matrices:
        raise MeasureSkipped("no selected parameter is a matrix")
    return matrices
