# SPDX-License-Identifier: Apache-2.0
"""records.jsonl: one line for each observed snapshot, and which of the lines still stand after a resume."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_interp.core.records import Record
from lightning_interp.core.typed_values import fields_of, misfit
from lightning_interp.store.jsonl import append_line, read_lines
from lightning_interp.store.layout import RECORDS
from lightning_interp.store.manifest import Manifest
from lightning_interp.store.surviving_records import valid_rows


def append_record(run_dir: Path, record: Record) -> None:
    """Append one record; only the analyzer that holds the lock calls this. Without vectors the line has no such key."""
    row = asdict(record)
    if not record.vectors:
        del row["vectors"]
    append_line(run_dir / RECORDS, row)


def read_records(run_dir: Path, manifest: Manifest) -> list[Record]:
    """Records that stand, one a step, ascending."""
    rows, _ = read_rows(run_dir)
    return surviving_records(rows, manifest)


def read_rows(run_dir: Path, offset: int = 0, *, most: int = -1) -> tuple[list[dict[str, Any]], int]:
    """Rows of records.jsonl from a byte offset on, as `read_lines`; those that are no record are left out and named."""
    return read_lines(run_dir / RECORDS, offset, most=most, check=_problem)


def _problem(row: Mapping[str, Any]) -> str | None:
    """Why a row is no record, None if it is one."""
    missing = [name for name in ("step", "attempt", "values") if name not in row]
    if missing:
        return f"no `{missing[0]}`"
    below = next((name for name in ("step", "attempt") if isinstance(row[name], int) and row[name] < 0), None)
    return f"`{below}` is below 0" if below else misfit(row, fields_of(Record))


def surviving_records(rows: Iterable[Mapping[str, Any]], manifest: Manifest) -> list[Record]:
    """Rows as records, without steps that a later start of the training took back, the last of each step."""
    kept = valid_rows(((row["step"], row["attempt"], row) for row in rows), manifest.resumed_steps)
    return [to_record(row) for row in kept.values()]


def to_record(row: Mapping[str, Any]) -> Record:
    """A line of records.jsonl as a `Record`; fields this version does not know are ignored."""
    layers = {name: tuple(values) for name, values in row.get("layers", {}).items()}
    vectors = {name: tuple(entries) for name, entries in row.get("vectors", {}).items()}
    return Record(row["step"], row["attempt"], row["values"], layers, row.get("skipped", {}), vectors)
