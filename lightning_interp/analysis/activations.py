# SPDX-License-Identifier: Apache-2.0
"""Recording layer outputs of a replica: hooks for one forward, reduced to [stimulus, unit]."""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightning_interp.batches import tensors_of
from lightning_interp.names import split_call, strip_wrappers

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


@contextmanager
def recorded_outputs(replica: nn.Module, layers: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Collect each layer's reduced output [example, unit] of the forwards run inside the block, latest wins."""
    modules = {strip_wrappers(name): module for name, module in replica.named_modules()}
    outputs: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    handles = []
    for name in {split_call(layer)[0] for layer in layers} & set(modules):

        def hook(module: nn.Module, _: object, output: object, name: str = name) -> None:
            call = calls[name] = calls.get(name, -1) + 1
            key = name if call == 0 else f"{name}#{call}"
            tensor = next(tensors_of(output), None)
            if key in layers and tensor is not None:
                outputs[key] = reduce_output(tensor.detach(), module)

        handles.append(modules[name].register_forward_hook(hook))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


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


def gather_stimuli(batches: list[Mapping[str, Tensor]], layer: str, sizes: list[int], *, splits: int) -> Tensor | None:
    """Chosen stimuli and units of one layer from its outputs batch by batch.

    None where some batch has no such output, or where its units differ from batch to batch.

    Args:
        batches: Recorded outputs of every batch.
        layer: Layer name.
        sizes: Examples in every batch; an output with another first axis is not per example.
        splits: Number of splits that share the 256 stimuli.
    """
    found = [outputs.get(layer) for outputs in batches]
    rows = [output for output, size in zip(found, sizes, strict=True) if output is not None and len(output) == size]
    if len(rows) != len(batches) or len({row.shape[1] for row in rows}) != 1:
        return None
    stacked = torch.cat([row.float().cpu() for row in rows])
    return stacked[choose_stimuli(len(stacked), splits=splits)][:, choose_units(layer, stacked.shape[1])]
