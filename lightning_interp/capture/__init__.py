# SPDX-License-Identifier: Apache-2.0
"""From a live module to snapshots on disk: when, what, the copy, the probe, the writer."""

from lightning_interp.capture.buffers import CopySet, SnapshotBuffers
from lightning_interp.capture.clone import RawSnapshot, check_capturable, take_snapshot
from lightning_interp.capture.combined_loaders import combined, first_batch, is_combined
from lightning_interp.capture.further_loaders import MOST_LOADERS, FurtherLoader, first_loader, further_loaders
from lightning_interp.capture.plain_tensors import changed_since, mark_plain_tensors
from lightning_interp.capture.probe import Transfer, as_loaded, build_probe, is_map_style, read_further, room_beside
from lightning_interp.capture.readable_examples import data_sets_kept
from lightning_interp.capture.recorder import Recorder
from lightning_interp.capture.sampled_indices import shared_examples
from lightning_interp.capture.schedule import EveryNSteps, LogSpaced, Schedule
from lightning_interp.capture.selection import select_layers, select_parameters
from lightning_interp.capture.streamed_probe import StreamedProbe

__all__ = [
    "MOST_LOADERS",
    "CopySet",
    "EveryNSteps",
    "FurtherLoader",
    "LogSpaced",
    "RawSnapshot",
    "Recorder",
    "Schedule",
    "SnapshotBuffers",
    "StreamedProbe",
    "Transfer",
    "as_loaded",
    "build_probe",
    "changed_since",
    "check_capturable",
    "combined",
    "data_sets_kept",
    "first_batch",
    "first_loader",
    "further_loaders",
    "is_combined",
    "is_map_style",
    "mark_plain_tensors",
    "read_further",
    "room_beside",
    "select_layers",
    "select_parameters",
    "shared_examples",
    "take_snapshot",
]
