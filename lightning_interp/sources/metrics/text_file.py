# SPDX-License-Identifier: Apache-2.0
"""Metrics in text files: opening one, whatever its encoding, or saying why it cannot be read."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from lightning_interp.core.errors import InterpError, MetricsError, RunError
from lightning_interp.store.bounded_file import check_regular, open_regular

LONGEST_LINE = 8 * 2**20
"""Most characters of a line. A row of 100,000 numbers has two million."""
LARGEST_FILE = 8 * 2**30
"""Most bytes of text that are read, unpacked."""

_START = 4096
_SHOWN = 4
_TABLES = (".csv", ".tsv", ".json", ".jsonl")
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd", b"PAR1": "Parquet"}
_DATABASE = b"SQLite format 3"
_GZIP = b"\x1f\x8b"
_WAYS = "Give the metrics as CSV or JSONL text."


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, packed by gzip or not, and tell people in one sentence why it cannot be read.

    Lines end in the reader's hands at ``LONGEST_LINE`` characters: use `lines_of`.

    Raises:
        MetricsError: Missing, a folder, no regular file, empty, not readable or not text.
    """
    if path.is_dir():
        raise MetricsError(
            f"{path}: a folder without run.json.{_files_in(path)} Give a CSV or JSONL file, a run directory, a W&B run, a "
            "TensorBoard log, an MLflow run or a DVCLive folder."
        )
    try:
        with _unpacked(path) as binary:
            start = _peek(binary)
            if not start.strip():
                raise MetricsError(f"{path}: the file is empty. Give a file with a header and at least one record.")
            with io.TextIOWrapper(binary, encoding=_encoding(start, path), newline="") as handle:
                yield handle
    except RunError as err:
        raise _no_file(err) from err
    except FileNotFoundError as err:
        raise MetricsError(f"{path}: no such file. Check the path.") from err
    except UnicodeError as err:
        reason = getattr(err, "reason", None) or str(err)
        raise MetricsError(f"{path}: not UTF-8 text ({reason}). Save it as UTF-8. {_WAYS}") from err
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise MetricsError(f"{path}: the packed file is damaged or cut short ({err}). Unpack what is there first.") from err
    except OSError as err:
        raise MetricsError(f"{path}: cannot be read ({err.strerror or err}).") from err
    except ValueError as err:  # a NUL in the path
        raise MetricsError(f"{path}: cannot be read ({err}).") from err


def check_file(path: Path) -> None:
    """Refuse what other readers would wait for, or never come to the end of: a pipe, a device, a link to itself.

    Raises:
        MetricsError: It is no regular file, or cannot be opened.
    """
    try:
        check_regular(path)
    except RunError as err:
        raise _no_file(err) from err
    except (OSError, ValueError) as err:
        raise MetricsError(f"{path}: cannot be read ({getattr(err, 'strerror', None) or err}).") from err


def _no_file(err: RunError) -> MetricsError:
    """What is said of a pipe or device."""
    return MetricsError(f"{str(err).partition(', not a file')[0]}, which has no content of its own. {_WAYS}")


def _files_in(path: Path) -> str:
    """What in a folder may be given: series of one run together, or one of them."""
    try:
        names = sorted(each.name for each in path.iterdir() if each.suffix.lower() in _TABLES)
    except OSError:
        return ""
    if not names:
        return ""
    given = " ".join(f"{path}/{name}" for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return f" If the files in it are of one run, give them together: lightning-interp phases {given}; else one of them."


def lines_of(handle: TextIO, path: Path) -> Iterator[str]:
    """Lines of an open file, one by one, with their ends.

    Raises:
        MetricsError: A line, or the whole, is longer than what a metrics file can be.
    """
    read = number = 0
    while line := handle.readline(LONGEST_LINE + 1):
        number += 1
        read += len(line)
        if len(line) > LONGEST_LINE:
            raise MetricsError(f"{path}, line {number}: over {LONGEST_LINE:,} characters. {_WAYS}")
        if read > LARGEST_FILE:
            raise MetricsError(f"{path}, line {number}: over {LARGEST_FILE:,} characters so far. Give a part of it.")
        yield line


def start_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked; nothing where it cannot be read: whoever takes the path says why."""
    try:
        with _unpacked(path) as binary:
            start = _peek(binary)
            return start.decode(_encoding(start, path), errors="ignore").encode()
    except (OSError, EOFError, ValueError, zlib.error, InterpError):
        return b""


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    with open_regular(path) as raw:
        packed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield io.BufferedReader(unpacked)


def _peek(binary: BinaryIO) -> bytes:
    start = binary.read(_START)
    binary.seek(0)
    return start


def _encoding(start: bytes, path: Path) -> str:
    """Encoding of a text by its first bytes.

    Raises:
        MetricsError: They are those of no text.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start.startswith(_DATABASE):
        raise MetricsError(
            f"{path}: a SQLite database (MLflow's, Aim's or trackio's). Export the run as CSV and give that; of MLflow "
            "`mlflow.search_runs` and `MlflowClient().get_metric_history` give the values."
        )
    kind = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
    if kind is not None:
        raise MetricsError(f"{path}: a {kind} file. Unpack or convert it. {_WAYS}")
    if b"\0" in start:
        half = len(start) // 2 * 2
        zeros = start[1:half:2].count(0), start[0:half:2].count(0)
        if max(zeros) > 0.4 * half / 2 and min(zeros) == 0:
            return "utf-16-le" if zeros[0] else "utf-16-be"
        raise MetricsError(f"{path}: a binary file. {_WAYS}")
    return "utf-8-sig"
