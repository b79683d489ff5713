# SPDX-License-Identifier: Apache-2.0
"""records.jsonl: one line for each observed snapshot, and which of the lines still stand after a resume."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_interp.core.records import Record
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
    rows, _ = read_lines(run_dir / RECORDS)
    return surviving_records(rows, manifest)


def surviving_records(rows: Iterable[Mapping[str, Any]], manifest: Manifest) -> list[Record]:
    """Rows as records, without steps that a later start of the training took back, the last of each step."""
    kept = valid_rows(((row["step"], row["attempt"], row) for row in rows), manifest.resumed_steps)
    return [to_record(row) for row in kept.values()]


def to_record(row: Mapping[str, Any]) -> Record:
    """A line of records.jsonl as a `Record`; fields this version does not know are ignored."""
    layers = {name: tuple(values) for name, values in row.get("layers", {}).items()}
    vectors = {name: tuple(entries) for name, entries in row.get("vectors", {}).items()}
    return Record(row["step"], row["attempt"], row["values"], layers, row.get("skipped", {}), vectors)
