# SPDX-License-Identifier: Apache-2.0
"""From activations of a whole run to the tensor that a component analysis can read; everything done is on record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from lightning_interp.core.log_time import thinned
from lightning_interp.core.shapes import Float, Float64, Int, Shaped, Tensor
from lightning_interp.core.tca_settings import HISTORY
from lightning_interp.tca.checks import (
    Values,
    check_activations,
    check_choice,
    check_whole,
    checked_heldout,
    checked_labels,
    checked_steps,
)
from lightning_interp.tca.subset import highest_variance, stratified

Scale = Literal["rms", "none"]
"""``rms``: each snapshot divided by its root mean square; ``none``: values as they came."""

_LISTED = 5


@dataclass(frozen=True)
class Preprocessed:
    """A tensor ready for `fit_cp`, and how it came from the activations.

    ``tensor == activations[snapshots][:, stimuli][:, :, units] / scales[:, None, None]``, up to rounding.

    Attributes:
        tensor: Float32 or float64, on the device of the activations; unit of the activations with scale ``none``,
            dimensionless with ``rms``.
        steps: Optimizer step of each snapshot kept.
        stimuli: Indices of the stimuli kept, ascending, on the CPU; ``labels[stimuli]`` are their classes.
        units: Indices of the units kept, ascending, on the CPU.
        scales: What each snapshot was divided by, in the unit of the activations, on the CPU.
        notes: What was done, in words, one sentence each; empty where nothing was.
        snapshots: Indices of the snapshots kept, ascending, on the CPU.
        variance_kept: Share of the units' variance that the kept ones have, in [0, 1].
        silent_steps: Steps at which all kept activations are zero, whose scale is 1.
    """

    tensor: Float[Tensor, "snapshot stimulus unit"]
    steps: tuple[int, ...]
    stimuli: Int[Tensor, " stimulus"]
    units: Int[Tensor, " unit"]
    scales: Float64[Tensor, " snapshot"]
    notes: tuple[str, ...]
    snapshots: Int[Tensor, " snapshot"]
    variance_kept: float
    silent_steps: tuple[int, ...]


def preprocess(  # noqa: PLR0913 - one limit per axis, and what to choose by
    tensor: Shaped[Tensor, "..."],
    steps: Sequence[int],
    *,
    labels: Values | None = None,
    heldout: Values | None = None,
    max_snapshots: int = HISTORY,
    max_stimuli: int = 256,
    max_units: int = 512,
    scale: Scale = "rms",
) -> Preprocessed:
    """Thin the snapshots, choose stimuli and units, and take the growth of the norm out of the activations.

    In this order: snapshots spread evenly in log(step + 1); stimuli in proportion to split and class; units of highest
    variance, measured with each snapshot divided by its root mean square (unless `scale` is ``none``); then each snapshot is
    divided by the root mean square of what is kept of it, so that every one but a silent one has root mean square 1.
    Without that, the growth of the norm becomes the first component. Nothing is centred and nothing is drawn at random.

    Args:
        tensor: Activations (snapshot, stimulus, unit), finite. Half precision is converted to float32.
        steps: Optimizer step of each snapshot, strictly ascending.
        labels: Class of each stimulus, None where there are none.
        heldout: True for stimuli that are not trained on, None where that is not known.
        max_snapshots: Most snapshots to keep, 2 or more; the first and the last always stay.
        max_stimuli: Most stimuli to keep.
        max_units: Most units to keep.
        scale: Whether to divide each snapshot by its root mean square.

    Raises:
        ShapeError: Wrong or empty axes, integers, NaN or infinity (the message says where), or labels of another length.
        ConfigError: Steps that do not ascend, a limit that is too low, or an unknown `scale`.
    """
    check_activations(tensor, caller="preprocess")
    plain = checked_steps(steps, len(tensor), caller="preprocess")
    classes = checked_labels(labels, tensor.shape[1], caller="preprocess")
    splits = checked_heldout(heldout, tensor.shape[1], caller="preprocess")
    for name, value, least in (("snapshots", max_snapshots, 2), ("stimuli", max_stimuli, 1), ("units", max_units, 1)):
        check_whole(value, f"max_{name}", least=least, caller="preprocess")
    check_choice(scale, "scale", get_args(Scale), caller="preprocess")
    limits = (max_snapshots, max_stimuli, max_units)
    return _kept(tensor, plain, classes, splits, limits=limits, scale=scale)


def _kept(
    tensor: Tensor,
    plain: tuple[int, ...],
    classes: Tensor | None,
    splits: Tensor | None,
    *,
    limits: tuple[int, int, int],
    scale: Scale,
) -> Preprocessed:
    """What `preprocess` does once its arguments are known to be good."""
    max_snapshots, max_stimuli, max_units = limits
    snapshots = torch.tensor(thinned(plain, max_snapshots))
    stimuli = stratified(classes, splits, count=tensor.shape[1], most=max_stimuli)
    chosen = _selected(_selected(tensor, snapshots, axis=0), stimuli, axis=1)
    units, variance_kept = highest_variance(chosen, _divisors(_rms(chosen), scale), max_units)
    kept = _selected(chosen, units, axis=2)
    rms = _rms(kept)
    scales = _divisors(rms, scale)
    wide = kept if kept.dtype == torch.float64 else kept.float()
    result = Preprocessed(
        tensor=wide if scale == "none" else (wide / scales[:, None, None].to(wide.device)).to(wide.dtype),
        steps=tuple(plain[position] for position in snapshots.tolist()),
        stimuli=stimuli,
        units=units,
        scales=scales,
        notes=(),
        snapshots=snapshots,
        variance_kept=variance_kept,
        silent_steps=tuple(plain[position] for position in snapshots[rms == 0].tolist()),
    )
    by = " and ".join(name for name, known in (("split", splits), ("class", classes)) if known is not None)
    return replace(result, notes=_notes(result, tensor, scale, stratified_by=by))


def _selected(tensor: Shaped[Tensor, "..."], kept: Int[Tensor, " kept"], *, axis: int) -> Tensor:
    if len(kept) == tensor.shape[axis]:
        return tensor
    return tensor.index_select(axis, kept.to(tensor.device))


def _rms(tensor: Float[Tensor, "snapshot stimulus unit"]) -> Float64[Tensor, " snapshot"]:
    """Root mean square of each snapshot, which neither overflows nor vanishes in float64."""
    rows = [activations.double().flatten() for activations in tensor]
    largest = torch.stack([row.abs().amax() for row in rows])
    safe = torch.where(largest > 0, largest, 1)
    shape = torch.stack([torch.linalg.vector_norm(row / top) for row, top in zip(rows, safe, strict=True)])
    result: Tensor = (safe * shape / math.sqrt(rows[0].numel())).cpu()
    return result


def _divisors(rms: Float64[Tensor, " snapshot"], scale: Scale) -> Float64[Tensor, " snapshot"]:
    return torch.where(rms > 0, rms, 1) if scale == "rms" else torch.ones_like(rms)


def _notes(result: Preprocessed, tensor: Shaped[Tensor, "..."], scale: Scale, *, stratified_by: str) -> tuple[str, ...]:
    """What was done to `tensor`, one sentence for each thing that changed it."""
    before, after = tensor.shape, result.tensor.shape
    notes = []
    if after[0] < before[0]:
        notes.append(f"Kept {after[0]:,} of {before[0]:,} snapshots, spread evenly in log(step + 1).")
    if after[1] < before[1]:
        how = (
            f"in proportion to {stratified_by}" if stratified_by else "spread over their order (no classes or splits given)"
        )
        notes.append(f"Kept {after[1]:,} of {before[1]:,} stimuli, {how}.")
    if after[2] < before[2]:
        share = f"{100 * result.variance_kept:.1f} %"
        notes.append(f"Kept the {after[2]:,} of {before[2]:,} units of highest variance, {share} of the variance.")
    if result.tensor.dtype != tensor.dtype:
        notes.append(f"Converted {str(tensor.dtype).removeprefix('torch.')} to float32.")
    if scale == "rms":
        least, most = result.scales.min().item(), result.scales.max().item()
        notes.append(f"Divided each snapshot by its root mean square, {least:.3g} to {most:.3g}.")
    if result.silent_steps:
        listed = ", ".join(f"{step:,}" for step in result.silent_steps[:_LISTED])
        more = f" and {len(result.silent_steps) - _LISTED:,} more" if len(result.silent_steps) > _LISTED else ""
        notes.append(f"Every kept activation is zero at step {listed}{more}; left as it is (scale 1).")
    return tuple(notes)
