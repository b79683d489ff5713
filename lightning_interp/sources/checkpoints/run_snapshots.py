# SPDX-License-Identifier: Apache-2.0
"""The snapshots of a run directory, each of them a checkpoint; their CRC32s are checked."""

import json
from pathlib import Path

from torch import Tensor

from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints import safetensors_file
from lightning_interp.sources.checkpoints.format import Found, Header, Place, whole_number
from lightning_interp.sources.checkpoints.step_names import step_in_name
from lightning_interp.store.layout import MANIFEST, SNAPSHOTS
from lightning_interp.store.snapshots import snapshot_in
from lightning_interp.store.tensor_file import read_metadata

NAME = "snapshot"
SUFFIXES: tuple[str, ...] = ()
"""None: a snapshot without its run directory is a safetensors file like any other."""


def matches(place: Place) -> list[Found] | None:
    """Every snapshot of a run directory."""
    if not {MANIFEST, SNAPSHOTS} <= (place.names or frozenset()):
        return None
    folder = f"{place.path}/{SNAPSHOTS}"
    names = sorted(place.files.names(folder))
    steps = [name for name in names if name.startswith("step_") and name.endswith(".safetensors")]
    where = {name: place.files.shown(f"{folder}/{name}") for name in steps}
    return [Found(where[name], NAME, (where[name],), step_in_name(name)) for name in steps]


def header(path: Path) -> Header:
    """What the snapshot says, with the shapes of the tensors that do not train, which lie in a file beside it."""
    metadata = read_metadata(path)
    frozen = metadata.get("frozen_file")
    files = [path, *([path.with_name(Path(str(frozen)).name)] if frozen else [])]
    shapes = {name: shape for file in files for name, shape in safetensors_file.header(file).shapes.items()}
    shapes |= {name: shapes[owner] for name, owner in metadata.get("aliases", {}).items()}
    content = json.dumps(metadata.get("crc32"), sort_keys=True) if "crc32" in metadata and not frozen else None
    return Header(whole_number(metadata.get("step")), whole_number(metadata.get("epoch")), shapes, content)


def tensors(path: Path, _memory: RecycledMemory | None) -> dict[str, Tensor]:
    """Every weight, tied names restored."""
    header(path)  # tells apart what is damaged and what is gone
    return dict(snapshot_in(path).weights)
