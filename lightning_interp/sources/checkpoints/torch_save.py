# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of `torch.save`: which entry of a file is the state dict, its tensors, its step and its epoch."""

import json
import math
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_interp.core.errors import CheckpointError
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.averages import chosen
from lightning_interp.sources.checkpoints.foreign_files import refuse_foreign
from lightning_interp.sources.checkpoints.format import Found, Header, Place
from lightning_interp.sources.checkpoints.limits import complaint_about
from lightning_interp.sources.checkpoints.networks import hides, network_in
from lightning_interp.sources.checkpoints.parts import INDEX, file_or_folder, indexed
from lightning_interp.sources.checkpoints.pickle_reader import StoredTensor
from lightning_interp.sources.checkpoints.step_names import LARGEST_STEP
from lightning_interp.sources.checkpoints.torch_zip import TorchZip, shown

NAME = "torch"
SUFFIXES: tuple[str, ...] = (".ckpt", ".pt", ".pth", ".bin", ".pth.tar", ".pt.tar")

STEP_KEYS = ("global_step", "step", "iteration", "iter_num", "global_steps", "num_updates", "iter", "train_step", "n_iter")
"""Keys under which a checkpoint says its own step, the surest first."""
EPOCH_KEYS = ("epoch", "epochs", "current_epoch")
_SHOWN = 40


def matches(place: Place) -> list[Found] | None:
    """A file of its own, an index of parts, or a folder in the Hugging Face layout."""
    if place.names is None and place.path.endswith(INDEX):
        return indexed(place, NAME, place.path)
    return file_or_folder(place, NAME, SUFFIXES, "pytorch_model.bin")


def header(path: Path, *, key: str = "") -> Header:
    """Names, shapes and step, from the file's pickle, and the CRC32s of its storages."""
    return header_of(path, key=key)


def header_of(path: Path, *, averaged: bool = False, key: str = "") -> Header:
    """The same, of the averages in the file where these are asked for."""
    refuse_foreign(path)
    with TorchZip(path) as archive:
        content, choice = (archive.content, "") if key else chosen(archive.content, averaged=averaged)
        stored, line = state_dict_of(content, key=key)
        checks = archive.crc32s()
        step, epoch = (own_count(content, keys, archive.read) for keys in (STEP_KEYS, EPOCH_KEYS))
    sums = {strip_wrappers(name): [each.key, checks.get(each.key), list(each.size)] for name, each in stored.items()}
    shapes = {strip_wrappers(name): tuple(each.size) for name, each in stored.items()}
    return Header(step, epoch, shapes, json.dumps(sums, sort_keys=True), choice or line)


def tensors(path: Path, memory: RecycledMemory | None, *, key: str = "") -> dict[str, Tensor]:
    """Tensors of the state dict, tied ones sharing memory, each storage checked by its CRC32."""
    return tensors_of(path, memory, key=key)


def tensors_of(path: Path, memory: RecycledMemory | None, *, averaged: bool = False, key: str = "") -> dict[str, Tensor]:
    """The same, of the averages in the file where these are asked for."""
    with TorchZip(path) as archive:
        content = archive.content if key else chosen(archive.content, averaged=averaged)[0]
        stored = state_dict_of(content, key=key)[0]
        return {strip_wrappers(name): each for name, each in archive.read_all(stored, memory).items()}


def state_dict_of(
    content: object, *, needed: Container[str] | None = None, key: str = ""
) -> tuple[dict[str, StoredTensor], str]:
    """The state dict within what a checkpoint holds.

    Args:
        content: What `TorchZip.content` gives: the state dict itself, or a dict with it under one of the usual keys.
        needed: Names that must be tensors; None for all that are no plain values.
        key: Where the state dict is, if the user says so.

    Returns:
        Stored tensors by name, and a line for the user where another network could have been meant.

    Raises:
        CheckpointError: There is no state dict or are several, or a class that is not known here hides a tensor of it.
    """
    found, line = network_in(content, key=key)
    for name, value in found.items():
        if hides(name, value) and (needed is None or name in needed):
            raise CheckpointError(
                f"{shown(name)}: a needed tensor hides behind {value.text}, which is not resolved. "
                "Save it as a plain tensor, or leave it out."
            )
    stored = {name: value for name, value in found.items() if type(name) is str and type(value) is StoredTensor}
    _check_cost(stored)
    return stored, line


def _check_cost(stored: Mapping[str, StoredTensor]) -> None:
    views = [(t.key, t.offset, t.size, t.stride, t.dtype.itemsize) for t in stored.values()]
    storages = {each.key: each.nbytes for each in stored.values()}
    complaint = complaint_about(stored, views, sum(storages.values()))
    if complaint is not None:
        raise CheckpointError(f"{complaint}. Save what training needs alone: torch.save(model.state_dict(), path).")


def own_count(content: Any, keys: Sequence[str], read: Callable[[StoredTensor], Tensor]) -> int | None:
    """A step or epoch that a checkpoint says of itself, as a number of Python's, of numpy's or in a tensor.

    Raises:
        CheckpointError: There is a number that is no step, and none that is one: what its name says may be as wrong.

    >>> [own_count({"epoch": 3, "step": 7}, keys, lambda stored: None) for keys in (STEP_KEYS, EPOCH_KEYS)]
    [7, 3]
    """
    entries: dict[Any, Any] = content if type(content) is dict else {}
    values = [(key, _number(entries.get(key), read)) for key in keys]
    found = next((count for _, value in values if (count := _count(value)) is not None), None)
    odd = next(((key, value) for key, value in values if type(value) in (int, float, bool)), None)
    if found is None and odd is not None and keys is STEP_KEYS:  # an epoch of 1.5 is usual, and little hangs on it
        raise CheckpointError(
            f"its own step ({odd[0]}) is {str(odd[1])[:_SHOWN]}, no whole number from 0 to 2^53. Save it again with its "
            "step, or without any."
        )
    return found


def _number(value: Any, read: Callable[[StoredTensor], Tensor]) -> Any:
    """A value, out of the tensor if it is in one."""
    if type(value) is StoredTensor and math.prod(value.size) == 1 and not value.dtype.is_complex:
        return read(value).item()
    return value


def _count(value: Any) -> int | None:
    if type(value) not in (int, float) or value != value or not 0 <= value <= LARGEST_STEP or value != int(value):
        return None
    return int(value)
