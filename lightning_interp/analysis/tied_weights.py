# SPDX-License-Identifier: Apache-2.0
"""Weights a module ties: names of one tensor, of which a file may hold one alone (safetensors keeps no more)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_interp.core.errors import ProbeError
from lightning_interp.core.names import strip_wrappers


def tied_names(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of a state dict that share one tensor: the same memory, shape and strides. Wrapper prefixes are stripped."""
    names: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and tensor.numel():
            place = id(tensor) if tensor.is_meta else tensor.data_ptr()  # parameters without memory are told by themselves
            names[place, tensor.shape, tensor.stride(), tensor.dtype].append(strip_wrappers(name))
    return tuple(tuple(tied) for tied in names.values() if len(tied) > 1)


def with_tied(weights: Mapping[str, Tensor], tied: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """Weights with every tied name: those that are missing stand for the tensor of one that is there.

    Args:
        weights: Tensors by name.
        tied: Groups of names that share one tensor.

    Raises:
        ProbeError: Two names of a group are there and differ, so that the module cannot hold both.
    """
    complete = dict(weights)
    for group in tied:
        present = [name for name in group if name in weights]
        if not present:
            continue
        first = weights[present[0]]
        for name in present[1:]:
            if not _equal(first, weights[name]):
                raise ProbeError(
                    f"{present[0]} and {name} are one tensor in the module and differ in the checkpoint. "
                    "Let module= build a module that does not tie them"
                )
        complete |= {name: first for name in group if name not in weights}
    return complete


def _equal(one: Tensor, other: Tensor) -> bool:
    if one is other or (one.shape == other.shape and one.data_ptr() == other.data_ptr() and one.stride() == other.stride()):
        return True
    # A NaN is at the same place in both of two equal tensors, and differs from itself.
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
