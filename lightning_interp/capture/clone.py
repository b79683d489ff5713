# SPDX-License-Identifier: Apache-2.0
"""Copying a module's state while the training thread waits: nothing but the copy happens here."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_interp.capture.buffers import CopySet, SnapshotBuffers
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.names import strip_wrappers


@dataclass(frozen=True)
class RawSnapshot:
    """A snapshot on its way from the training thread to the writer: private copies, nothing converted yet.

    Attributes:
        step: Optimizer step.
        epoch: Epoch the step belongs to.
        copies: Copies by state_dict name, tied tensors once, and of the values the user's code logged; not yet read, since
            reading waits for the device.
        aliases: Name of a tied tensor -> the name it is stored under.
        frozen: Names of parameters that do not train at this step.
        copy_ms: Milliseconds the training thread spent on the copy.
    """

    step: int
    epoch: int
    copies: CopySet
    aliases: Mapping[str, str]
    frozen: frozenset[str] = frozenset()
    copy_ms: float = 0.0


def state_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Live state_dict tensors by name without wrapper prefixes; values that are no tensors are left out."""
    return {strip_wrappers(name): value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def parameter_names(module: nn.Module, *, without: Collection[str] = ()) -> tuple[str, ...]:
    """Names that parameters have in the state_dict, in its order: a module may give others there than `named_parameters`.

    Args:
        module: The module.
        without: Parameters to leave out, by their names among `named_parameters` without wrapper prefixes.
    """
    named = ((strip_wrappers(name), value) for name, value in module.named_parameters())  # tied ones once
    at = {(value.data_ptr(), value.shape): name for name, value in named if name not in without}
    tensors = state_tensors(module)
    found: set[str] = set()
    seen: set[str] = set()
    for name, value in tensors.items():
        owner = at.get((value.data_ptr(), value.shape))
        if owner is not None and (owner not in seen or not value.numel()):  # empty ones have no address of their own
            found.add(name)
            seen.add(owner)
    copied = set(at.values()) - seen  # a state_dict may give copies of its own: those go by name
    return tuple(name for name in tensors if name in found or name in copied)


def check_capturable(module: nn.Module) -> None:
    """Refuse parameters that cannot be copied faithfully, before training starts.

    Raises:
        ConfigError: A tensor is sharded, sparse, quantized or has no storage, or shares its name with another once wrapper
            prefixes are gone; the message names it and the way out.
    """
    names = Counter(strip_wrappers(name) for name in module.state_dict())
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ConfigError(
            f"InterpMonitor: two tensors are named `{twice[0]}` once the prefixes `module.` and `_orig_mod.` are removed. "
            "Rename the submodule that is called `module`."
        )
    for name, tensor in state_tensors(module).items():
        reason = _unsupported(tensor)
        if reason:
            raise ConfigError(
                f"InterpMonitor: `{name}` is {reason}, which this version does not capture. "
                "Remove the monitor from this run, or train the module unsharded and with ordinary dense parameters."
            )


def _unsupported(tensor: Tensor) -> str | None:
    if type(tensor).__name__ == "DTensor":
        return "a sharded DTensor"
    if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
        return "a lazy parameter without a shape yet (run one batch through the module first)"
    if tensor.is_meta:
        return "on the meta device (no values)"
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided:
        return f"of layout {tensor.layout}"
    return "complex" if tensor.is_complex() else None


def take_snapshot(
    module: nn.Module, buffers: SnapshotBuffers, *, step: int, epoch: int, scalars: Mapping[str, Tensor | float]
) -> RawSnapshot | None:
    """Copy every state_dict tensor and every logged scalar; no value is read.

    Cost: one pass over the bytes of the state_dict, no synchronization.

    Returns:
        The copies, None where the writer still holds all the buffers.
    """
    started = time.perf_counter()
    unique, aliases = _untie(state_tensors(module))
    copies = buffers.take(unique)
    if copies is None:
        return None
    copies.copy(unique, scalars)
    return RawSnapshot(step, epoch, copies, aliases, _frozen(module, unique), 1e3 * (time.perf_counter() - started))


def _frozen(module: nn.Module, unique: Mapping[str, Tensor]) -> frozenset[str]:
    """Names of tensors of the state_dict that do not train: by their memory, by name where the state_dict gives copies."""
    still = {name: each.data_ptr() for name, each in module.named_parameters() if not each.requires_grad}
    if not still:
        return frozenset()
    addresses, there = set(still.values()), {tensor.data_ptr() for tensor in unique.values()}
    found = {name for name, tensor in unique.items() if tensor.data_ptr() in addresses}
    copied = {strip_wrappers(name) for name, address in still.items() if address not in there}
    return frozenset(found | (copied & unique.keys()))


def _untie(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors that are the same memory once, and the other names they go by."""
    owner: dict[tuple[object, ...], str] = {}
    unique: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and key in owner:
            aliases[name] = owner[key]
        else:
            owner[key] = name
            unique[name] = tensor
    return unique, aliases
