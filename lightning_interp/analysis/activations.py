# SPDX-License-Identifier: Apache-2.0
"""Recording layer outputs of a replica: hooks for one forward, reduced to [stimulus, unit]."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from lightning_interp.core.batches import tensors_of
from lightning_interp.core.names import split_call, strip_wrappers

MOST_STIMULI = 256
"""Probe inputs whose activations are kept, both splits together."""
MOST_UNITS = 512
"""Units of a layer that are kept: a fixed subset drawn from the layer's name."""

_SPATIAL = (
    nn.Conv1d,
    nn.BatchNorm1d,
    nn.MaxPool1d,
    nn.AvgPool1d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
    nn.ConvTranspose1d,
)


def kept_entries(matrix: Tensor) -> Tensor:
    """Entries of a weight matrix to keep where there are no activations: evenly spaced rows and columns.

    Args:
        matrix: Two axes or more; the first counts as rows, the others together as columns.

    Returns:
        At most [256, 512] entries, float32.
    """
    flat = matrix.detach().flatten(1)
    rows, columns = (
        torch.linspace(0, size - 1, min(size, most)).round().long()
        for size, most in zip(flat.shape, (MOST_STIMULI, MOST_UNITS), strict=True)
    )
    return flat[rows][:, columns].float().contiguous()


@dataclass(frozen=True)
class KeptOutput:
    """What is kept of one layer's output on one batch.

    Attributes:
        entries: The chosen stimuli and units, [stimulus, unit]; float32 on the CPU.
        width: Units of the layer.
    """

    entries: Tensor
    width: int


@contextmanager
def recorded_outputs(
    replica: nn.Module, layers: tuple[str, ...], rows: Tensor, *, examples: int
) -> Iterator[dict[str, KeptOutput]]:
    """Collect of each layer what is kept of its outputs in the forwards run inside the block, latest call wins.

    It is copied as the layer gives it. To hold on to whole outputs would keep their memory from the layers that follow, and
    one of those may write into it.

    Args:
        replica: The module.
        layers: Names of layers; one whose output is not per example is left out.
        rows: Examples of the batch that are kept.
        examples: Examples in the batch.
    """
    modules = {strip_wrappers(name): module for name, module in replica.named_modules()}
    outputs: dict[str, KeptOutput] = {}
    calls: dict[str, int] = {}
    handles = []
    for name in {split_call(layer)[0] for layer in layers} & set(modules):

        def hook(module: nn.Module, _: object, output: object, name: str = name) -> None:
            call = calls[name] = calls.get(name, -1) + 1
            key = name if call == 0 else f"{name}#{call}"
            tensor = next(tensors_of(output), None)
            if key not in layers or tensor is None:
                return
            reduced = reduce_output(tensor.detach(), module)
            if len(reduced) == examples:
                outputs[key] = _kept(reduced, rows, key)

        handles.append(modules[name].register_forward_hook(hook))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _kept(output: Tensor, rows: Tensor, layer: str) -> KeptOutput:
    width = output.shape[1]
    entries = output[rows.to(output.device)]
    if width > MOST_UNITS:
        entries = entries[:, choose_units(layer, width).to(output.device)]
    return KeptOutput(entries.float().cpu(), width)


def reduce_output(output: Tensor, module: nn.Module) -> Tensor:
    """One vector per example: the mean over space for images and convolutions, the last token for sequences."""
    if output.ndim <= 1:
        return output.reshape(-1, 1)
    if output.ndim == 2:
        return output
    if output.ndim == 3 and not isinstance(module, _SPATIAL):
        return output[:, -1]
    return output.flatten(2).mean(2)


def choose_units(layer: str, width: int) -> Tensor:
    """Indices of the units kept: all up to 512, else a subset that depends on the layer's name alone."""
    if width <= MOST_UNITS:
        return torch.arange(width)
    generator = torch.Generator().manual_seed(zlib.crc32(layer.encode()))
    return torch.randperm(width, generator=generator)[:MOST_UNITS].sort().values


def choose_stimuli(examples: int, *, splits: int) -> Tensor:
    """Indices of the examples kept of one split, evenly spaced."""
    most = MOST_STIMULI // splits
    return torch.arange(examples) if examples <= most else torch.linspace(0, examples - 1, most).round().long()


def stimuli_of_batches(sizes: Sequence[int], *, splits: int) -> list[Tensor]:
    """For each batch of a split, which of its examples are kept, if so many splits share the 256 stimuli."""
    chosen = choose_stimuli(sum(sizes), splits=splits)
    starts = [0, *accumulate(sizes)]
    return [chosen[(chosen >= start) & (chosen < end)] - start for start, end in pairwise(starts)]


def gather_stimuli(batches: Sequence[Mapping[str, KeptOutput]], layer: str) -> Tensor | None:
    """Chosen stimuli and units of one layer over all batches.

    None where some batch has no such output, or where its units differ from batch to batch.
    """
    found = [outputs.get(layer) for outputs in batches]
    present = [kept for kept in found if kept is not None]
    if len(present) != len(batches) or len({kept.width for kept in present}) != 1:
        return None
    return torch.cat([kept.entries for kept in present])
