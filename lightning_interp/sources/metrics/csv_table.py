# SPDX-License-Identifier: Apache-2.0
"""CSV tables: one row a step under a header, as loggers write them and W&B and TensorBoard export them."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.text_file import lines_of, open_text

MOST_COLUMNS = 50_000
_SEPARATORS = ",;\t|"
_NUMBER_WITH_COMMA = re.compile(r"^\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*%?\s*$", re.IGNORECASE)
_TENSORBOARD = ["wall time", "step", "value"]
_EXPORTED = re.compile(r"^(?:run-)?(?:(?P<run>.*?)[-_])?tag-(?P<tag>.+)$")
_WITHOUT_HEADER = re.compile(r"^\d+[ ,]\s*(train|val|valid|test|eval)[ ,]\s*[-+.\deE]+$", re.IGNORECASE)
_STEP_SPLIT_LOSS = "step split loss"  # what such lines hold, as nanoGPT's successors write them
_SPACED = re.compile(r"[ \t]+")


def matches(path: Path) -> Path | None:
    """Any path: what keeps it from being a table is said when its rows are read."""
    return path


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of a CSV file; columns are separated by commas, semicolons, tabs, bars or spaces, whichever the header holds.

    Lines before the header that begin with ``#``, repeated headers and columns without a name are skipped. Of a last
    line without an end the last cell is left out if it is shorter than others of its column have been.

    Raises:
        MetricsError: No text file, a column twice, or a row longer than the header.
    """
    with open_text(path) as handle:
        source = _Lines(lines_of(handle, path))
        header = _header(source)
        if _WITHOUT_HEADER.match(header.strip()):
            source.put_back(header)
            header = _STEP_SPLIT_LOSS.replace(" ", "," if "," in header else " ")
        separator = _separator(header)
        try:
            columns = _columns(header, separator, path, source.number)
            if [name.lower() for name in columns] == _TENSORBOARD:
                columns = ["wall time", "step", _series_name(path)]
            yield from _rows(source, columns, separator, path, asked)
        except csv.Error as err:
            raise MetricsError(f"{path}, line {source.number}: not a CSV file ({err}).") from err


class _Lines:
    """Lines with their number, and whether the last one has an end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.number = 0
        self.ended = True
        self._again: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self.number += 1
        self.ended = line.endswith(("\n", "\r"))
        return line.replace("\0", "")

    def put_back(self, line: str) -> None:
        """Give the last line once more."""
        self._again.append(line)
        self.number -= 1


def _header(lines: _Lines) -> str:
    for line in lines:
        text = line.strip()
        if text and not text.lower().startswith("sep=") and not (text.startswith("#") and not _names_columns(text)):
            return line.lstrip("# ") if text.startswith("#") else line
    return ""


def _names_columns(text: str) -> bool:
    """Whether a comment is the header, as `numpy.savetxt` writes it."""
    names = re.split(r"[,;\t ]+", text.lower().lstrip("# "))
    return len({"step", "epoch", "iter", "iteration", "loss", "train_loss"} & set(names)) > 1


def _separator(header: str) -> str:
    most = max(_SEPARATORS, key=header.count)
    return most if most in header else " " if _SPACED.search(header.strip()) else ","


def _columns(header: str, separator: str, path: Path, line: int) -> list[str]:
    if separator == " ":
        columns = header.split()
    else:
        columns = [name.strip() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True))]
    if len(columns) > MOST_COLUMNS:
        raise MetricsError(
            f"{path}, line {line}: over {MOST_COLUMNS:,} columns. Give those with losses and accuracies only."
        )
    seen: set[str] = set()
    repeated = next((name for name in columns if name and (name in seen or seen.add(name))), None)  # type: ignore[func-returns-value]
    if repeated is not None:
        raise MetricsError(f"{path}, line {line}: column `{repeated}` appears twice. Rename or remove one of them.")
    return columns


def _series_name(path: Path) -> str:
    """What TensorBoard downloads one series under, ``run-NAME-tag-train_loss.csv``."""
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    found = _EXPORTED.match(name)
    if found is None:
        return name
    return found["tag"] if found["run"] in (None, "", ".") else f"{found['run']} - {found['tag']}"


def _rows(lines: _Lines, columns: list[str], separator: str, path: Path, asked: Asked) -> Iterator[Row]:
    width = len(columns)
    used = [(at, name) for at, name in enumerate(columns) if name and not name.startswith("Unnamed:")]
    reader: Any = (line.split() for line in lines)
    if separator != " ":
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    longest = 0
    for row in reader:
        number = lines.number
        if not row or not any(cell.strip() for cell in row):
            continue
        if _repeats(row, columns):
            asked.note(f"{path}, line {number}: the header again, skipped.")
            continue
        if row[0].lstrip().startswith("#"):
            continue
        if not lines.ended and (len(row) < width or len(row[-1]) < longest):
            row = row[:-1]
            asked.note(f"{path}, line {number}: the last line has no end and looks cut short; its last cell is left out.")
        if len(row) == width:
            longest = max(longest, len(row[-1]))
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            raise MetricsError(
                f"{path}, line {number}: {len(row)} cells under {width} columns. Check the separator and quotes."
            )
        yield number, None, [(name, _point(row[at], separator)) for at, name in used if at < len(row)]


def _repeats(row: list[str], columns: list[str]) -> bool:
    return row[0].strip() == columns[0] and [cell.strip() for cell in row] == columns


def _point(cell: str, separator: str) -> str:
    """A cell with a decimal point: where commas do not separate, one in a number is decimal."""
    return cell.replace(",", ".") if separator != "," and _NUMBER_WITH_COMMA.match(cell) else cell
