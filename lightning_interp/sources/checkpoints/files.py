# SPDX-License-Identifier: Apache-2.0
"""Where checkpoints lie: this machine's folders, or any file system fsspec knows."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning_interp.core.errors import CheckpointError, ConfigError

LARGEST_JSON = 64 * 2**20
"""Bytes: an index of parts is small."""


@runtime_checkable
class Files(Protocol):
    """A tree of files; paths use "/"."""

    root: str

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at a path."""
        ...

    def is_regular(self, path: str) -> bool:
        """Whether there is a file with content of its own at a path, and no pipe or device."""
        ...

    def identity(self, path: str) -> str:
        """What a folder is whichever links lead to it."""
        ...

    def names(self, path: str) -> set[str]:
        """Names in a folder."""
        ...

    def json(self, path: str) -> dict[str, Any]:
        """Content of a JSON file that holds an object."""
        ...

    def shown(self, path: str) -> str:
        """The path or URL by which `local_file` finds it again."""
        ...


def files_at(source: str) -> Files:
    """The tree a source lies in.

    Raises:
        ConfigError: There is nothing at the source, or its file system cannot be used.
    """
    return _Remote(source) if "://" in source else _Local(source)


@contextmanager
def local_file(where: str) -> Iterator[Path]:
    """A file on this machine: the file itself, or a copy that is removed at the end of the block.

    Raises:
        CheckpointError: It cannot be fetched.
    """
    if "://" not in where:
        yield Path(where)
        return
    system, path = _file_system(where)
    with tempfile.TemporaryDirectory(prefix="interp-") as folder:
        target = Path(folder) / "checkpoint"
        try:
            with system.open(path, "rb") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**22)
        except Exception as err:  # every file system of fsspec raises errors of its own
            raise CheckpointError(f"{where}: cannot be fetched ({type(err).__name__}: {err}).") from err
        yield target


class _Local:
    def __init__(self, source: str) -> None:
        path = Path(source)
        try:
            there = path.exists()
        except (OSError, RuntimeError, ValueError) as err:  # a name too long, or links that go round
            raise ConfigError(f"{source!r}: cannot be looked at ({err}).") from err
        if not there:
            raise ConfigError(f"{source}: there is no such file or folder.")
        self.root = path.as_posix().rstrip("/") or "/"

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def is_regular(self, path: str) -> bool:
        return Path(path).is_file()

    def identity(self, path: str) -> str:
        return os.path.realpath(path)

    def names(self, path: str) -> set[str]:
        return {entry.name for entry in Path(path).iterdir()}

    def json(self, path: str) -> dict[str, Any]:
        if not Path(path).is_file():
            raise CheckpointError(f"{path}: no file with content of its own (a pipe, a device or a folder).")
        with Path(path).open("rb") as file:
            return _object(path, file.read(LARGEST_JSON + 1))

    def shown(self, path: str) -> str:
        return path


class _Remote:
    def __init__(self, source: str) -> None:
        self._protocol = source.split("://", 1)[0]
        self._system, path = _file_system(source)
        try:
            there = self._system.exists(path)
        except Exception as err:  # every file system of fsspec raises errors of its own
            raise ConfigError(f"{source}: cannot be looked at ({type(err).__name__}: {err}).") from err
        if not there:
            raise ConfigError(f"{source}: there is no such file or folder.")
        self.root = path.rstrip("/")

    def is_folder(self, path: str) -> bool:
        return bool(self._system.isdir(path))

    def is_regular(self, path: str) -> bool:
        return bool(self._system.isfile(path))

    def identity(self, path: str) -> str:
        return path

    def names(self, path: str) -> set[str]:
        return {entry.rstrip("/").rsplit("/", 1)[-1] for entry in self._system.ls(path, detail=False)}

    def json(self, path: str) -> dict[str, Any]:
        with self._system.open(path, "rb") as file:
            return _object(path, file.read(LARGEST_JSON + 1))

    def shown(self, path: str) -> str:
        return f"{self._protocol}://{path.lstrip('/') if self._protocol != 'file' else path}"


def _file_system(source: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(source)
    except ImportError as err:
        raise ConfigError(f"{source}: URLs need a package ({err}): pip install 'lightning-interp[checkpoints]'.") from err
    except ValueError as err:
        raise ConfigError(f"{source}: {err}.") from err
    return system, str(path)


def _object(path: str, content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST_JSON:
        raise CheckpointError(f"{path}: over {LARGEST_JSON:,} bytes, far more than such a file has. Restore the file.")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise CheckpointError(f"{path}: no JSON ({err}). Restore the file.") from err
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object. Restore the file.")
    return found
