# SPDX-License-Identifier: Apache-2.0
"""What the functions on snapshot tensors demand of their arguments, with one wording for all of them.

Arguments that are checked here at run time are of type Any: what comes from a user may be anything.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import index
from typing import Any

import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.core.shapes import Bool, Int, Shaped, Tensor

AXES = ("snapshot", "stimulus", "unit")
"""Names of the axes of a tensor of activations over training, in order."""

Values = Tensor | Sequence[int] | Sequence[bool]
"""One value per stimulus."""


def check_whole(value: object, name: str, *, least: int, caller: str) -> None:
    """Refuse anything but an integer of at least `least`.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{caller}: `{name}` must be an integer of {least} or more, got {value!r}.")


def check_choice(value: object, name: str, choices: Sequence[str], *, caller: str) -> None:
    """Refuse anything but one of `choices`.

    Raises:
        ConfigError: It is something else.
    """
    if value not in choices:
        raise ConfigError(f"{caller}: `{name}` must be one of {', '.join(choices)}, got {value!r}.")


def check_activations(tensor: Shaped[Tensor, "..."], *, caller: str) -> None:
    """Refuse what is no tensor (snapshot, stimulus, unit) of finite floating-point numbers.

    Raises:
        ShapeError: Other axes, an empty axis, integers, or an entry that is NaN or infinite; says which.
    """
    shape = tuple(tensor.shape)
    if tensor.ndim != 3 or not tensor.numel():
        raise ShapeError(
            f"{caller}: `tensor` needs the axes (snapshot, stimulus, unit), none empty, got shape {shape}. "
            "Stack one matrix (stimulus, unit) per snapshot; flatten further axes of a layer into units."
        )
    if not tensor.is_floating_point():
        raise ShapeError(
            f"{caller}: `tensor` must hold floating-point numbers, got {tensor.dtype}. Convert it with `.float()`."
        )
    check_finite(tensor, AXES, f"{caller}: `tensor`")


def check_finite(tensor: Shaped[Tensor, "..."], axes: Sequence[str], subject: str) -> None:
    """Refuse NaN and infinity, naming the first such entry by its index on each axis.

    Raises:
        ShapeError: There is one.
    """
    finite = tensor.isfinite()
    if finite.all():
        return
    bad = finite.logical_not().nonzero()
    where = ", ".join(f"{axis} {position}" for axis, position in zip(axes, bad[0].tolist(), strict=True))
    raise ShapeError(
        f"{subject} must be finite, but is {tensor[tuple(bad[0])].item()} at {where} "
        f"({len(bad):,} of {tensor.numel():,} entries are not finite). Leave out the snapshots, stimuli or units concerned."
    )


def checked_steps(steps: Any, count: int, *, caller: str) -> tuple[int, ...]:
    """Optimizer steps as plain integers, one per snapshot.

    Args:
        steps: Integers of any kind, or a one-dimensional tensor of them.
        count: Number of snapshots.
        caller: Function to name in errors.

    Raises:
        ShapeError: Not one step per snapshot.
        ConfigError: Not integers, negative, or not strictly ascending.
    """
    try:
        plain = tuple(index(step) for step in steps)
    except TypeError as err:
        raise ConfigError(f"{caller}: `steps` must be integers (optimizer steps), got {steps!r}.") from err
    if len(plain) != count:
        raise ShapeError(f"{caller}: expected one of `steps` per snapshot, {count} in all, got {len(plain)}.")
    if plain and plain[0] < 0:
        raise ConfigError(f"{caller}: `steps` must not be negative, got {plain[0]} first.")
    for before, after in pairwise(plain):
        if after <= before:
            raise ConfigError(
                f"{caller}: `steps` must ascend strictly, got {after} after {before}. Sort the snapshots first."
            )
    return plain


def checked_labels(labels: Any, count: int, *, caller: str) -> Int[Tensor, " stimulus"] | None:
    """Class of each stimulus as int64 on the CPU, None where there are none.

    Raises:
        ShapeError: Not one integer per stimulus.
    """
    if labels is None:
        return None
    values = torch.as_tensor(labels).detach().cpu()
    integers = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
    if values.shape != (count,) or not integers:
        raise ShapeError(
            f"{caller}: `labels` must be one integer class per stimulus, {count} in all, "
            f"got shape {tuple(values.shape)} of {values.dtype}."
        )
    return values.long()


def checked_heldout(heldout: Any, count: int, *, caller: str) -> Bool[Tensor, " stimulus"] | None:
    """Whether each stimulus is held out, on the CPU; None where that is not known.

    Raises:
        ShapeError: Not one boolean per stimulus.
    """
    if heldout is None:
        return None
    values = torch.as_tensor(heldout).detach().cpu()
    if values.shape != (count,) or values.dtype != torch.bool:
        raise ShapeError(
            f"{caller}: `heldout` must be one boolean per stimulus (True: not trained on), {count} in all, "
            f"got shape {tuple(values.shape)} of {values.dtype}."
        )
    return values
