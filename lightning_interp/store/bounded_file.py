# SPDX-License-Identifier: Apache-2.0
"""Files of a run directory are opened and parsed here: only regular ones, and never more of them than fits into memory.

A run directory may come from anybody. A FIFO in the place of a file would hold its reader up for good, a device would fill
the memory, and so would a line without an end.
"""

import json
import os
import stat
from collections.abc import Mapping
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import RunError

LARGEST_OBJECT = 2**26
"""Bytes of a file that is one JSON object; that of a run of 100,000 snapshots has some 10 MB."""
LONGEST_NUMBER = 20
"""Digits of a whole number; seeds of 64 bits have as many."""
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_descriptor(path: Path, flags: int) -> int:
    """Open a file if it is a regular one; nothing is waited for.

    Raises:
        FileNotFoundError: There is none.
        RunError: Something else is in its place.
        OSError: It cannot be opened.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, flags | _NO_WAITING, 0o644)
        mode = os.fstat(descriptor).st_mode
    except IsADirectoryError as err:
        raise RunError(_in_place(path, "a folder")) from err
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        raise
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise RunError(_in_place(path, _KINDS.get(stat.S_IFMT(mode), "no regular file")))


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; errors as for `open_descriptor`."""
    return os.fdopen(open_descriptor(path, os.O_RDONLY), "rb")


def open_to_change(path: Path) -> BufferedRandom:
    """Open a file for reading and writing; errors as for `open_descriptor`."""
    return os.fdopen(open_descriptor(path, os.O_RDWR), "rb+")


def check_regular(path: Path) -> None:
    """Refuse what is no regular file; errors as for `open_descriptor`."""
    os.close(open_descriptor(path, os.O_RDONLY))


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None if there is no file.

    Raises:
        RunError: It cannot be read, is too large, or holds something else; the message names the file.
    """
    try:
        with open_regular(path) as handle:
            data = handle.read(LARGEST_OBJECT + 1)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise RunError(f"{path}: cannot be read ({err.strerror or err}).") from err
    if len(data) > LARGEST_OBJECT:
        raise RunError(f"{path}: cannot be read (over {LARGEST_OBJECT >> 20} MiB). Copy the run directory again.")
    try:
        content = parse_json(data)
    except ValueError as err:
        raise RunError(f"{path}: cannot be read as JSON ({err}). Copy the run directory again.") from err
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object, got {type(content).__name__}. Copy the run directory again.")
    return content


def parse_json(data: bytes) -> Any:
    """What JSON text holds, in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: It is no JSON, is nested too deep, or holds a whole number that no field can have.
    """
    try:
        text = data.decode(json.detect_encoding(data))
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _whole_number(text: str) -> int:
    if len(text) > LONGEST_NUMBER + 1:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


_DECODER = json.JSONDecoder(parse_int=_whole_number)


def part_of(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside another; an empty one if it is not there, or is something else."""
    part = content.get(name)
    return part if isinstance(part, Mapping) else {}


def _in_place(path: Path, kind: str) -> str:
    return f"{path}: is {kind}, not a file. Move it away, or copy the run directory again."
