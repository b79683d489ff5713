# SPDX-License-Identifier: Apache-2.0
"""One checkpoint's header or tensors, whatever it was written by. Nothing in it is resolved, imported or called."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from lightning_interp.core.errors import CheckpointError, CorruptSnapshotError
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.files import local_file
from lightning_interp.sources.checkpoints.format import Found, Header
from lightning_interp.sources.checkpoints.registry import format_named

Part = TypeVar("Part")


def read_header(found: Found) -> Header:
    """Names, shapes and step of a checkpoint; the tensors are not read.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    read = format_named(found.kind).header
    headers = _parts(found, lambda path: read(path, **_key(found)))
    return headers[0] if len(headers) == 1 else _joined(headers)


def read_checkpoint(found: Found, memory: RecycledMemory | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, tied ones sharing memory if the file says so, checked by what checksums it has.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    read = format_named(found.kind).tensors
    parts = _parts(found, lambda path: read(path, memory, **_key(found)))
    return {name: tensor for part in parts for name, tensor in part.items()}


def _key(found: Found) -> dict[str, str]:
    """Where the state dict is, for formats that can be told, which are those a key is asked of."""
    return {"key": found.key} if found.key else {}


def _parts(found: Found, read: Callable[[Path], Part]) -> list[Part]:
    """What reading each file of a checkpoint gives; errors name the file as the user knows it."""
    parts = []
    with ExitStack() as stack:
        for where in found.files:
            path = stack.enter_context(local_file(where))
            try:
                parts.append(read(path))
            except FileNotFoundError as err:
                raise CheckpointError(f"{where}: the file is gone. Restore it, or leave this checkpoint out.") from err
            except (CheckpointError, CorruptSnapshotError) as err:
                raise CheckpointError(str(err).replace(str(path), where)) from err
    return parts


def _joined(headers: list[Header]) -> Header:
    """The headers of the parts of one checkpoint as one.

    Raises:
        CheckpointError: Two of them have a tensor of one name.
    """
    counts = Counter(name for header in headers for name in header.shapes)
    twice = next((name for name, times in counts.items() if times > 1), None)
    if twice is not None:
        raise CheckpointError(
            f"{twice} is in {counts[twice]} of its {len(headers)} files: pieces of ranks rather than parts, or a file too "
            "many. Merge them with the program that wrote them, and give the result."
        )
    contents = [header.content for header in headers]
    return Header(
        step=next((header.step for header in headers if header.step is not None), None),
        epoch=next((header.epoch for header in headers if header.epoch is not None), None),
        shapes={name: shape for header in headers for name, shape in header.shapes.items()},
        content=None if None in contents else json.dumps(contents),
        choice=next((header.choice for header in headers if header.choice), ""),
    )
