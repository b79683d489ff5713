# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of `torch.save`: which entry of a file is the state dict, its tensors, its step and its epoch."""

import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_interp.core.errors import CheckpointError
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.averages import chosen
from lightning_interp.sources.checkpoints.format import Found, Header, Place
from lightning_interp.sources.checkpoints.parts import INDEX, file_or_folder, indexed
from lightning_interp.sources.checkpoints.pickle_reader import Placeholder, StoredTensor
from lightning_interp.sources.checkpoints.torch_zip import TorchZip, shown

NAME = "torch"
SUFFIXES: tuple[str, ...] = (".ckpt", ".pt", ".pth", ".bin")

_STEP_KEYS = ("global_step", "step", "iteration")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "params", "weights")
_EXTRA_STATE = "_extra_state"  # of torch.nn.Module.get_extra_state: anything, and no parameter


def matches(place: Place) -> list[Found] | None:
    """A file of its own, an index of parts, or a folder in the Hugging Face layout."""
    if place.names is None and place.path.endswith(INDEX):
        return indexed(place, NAME, place.path)
    return file_or_folder(place, NAME, SUFFIXES, "pytorch_model.bin")


def header(path: Path) -> Header:
    """Names, shapes and step, from the file's pickle, and the CRC32s of its storages."""
    return header_of(path)


def header_of(path: Path, *, averaged: bool = False) -> Header:
    """The same, of the averages in the file where these are asked for."""
    with TorchZip(path) as archive:
        content, choice = chosen(archive.content, averaged=averaged)
        stored, step, epoch = state_dict_of(content)
        checks = archive.crc32s()
    sums = {strip_wrappers(name): [each.key, checks.get(each.key), list(each.size)] for name, each in stored.items()}
    shapes = {strip_wrappers(name): tuple(each.size) for name, each in stored.items()}
    return Header(step, epoch, shapes, json.dumps(sums, sort_keys=True), choice)


def tensors(path: Path, memory: RecycledMemory | None) -> dict[str, Tensor]:
    """Tensors of the state dict, tied ones sharing memory, each storage checked by its CRC32."""
    return tensors_of(path, memory)


def tensors_of(path: Path, memory: RecycledMemory | None, *, averaged: bool = False) -> dict[str, Tensor]:
    """The same, of the averages in the file where these are asked for."""
    with TorchZip(path) as archive:
        stored = state_dict_of(chosen(archive.content, averaged=averaged)[0])[0]
        return {strip_wrappers(name): each for name, each in archive.read_all(stored, memory).items()}


def state_dict_of(
    content: object, *, needed: Container[str] | None = None
) -> tuple[dict[str, StoredTensor], int | None, int | None]:
    """The state dict within what a checkpoint holds, its global step and its epoch.

    Args:
        content: What `TorchZip.content` gives: the state dict itself, or a dict with it under one of the usual keys.
        needed: Names that must be tensors; None for all that are no plain values.

    Returns:
        Stored tensors by name, the step and the epoch, each None where there is none.

    Raises:
        CheckpointError: There is no state dict, or a class that is not known here hides a tensor of it.
    """
    found = next(_state_dicts(content), None) or next(_state_dicts(content, hidden=True), None)
    if found is None:
        raise CheckpointError(
            f"No state dict found: {_described(content)}. Save one with torch.save(model.state_dict(), path)."
        )
    for name, value in found.items():
        if _hides(name, value) and (needed is None or name in needed):
            raise CheckpointError(
                f"{shown(name)}: a needed tensor hides behind {value.text}, which is not resolved. "
                "Save it as a plain tensor, or leave it out."
            )
    tensors = {name: value for name, value in found.items() if type(name) is str and type(value) is StoredTensor}
    entries: dict[Any, Any] = content if type(content) is dict else {}
    steps = (_count(entries.get(key)) for key in _STEP_KEYS)
    return tensors, next((step for step in steps if step is not None), None), _count(entries.get("epoch"))


def _state_dicts(content: Any, *, levels: int = 2, hidden: bool = False) -> Iterator[dict[Any, Any]]:
    """Every dict with tensors by name, those under the usual keys before the dict that has these keys.

    With `hidden`, dicts under the usual keys with what may be tensors of classes that are not known here.
    """
    if type(content) is not dict:
        return
    for key in _WRAPPERS if levels else ():
        yield from _state_dicts(content.get(key), levels=levels - 1, hidden=hidden)
    if hidden and levels < 2 and any(_hides(name, value) for name, value in content.items()):
        yield content
    if any(type(name) is str and type(value) is StoredTensor for name, value in content.items()):
        yield content


def _hides(name: object, value: object) -> bool:
    """Whether an entry of a state dict may be a tensor that was not rebuilt; a class or function itself is none."""
    if type(name) is not str or name.endswith(_EXTRA_STATE):
        return False
    return type(value) is Placeholder and value.kind != "name"


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _described(content: Any) -> str:
    if type(content) is Placeholder:
        return f"the file holds one object, {content.text}, which is not resolved"
    if type(content) is not dict:
        return f"the file holds a {type(content).__name__}"
    hidden = [f"{shown(key)} is {value.text}" for key, value in content.items() if type(value) is Placeholder]
    keys = ", ".join(shown(key) for key in list(content)[:20])
    return f"its top-level keys are {keys or 'none'}" + (f" ({', '.join(hidden[:5])})" if hidden else "")
