# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in safetensors files, one or several with an index."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_interp.core.errors import CheckpointError
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.foreign_files import refuse_foreign
from lightning_interp.sources.checkpoints.format import Found, Header, Place, whole_number
from lightning_interp.sources.checkpoints.limits import LARGEST_HEADER, complaint_about
from lightning_interp.sources.checkpoints.parts import INDEX, file_or_folder, indexed

NAME = "safetensors"
SUFFIXES: tuple[str, ...] = (".safetensors",)

_LENGTH = 8  # bytes at the start that say how long the header is


def matches(place: Place) -> list[Found] | None:
    """A file of its own, an index that names such files, or a folder in the Hugging Face layout."""
    if place.names is None and place.path.endswith(INDEX) and SUFFIXES[0] in place.path.rsplit("/", 1)[-1]:
        return indexed(place, NAME, place.path)
    return file_or_folder(place, NAME, SUFFIXES, "model.safetensors")


def header(path: Path) -> Header:
    """Names, shapes and step, from the file's own header."""
    return _read(path, tensors=False)[0]


def tensors(path: Path, _memory: RecycledMemory | None) -> dict[str, Tensor]:
    """Tensors as the file has them, which has no checksums."""
    return _read(path, tensors=True)[1]


def _check_size(path: Path) -> None:
    """Refuse a header that is longer than any checkpoint's, before anything parses it, and what is no file."""
    if not path.is_file() and path.exists():
        raise CheckpointError(f"{path}: no file with content of its own (a pipe or a device).")
    with path.open("rb") as file:
        start = file.read(_LENGTH)
    length = int.from_bytes(start, "little")
    if len(start) == _LENGTH and LARGEST_HEADER < length < path.stat().st_size:
        raise CheckpointError(f"{path}: a header of {length:,} bytes, more than the {LARGEST_HEADER:,} that are read.")


def _read(path: Path, *, tensors: bool) -> tuple[Header, dict[str, Tensor]]:
    _check_size(path)
    refuse_foreign(path)
    try:
        with safe_open(path, framework="pt") as handle:
            names = list(handle.keys())
            complaint = complaint_about(names, (), 0)
            if complaint is not None:
                raise CheckpointError(f"{path}: {complaint}. Save it in several files with an index.")
            shapes = {strip_wrappers(name): tuple(handle.get_slice(name).get_shape()) for name in names}
            values = {strip_wrappers(name): handle.get_tensor(name) for name in names} if tensors else {}
            step = whole_number((handle.metadata() or {}).get("step"))
    except (SafetensorError, OSError, ValueError) as err:
        if isinstance(err, FileNotFoundError):
            raise
        raise CheckpointError(f"{path}: damaged, or no safetensors file ({err}). Restore it from a copy.") from err
    return Header(step, None, shapes), values
