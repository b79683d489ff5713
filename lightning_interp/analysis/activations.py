# SPDX-License-Identifier: Apache-2.0
"""Recording layer outputs of a replica: hooks for one forward, reduced to [stimulus, unit]."""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

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
_TOKENS_FIRST = (
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
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


class RecordedOutputs(dict[str, KeptOutput]):
    """What is kept of each layer on one batch, and of the others why nothing is.

    Args:
        layers: Names of layers.
        examples: Examples in the batch.

    Attributes:
        calls: How often each module was called with all examples.
        reasons: Why nothing is kept of a layer, by its name.
    """

    def __init__(self, layers: tuple[str, ...], examples: int) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._layers, self._examples = layers, examples

    def why_not(self, layer: str) -> str:
        """Why nothing is kept of a layer."""
        name, call = split_call(layer)
        if not self.calls[name]:
            return self.reasons.get(name, "it is not called in the forward")
        if call >= self.calls[name]:
            times = f"{self.calls[name]} time{'s' if self.calls[name] > 1 else ''}"
            return f"it is called {times} in the forward; the first call is {name}, the second {name}#1"
        return self.reasons.get(layer, f"nothing is kept of {self._examples} examples")


@contextmanager
def recorded_outputs(
    replica: nn.Module, layers: tuple[str, ...], rows: Tensor, *, examples: int, axes: dict[str, int] | None = None
) -> Iterator[RecordedOutputs]:
    """Collect of each layer what is kept of its outputs in the forwards run inside the block; ``name`` is its first call.

    It is copied as the layer gives it. To hold on to whole outputs would keep their memory from the layers that follow, and
    one of those may write into it.

    Args:
        replica: The module.
        layers: Names of layers; one whose output is not per example is left out.
        rows: Examples of the batch that are kept.
        examples: Examples in the batch.
        axes: Axis of the examples in each layer's output as earlier batches told it; what this batch tells is added.
    """
    modules = {strip_wrappers(name): module for name, module in replica.named_modules()}
    outputs = RecordedOutputs(layers, examples)
    axes = {} if axes is None else axes
    handles = []
    for name in {split_call(layer)[0] for layer in layers} & set(modules):

        def hook(module: nn.Module, _: object, output: object, name: str = name) -> None:
            call = outputs.calls[name]
            key = name if call == 0 else f"{name}#{call}"
            tensor = _first_tensor(output)
            axis = None if tensor is None else axis_of_examples(tensor, module, examples=examples, known=axes.get(key))
            if tensor is None or axis is None:  # a step may also ask for something else, such as a single example
                gives = "no tensor" if tensor is None else f"a tensor of shape {tuple(tensor.shape)}"
                outputs.reasons[key] = f"it gives {gives}, in which no axis is that of the {examples} examples"
                return
            outputs.calls[name] += 1
            if key not in layers:
                return
            axes.setdefault(key, axis)
            outputs[key] = _kept(reduce_output(tensor.detach().movedim(axis, 0), module), rows, key)

        handles.append(modules[name].register_forward_hook(hook))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def axis_of_examples(output: Tensor, module: nn.Module, *, examples: int, known: int | None = None) -> int | None:
    """The axis of a layer's output that counts the examples, None where none does or several might.

    Args:
        output: What the layer gave.
        module: The layer; where torch's own take tokens first (``batch_first=False``), so do their outputs.
        examples: Examples in the batch.
        known: The axis that an earlier batch told.
    """
    axes = [axis for axis, size in enumerate(output.shape) if size == examples]
    if known is not None:
        return known if known in axes else None
    if output.ndim == 3 and 1 in axes and _takes_tokens_first(module):
        return 1
    return axes[0] if axes and (axes[0] == 0 or len(axes) == 1) else None


def _takes_tokens_first(module: nn.Module) -> bool:
    parts = module.modules() if isinstance(module, _TOKENS_FIRST) else ()
    return any(getattr(part, "batch_first", None) is False for part in parts)


def _first_tensor(output: object) -> Tensor | None:
    """First tensor of an output, of sequences that were packed the last step of each; scalars as one example."""
    packed = output[0] if isinstance(output, tuple) and output and isinstance(output[0], PackedSequence) else output
    if isinstance(packed, PackedSequence):
        padded, lengths = pad_packed_sequence(packed, batch_first=True)
        return padded[torch.arange(len(padded)), lengths - 1]
    tensor = next(tensors_of(output), None)
    return tensor if tensor is None or tensor.ndim else tensor.reshape(1)


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


def why_not_gathered(batches: Sequence[RecordedOutputs], layer: str) -> str:
    """Why `gather_stimuli` gives nothing for a layer."""
    lacking = next((outputs for outputs in batches if layer not in outputs), None)
    if lacking is not None:
        return lacking.why_not(layer)
    widths = sorted({outputs[layer].width for outputs in batches})
    return f"it gives {widths[0]} units on one batch and {widths[-1]} on another"


def missing_line(reasons: Mapping[str, str]) -> str:
    """Of which layers nothing is kept and why, for the user."""
    layers: dict[str, list[str]] = {}
    for layer, reason in reasons.items():
        layers.setdefault(reason, []).append(layer)
    told = "; ".join(f"no output per example from {', '.join(names)}: {reason}" for reason, names in layers.items())
    return f"{told}; layers= names others"


def repeated_line(calls: Mapping[str, int], layers: Sequence[str]) -> str:
    """Which layers are called more than once in a forward, for the user; empty where none is or all calls are told apart."""
    again = [name for name, count in calls.items() if count > 1 and name in layers and f"{name}#1" not in layers]
    if not again:
        return ""
    named = ", ".join(again)
    return f"called more than once for a batch, the first call is kept: {named}; layers='{again[0]}#1' is the second"
