# SPDX-License-Identifier: Apache-2.0
"""What a format of checkpoints is: a module that says what of it lies at a path, and reads one file of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.files import Files
from lightning_interp.sources.checkpoints.step_names import LARGEST_STEP, epoch_in_name, step_in_name

_LONGEST = 40
_INDEX = ".index.json"


@dataclass(frozen=True)
class Found:
    """One checkpoint.

    Attributes:
        where: What the user is shown, and what later starts know it by.
        kind: Name of its format.
        files: The files its tensors lie in, as paths or URLs.
        named_step: Step its name says, None if it says none.
        named_epoch: The same for the epoch.
        key: Where in the file the state dict is, if the user says so; empty if not.
    """

    where: str
    kind: str
    files: tuple[str, ...]
    named_step: int | None
    named_epoch: int | None = None
    key: str = ""


@dataclass(frozen=True)
class Refused:
    """A checkpoint that is seen and cannot be read.

    Attributes:
        where: Where it lies.
        named_step: Step its name says, None if it says none.
        text: Why, and the way out.
        kind: What kind of finding it is.
    """

    where: str
    named_step: int | None
    text: str
    kind: str = "not_read"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself before its tensors are read.

    Attributes:
        step: Its own global step, None if it has none.
        epoch: The same for the epoch.
        shapes: Shape of each tensor by name, wrapper prefixes stripped.
        content: Checksums of the tensors if the file has them: equal for equal files, without a byte of them read.
        choice: Which weights are read where there are trained and averaged ones, as a line for the user; empty otherwise.
    """

    step: int | None
    epoch: int | None
    shapes: Mapping[str, tuple[int, ...]]
    content: str | None = None
    choice: str = ""


@dataclass(frozen=True)
class Place:
    """A path that is searched.

    Attributes:
        files: The tree it lies in.
        path: Its path there.
        names: Names in the folder; None for a file.
        pattern: The user's pattern of steps in names.
    """

    files: Files
    path: str
    names: frozenset[str] | None
    pattern: re.Pattern[str] | None

    def without_parts(self) -> "Place":
        """The folder without an index and the files that may be its parts: those with the suffix of what it is of."""
        names = self.names or frozenset()
        suffixes = {name.removesuffix(_INDEX).rpartition(".")[2] for name in names if name.endswith(_INDEX)}
        kept = {name for name in names if not name.endswith(_INDEX) and name.rpartition(".")[2] not in suffixes}
        return replace(self, names=frozenset(kept))

    def checkpoint(self, kind: str, *parts: str, name: str | None = None) -> Found:
        """The place as one checkpoint of a format, its tensors in files at some paths.

        With a `name`, what lies at this path of the place, which several files share.
        """
        path = name or self.path
        files = tuple(self.files.shown(part) for part in parts)
        return Found(self.files.shown(path), kind, files, step_in_name(path, self.pattern), epoch_in_name(path))

    def refused(self, text: str, name: str | None = None, *, kind: str = "not_read") -> Refused:
        """The place, or what lies at a path of it, as something that is not read."""
        path = name or self.path
        return Refused(self.files.shown(path), step_in_name(path, self.pattern), text, kind)


class CheckpointFormat(Protocol):
    """A format is a module with these names, and a line in `registry`.

    A file that is damaged or refused raises `CheckpointError`, one that is gone `FileNotFoundError`.

    Attributes:
        NAME: What `Found.kind` says.
        SUFFIXES: Endings of the names of its files, by which they are found in folders.
    """

    NAME: str
    SUFFIXES: tuple[str, ...]

    def matches(self, place: Place, /) -> list[Found] | None:
        """Checkpoints of this format that the place itself is, a file or a folder; None if it is something else."""
        ...

    def header(self, path: Path, /) -> Header:
        """Names, shapes and step of one file; no tensor is read."""
        ...

    def tensors(self, path: Path, memory: RecycledMemory | None, /) -> dict[str, Tensor]:
        """Tensors of one file by name, checked by what checksums it has; copies go into `memory` if it is given."""
        ...


def whole_number(value: Any) -> int | None:
    """A number from 0 on that a file's metadata hold, as a number or as text; None if they hold none."""
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > _LONGEST):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= LARGEST_STEP else None
