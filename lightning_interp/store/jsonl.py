# SPDX-License-Identifier: Apache-2.0
"""Append-only files of JSON lines: one writer, any number of readers that remember a byte offset."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def cut_torn_tail(path: Path) -> int:
    """Remove an unfinished last line left by a killed writer; returns the bytes removed. Call once before appending."""
    if not path.exists():
        return 0
    with path.open("rb+") as handle:
        data = handle.read()
        whole = data.rfind(b"\n") + 1
        handle.truncate(whole)
    return len(data) - whole


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row in a single write.

    Raises:
        ValueError: The row holds NaN or infinity, which JSON has no token for.
        OSError: The file cannot be written.
    """
    line = (json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n").encode()
    # Windows has files of text and of bytes, and counts the bytes of the former differently when they are written and read.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o644)
    try:
        whole = os.fstat(descriptor).st_size
        written = os.write(descriptor, line)
        if written < len(line):  # a full disk takes part of a line; the next line must not follow it
            os.ftruncate(descriptor, whole)
            raise OSError(f"{path}: only {written} of {len(line)} bytes could be written; the disk is full.")
    finally:
        os.close(descriptor)


def read_lines(path: Path, offset: int = 0, *, most: int = -1) -> tuple[list[dict[str, Any]], int]:
    """Whole rows from a byte offset on, and the offset to go on from. A torn last line is left for the next call.

    Args:
        path: File of JSON lines; one that is not there has none.
        offset: Where to begin.
        most: Bytes to read at most, but for the rest of a line; all where negative.
    """
    if not path.exists():
        return [], 0
    with path.open("rb") as handle:
        handle.seek(offset)
        data = handle.read(most)
        if 0 <= most == len(data):
            data += handle.readline()
    whole = data.rfind(b"\n") + 1
    return [json.loads(line) for line in data[:whole].splitlines() if line.strip()], offset + whole
