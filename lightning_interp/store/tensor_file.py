# SPDX-License-Identifier: Apache-2.0
"""One file of named tensors: written to a temporary name, renamed when whole, checked by CRC32 when read."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp.core.errors import CorruptSnapshotError, RunError
from lightning_interp.core.system_trouble import number_in
from lightning_interp.store.bounded_file import check_regular, parse_json, part_of
from lightning_interp.store.crc32 import crc32
from lightning_interp.store.file_identity import file_identity
from lightning_interp.store.layout import replacing

_CHECKSUMS = "crc32"


@dataclass(frozen=True)
class TensorFile:
    """Content of a tensor file: tensors by name and what was written beside them, already parsed from JSON."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def checksum(tensor: Tensor) -> int:
    """CRC32 of a tensor's bytes in row-major order."""
    flat = tensor.detach().contiguous().reshape(-1)
    return crc32(flat.view(torch.uint8).numpy().data) if flat.numel() else 0


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    """Write tensors and metadata so that the file appears whole or not at all.

    Args:
        path: Final name; its folder exists.
        tensors: CPU tensors, no two sharing memory.
        metadata: Anything JSON can hold, by key.

    Returns:
        Size of the file in bytes.

    Raises:
        OSError: The file could not be written, with the system's number if it gave one; nothing is left behind.
    """
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checks = {name: checksum(tensor) for name, tensor in dense.items()}
    # Keys with values that are strings are all that safetensors' metadata can hold.
    header = {key: json.dumps(value) for key, value in {**metadata, _CHECKSUMS: checks}.items()}
    try:
        with replacing(path) as temporary:
            save_file(dense, temporary, metadata=header)
            return temporary.stat().st_size
    except (OSError, SafetensorError) as err:
        refused = OSError(f"{path}: could not be written ({err}).")
        refused.errno = err.errno if isinstance(err, OSError) else number_in(str(err))
        raise refused from err


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a tensor file without reading any tensor.

    Raises:
        CorruptSnapshotError: The file is not whole.
    """
    with _opened(path) as handle:
        return _parsed(handle.metadata() or {})


def read_tensors(path: Path, names: Iterable[str] | None = None) -> TensorFile:
    """Read a tensor file, or some of its tensors, and check every byte read against its checksum.

    Raises:
        CorruptSnapshotError: The file is gone or truncated, or a tensor's bytes differ from what was written.
        KeyError: A name is not in the file.
    """
    wanted = None if names is None else list(names)
    while True:
        before = file_identity(path)
        try:
            return _read_once(path, wanted)
        except CorruptSnapshotError:
            # safetensors opens the file by name twice, for its header and for its bytes: it may have been replaced between.
            if before is None or file_identity(path) == before:
                raise


def _read_once(path: Path, names: list[str] | None) -> TensorFile:
    with _opened(path) as handle:
        metadata = _parsed(handle.metadata() or {})
        present = set(handle.keys())
        wanted = list(present) if names is None else names
        missing = [name for name in wanted if name not in present]
        if missing:
            raise KeyError(f"{path}: no tensor named {missing[0]!r}; it holds {', '.join(sorted(present)[:8])}.")
        tensors = {name: handle.get_tensor(name) for name in sorted(wanted)}
    checks = part_of(metadata, _CHECKSUMS)
    metadata.pop(_CHECKSUMS, None)
    for name, tensor in tensors.items():
        if name not in checks or checksum(tensor) != checks[name]:
            raise corrupt(path, f"the bytes of {name!r} differ from their CRC32")
    return TensorFile(tensors, metadata)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A tensor file, opened by safetensors, and what goes wrong with it meanwhile as an error of ours."""
    try:
        check_regular(path)  # safetensors would wait for a FIFO
        with safe_open(path, framework="pt") as handle:
            yield handle
    except (SafetensorError, ValueError, OSError, RunError) as err:
        if isinstance(err, CorruptSnapshotError):
            raise
        raise corrupt(path, str(err)) from err


def _parsed(header: Mapping[str, str]) -> dict[str, Any]:
    return {key: parse_json(value.encode()) for key, value in header.items()}


def corrupt(path: Path, reason: str) -> CorruptSnapshotError:
    """The error for a tensor file that is damaged."""
    return CorruptSnapshotError(
        f"{path}: damaged ({reason}). Restore the file from a copy, or move it away to go on without this step."
    )
