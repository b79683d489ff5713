# SPDX-License-Identifier: Apache-2.0
"""Append-only files of JSON lines: one writer, any number of readers that remember a byte offset.

A line that cannot be read costs itself alone; it is named once, with its number. Memory is that of one part of the file.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from lightning_interp.core.console import warn_once
from lightning_interp.store.bounded_file import open_descriptor, open_regular, open_to_change, parse_json

LONGEST_LINE = 2**24
"""Bytes of a line; a record with vectors of a large network has some 100 kB."""
MOST_NAMED = 3
"""Lines of one file that are named; of more only the number is said."""
_PART = 2**20
_BOM = b"\xef\xbb\xbf"

Check = Callable[[dict[str, Any]], str | None]
"""What is wrong with a row, in words; None if nothing is."""


def cut_torn_tail(path: Path) -> int:
    """Remove an unfinished last line left by a killed writer; returns the bytes removed. Call once before appending."""
    if not path.exists():
        return 0
    with open_to_change(path) as handle:
        size = end = os.fstat(handle.fileno()).st_size
        whole = 0
        while end > 0 and not whole:
            begin = max(0, end - _PART)
            handle.seek(begin)
            found = handle.read(end - begin).rfind(b"\n")
            whole, end = (begin + found + 1 if found >= 0 else 0), begin
        handle.truncate(whole)
    return size - whole


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row in a single write.

    Raises:
        ValueError: The row holds NaN or infinity, which JSON has no token for.
        OSError: The file cannot be written, with the system's number; nothing of the row is in it.
        RunError: Something else is in its place.
    """
    line = (json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n").encode()
    # Windows has files of text and of bytes, and counts the bytes of the former differently when they are written and read.
    descriptor = open_descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        whole = os.fstat(descriptor).st_size
        written = os.write(descriptor, line)
        if written < len(line):  # a full disk takes part of a line; the next line must not follow it
            number = _refusal(descriptor, line[written:])
            os.ftruncate(descriptor, whole)
            refused = OSError(f"{path}: only {written} of {len(line)} bytes could be written; the disk is full.")
            refused.errno = number
            raise refused
    finally:
        os.close(descriptor)


def _refusal(descriptor: int, rest: bytes) -> int:
    """The system's number for why it does not take the rest of a line, which only the next write is told."""
    try:
        os.write(descriptor, rest)
    except OSError as err:
        return err.errno or errno.EIO
    return errno.ENOSPC  # there is room again: the line is tried again as a whole


def read_lines(
    path: Path, offset: int = 0, *, most: int = -1, check: Check = lambda _: None
) -> tuple[list[dict[str, Any]], int]:
    """Whole rows from a byte offset on, and the offset to go on from. A torn last line is left for the next call.

    Args:
        path: File of JSON lines; one that is not there has none.
        offset: Where to begin.
        most: Bytes to read at most, but for the rest of a line; all where negative.
        check: What is wrong with a row; such rows are left out and named.

    Raises:
        RunError: Something else than a file is in its place.
        OSError: It cannot be read.
    """
    rows: list[dict[str, Any]] = []
    try:
        handle = open_regular(path)
    except FileNotFoundError:
        return rows, 0
    damaged = _Damaged(path)
    with handle:
        handle.seek(offset)
        until = None if most < 0 else offset + most
        for line, end in _whole_lines(handle):
            row, reason = _row(line.removeprefix(_BOM) if offset == 0 else line, check)
            if row is not None:
                rows.append(row)
            elif reason:
                damaged.add(handle, offset, reason)
            offset = end
            if until is not None and offset >= until:
                break
    damaged.say_rest()
    return rows, offset


def _whole_lines(handle: BufferedReader) -> Iterator[tuple[bytes, int]]:
    """Lines with where each ends; the start of one that is too long stands for the whole of it."""
    end = handle.tell()
    while True:
        line = handle.readline(LONGEST_LINE + 1)
        end += len(line)
        if len(line) > LONGEST_LINE:
            while (rest := handle.readline(_PART)) and not rest.endswith(b"\n"):
                end += len(rest)
            yield line, end + len(rest)
            end += len(rest)
        elif line.endswith(b"\n"):
            yield line, end
        else:
            return


def _row(line: bytes, check: Check) -> tuple[dict[str, Any] | None, str | None]:
    """The row of a line, or why there is none; neither of an empty line."""
    if len(line) > LONGEST_LINE:
        return None, f"over {LONGEST_LINE >> 20} MiB without an end"
    if not line.strip():
        return None, None
    try:
        row = parse_json(line)
    except ValueError as err:
        return None, f"no JSON: {err}"
    if not isinstance(row, dict):
        return None, f"expected a JSON object, got {type(row).__name__}"
    reason = check(row)
    return (row, None) if reason is None else (None, reason)


class _Damaged:
    """Says which lines of a file cannot be read, each once in a process."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0

    def add(self, handle: BufferedReader, at: int, reason: str) -> None:
        """A line that begins at a byte."""
        self._count += 1
        if self._count <= MOST_NAMED:
            warn_once(f"{self._path}, line {_line_number(handle, at)}: left out ({reason}). All other lines are used.")

    def say_rest(self) -> None:
        """How many more there were."""
        if self._count > MOST_NAMED:
            more = self._count - MOST_NAMED
            warn_once(f"{self._path}: {more:,} more line{' is' if more == 1 else 's are'} left out, which cannot be read.")


def _line_number(handle: BufferedReader, at: int) -> int:
    """Number of the line that begins at a byte, the first is 1; the handle stays where it is."""
    here, number = handle.tell(), 1
    handle.seek(0)
    while at > 0:
        part = handle.read(min(at, _PART))
        if not part:
            break
        number += part.count(b"\n")
        at -= len(part)
    handle.seek(here)
    return number
