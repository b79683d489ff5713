# SPDX-License-Identifier: Apache-2.0
"""Whether a file is another than before, from what its folder says of it: nothing is opened."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

Identity = tuple[int, int, int]


def file_identity(path: Path) -> Identity | None:
    """What changes once a file was replaced by one renamed into its place, or written to; None if there is no file."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def stamp(paths: Iterable[str | PathLike[str]]) -> list[int] | None:
    """Bytes of some files in all and the time of the latest change in ns, which stay as they are when files are moved.

    None if one of them cannot be asked, such as a URL.
    """
    try:
        states = [Path(path).stat() for path in paths]
    except OSError:
        return None
    return [sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)]


class ChangedFiles:
    """Tells which files of a folder are to be read again; parsing them costs the training's interpreter time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, Identity] = {}

    def changed(self, name: str) -> bool:
        """Whether a file is there and is another, or longer, than at the last look."""
        identity = file_identity(self._folder / name)
        if identity is None or identity == self._seen.get(name):
            return False
        self._seen[name] = identity
        return True
