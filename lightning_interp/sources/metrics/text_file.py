# SPDX-License-Identifier: Apache-2.0
"""Metrics in text files: opening one, or saying why it cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from lightning_interp.core.errors import MetricsError


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, and tell people in one sentence why it cannot be read.

    Raises:
        MetricsError: Missing, a folder, empty, not readable or not text.
    """
    if path.is_dir():
        raise MetricsError(
            f"{path}: a folder without run.json. Give a CSV or JSONL file, a run directory, a W&B run or a TensorBoard log."
        )
    try:
        with path.open("rb") as binary:
            start = binary.read(4096)
        if not start.strip():
            raise MetricsError(f"{path}: the file is empty. Give a file with a header and at least one record.")
        if b"\0" in start:
            raise MetricsError(f"{path}: a binary file. Give the metrics as CSV or JSONL text.")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            yield handle
    except FileNotFoundError as err:
        raise MetricsError(f"{path}: no such file. Check the path.") from err
    except UnicodeDecodeError as err:
        raise MetricsError(f"{path}: not UTF-8 text ({err.reason}). Give the metrics as CSV or JSONL text.") from err
    except OSError as err:
        raise MetricsError(f"{path}: cannot be read ({err.strerror or err}).") from err
