# SPDX-License-Identifier: Apache-2.0
"""One checkpoint's tensors, whatever it was written by. Nothing in it is resolved, imported or called."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_interp.core.errors import CheckpointError, CorruptSnapshotError
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.recycling import RecycledMemory
from lightning_interp.sources.checkpoints.files import local_file
from lightning_interp.sources.checkpoints.found import Found, Kind
from lightning_interp.sources.checkpoints.torch_zip import TorchZip, state_dict_of
from lightning_interp.store.snapshots import snapshot_in
from lightning_interp.store.tensor_file import read_metadata

Layout = Mapping[str, tuple[int, ...]]
"""Shape of each tensor by name."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself before its tensors are read.

    Attributes:
        step: Its own global step, None where it has none.
        epoch: The same for the epoch.
        shapes: Shape of each tensor by name, wrapper prefixes stripped.
        content: Checksums of the tensors where the file has them: equal for equal files, without a byte of them read.
    """

    step: int | None
    epoch: int | None
    shapes: Layout
    content: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        header: What it says of itself.
        tensors: Its tensors by name, tied ones sharing memory where the file says so.
    """

    header: Header
    tensors: dict[str, Tensor] = field(default_factory=dict)


def read_header(found: Found) -> Header:
    """Names, shapes and step of a checkpoint; the tensors are not read.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    return _read(found, tensors=False).header


def read_checkpoint(found: Found, memory: RecycledMemory | None = None) -> Checkpoint:
    """A checkpoint with its tensors, checked by what checksums its format has.

    Args:
        found: The checkpoint.
        memory: Where tensors go that are copied out of a file; None for fresh memory.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    return _read(found, tensors=True, memory=memory)


def _read(found: Found, *, tensors: bool, memory: RecycledMemory | None = None) -> Checkpoint:
    readers: dict[Kind, Callable[[Path, bool], Checkpoint]] = {
        "torch": lambda path, tensors: _torch(path, tensors, memory),
        "safetensors": _safetensors,
        "snapshot": _snapshot,
    }
    parts = []
    with ExitStack() as stack:
        for where in found.files:
            path = stack.enter_context(local_file(where))
            try:
                parts.append(readers[found.kind](path, tensors))
            except FileNotFoundError as err:
                raise CheckpointError(f"{where}: the file is gone. Restore it, or leave this checkpoint out.") from err
            except (CheckpointError, CorruptSnapshotError) as err:
                raise CheckpointError(str(err).replace(str(path), where)) from err
    return _joined(parts)


def _torch(path: Path, tensors: bool, memory: RecycledMemory | None) -> Checkpoint:
    with TorchZip(path) as archive:
        stored, step, epoch = state_dict_of(archive.content)
        checks = archive.crc32s()
        content = {strip_wrappers(name): [each.key, checks.get(each.key), list(each.size)] for name, each in stored.items()}
        shapes = {strip_wrappers(name): tuple(each.size) for name, each in stored.items()}
        values = {strip_wrappers(name): each for name, each in archive.read_all(stored, memory).items()} if tensors else {}
    return Checkpoint(Header(step, epoch, shapes, json.dumps(content, sort_keys=True)), values)


def _safetensors(path: Path, tensors: bool) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as handle:
            names = list(handle.keys())
            shapes = {strip_wrappers(name): tuple(handle.get_slice(name).get_shape()) for name in names}
            values = {strip_wrappers(name): handle.get_tensor(name) for name in names} if tensors else {}
            step = _whole_number((handle.metadata() or {}).get("step"))
    except (SafetensorError, OSError, ValueError) as err:
        if isinstance(err, FileNotFoundError):
            raise
        raise CheckpointError(f"{path}: damaged, or no safetensors file ({err}). Restore it from a copy.") from err
    return Checkpoint(Header(step, None, shapes), values)


def _snapshot(path: Path, tensors: bool) -> Checkpoint:
    """A snapshot of a run directory; its CRC32s are checked."""
    metadata = read_metadata(path)
    frozen = metadata.get("frozen_file")
    files = [path, *([path.with_name(Path(str(frozen)).name)] if frozen else [])]
    shapes = {name: shape for file in files for name, shape in _safetensors(file, False).header.shapes.items()}
    shapes |= {name: shapes[owner] for name, owner in metadata.get("aliases", {}).items()}
    content = json.dumps(metadata.get("crc32"), sort_keys=True) if "crc32" in metadata and not frozen else None
    header = Header(_whole_number(metadata.get("step")), _whole_number(metadata.get("epoch")), shapes, content)
    return Checkpoint(header, dict(snapshot_in(path).weights) if tensors else {})


def _joined(parts: list[Checkpoint]) -> Checkpoint:
    """The parts of one checkpoint as one."""
    if len(parts) == 1:
        return parts[0]
    headers = [part.header for part in parts]
    contents = [header.content for header in headers]
    header = Header(
        step=next((header.step for header in headers if header.step is not None), None),
        epoch=next((header.epoch for header in headers if header.epoch is not None), None),
        shapes={name: shape for header in headers for name, shape in header.shapes.items()},
        content=None if None in contents else json.dumps(contents),
    )
    return Checkpoint(header, {name: tensor for part in parts for name, tensor in part.tensors.items()})


def _whole_number(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number >= 0 else None
