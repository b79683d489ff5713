# SPDX-License-Identifier: Apache-2.0
"""The run directory: everything between the stages is a file in it, committed by its name."""

from lightning_interp.store.components_file import (
    FollowState,
    StoredComponents,
    read_components,
    read_follow_state,
    write_components,
)
from lightning_interp.store.lock import analyzer_lock
from lightning_interp.store.manifest import Attempt, Manifest, Provenance, holds_run, read_manifest, write_manifest
from lightning_interp.store.probe_file import read_probe, write_probe
from lightning_interp.store.recordlog import append_record, read_records
from lightning_interp.store.resume import resume_run
from lightning_interp.store.run import Run, open_run
from lightning_interp.store.snapshots import read_snapshot, snapshot_steps, write_snapshot

__all__ = [
    "Attempt",
    "FollowState",
    "Manifest",
    "Provenance",
    "Run",
    "StoredComponents",
    "analyzer_lock",
    "append_record",
    "holds_run",
    "open_run",
    "read_components",
    "read_follow_state",
    "read_manifest",
    "read_probe",
    "read_records",
    "read_snapshot",
    "resume_run",
    "snapshot_steps",
    "write_components",
    "write_manifest",
    "write_probe",
    "write_snapshot",
]
