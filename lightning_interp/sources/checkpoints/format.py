# SPDX-License-Identifier: Apache-2.0
"""What a format of checkpoints is: a module that says what of it lies at a path, and reads one file of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lightning_interp.core.recycling import RecycledMemory
from lightning_interp.sources.checkpoints.files import Files


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself before its tensors are read.

    Attributes:
        step: Its own global step, None if it has none.
        epoch: The same for the epoch.
        shapes: Shape of each tensor by name, wrapper prefixes stripped.
        content: Checksums of the tensors if the file has them: equal for equal files, without a byte of them read.
    """

    step: int | None
    epoch: int | None
    shapes: Mapping[str, tuple[int, ...]]
    content: str | None = None


@dataclass(frozen=True)
class Place:
    """A path that is searched: a file, or a folder with the names in it.

    Attributes:
        files: The tree it lies in.
        path: Its path there.
        names: Names in the folder; None for a file.
    """

    files: Files
    path: str
    names: frozenset[str] | None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Match:
    """One checkpoint at a place.

    Attributes:
        path: What it is called by; the step is searched in it.
        parts: Paths of the files its tensors lie in.
        step: Its step if the format's own names say it, whatever pattern the user gave.
    """

    path: str
    parts: tuple[str, ...]
    step: int | None = None


class CheckpointFormat(Protocol):
    """A format is a module with these five names, and a line in `registry`.

    Attributes:
        NAME: What `Found.kind` says.
        SUFFIXES: Endings of the names of its files, by which they are found in folders.
    """

    NAME: str
    SUFFIXES: tuple[str, ...]

    def matches(self, place: Place, /) -> Sequence[Match] | None:
        """Checkpoints of this format that the place itself is, None if it is something else.

        A folder may be one checkpoint, or hold those of a run; what lies in folders below it is searched later.

        Raises:
            CheckpointError: The place is of this format, and damaged.
        """
        ...

    def header(self, path: Path, /) -> Header:
        """Names, shapes and step of one file; no tensor is read.

        Raises:
            CheckpointError: It is damaged or refused.
            FileNotFoundError: It is gone.
        """
        ...

    def tensors(self, path: Path, memory: RecycledMemory | None, /) -> dict[str, Tensor]:
        """Tensors of one file by name, checked by what checksums the format has.

        Args:
            path: The file.
            memory: Where tensors go that are copied out of a file; None for fresh memory.

        Raises:
            CheckpointError: It is damaged or refused.
            FileNotFoundError: It is gone.
        """
        ...


def single_file(place: Place, suffixes: tuple[str, ...]) -> list[Match] | None:
    """The place as a checkpoint in one file with one of these suffixes, None if it is none."""
    return [Match(place.path, (place.path,))] if place.names is None and place.name.endswith(suffixes) else None


def whole_number(value: Any) -> int | None:
    """A number from 0 on that a file's metadata hold, as a number or as text, None if they hold none."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number >= 0 else None
