# SPDX-License-Identifier: Apache-2.0
"""Reading a run directory: the one object behind reports, notebooks, the command line and other tools."""

import time
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Probe, Record, Snapshot
from lightning_interp.core.series import Series, layer_series, series_of
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.core.timeline import Timeline
from lightning_interp.store.analysis_state import read_analysis
from lightning_interp.store.components_file import StoredComponents, component_layers, read_components
from lightning_interp.store.export import export_records, labelled_records
from lightning_interp.store.health_log import read_health
from lightning_interp.store.layout import OBSERVATIONS, committed_steps, step_file
from lightning_interp.store.manifest import Manifest, Status, read_manifest
from lightning_interp.store.probe_file import read_probe
from lightning_interp.store.recordlog import read_records
from lightning_interp.store.snapshots import read_snapshot, snapshot_steps
from lightning_interp.store.standing import Standing, measured_steps, standing_of
from lightning_interp.store.tensor_file import read_tensors
from lightning_interp.store.timeline_file import read_timeline

if TYPE_CHECKING:
    import xarray


def open_run(path: str | PathLike[str]) -> "Run":
    """Open a run directory for reading, while it is being written or after.

    Raises:
        RunError: There is no run at this path, or it has another schema.
    """
    return Run(Path(path))


class Run:
    """A run directory. Every property reads what is committed at the time it is asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        read_manifest(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self.steps)} snapshots)"

    @property
    def manifest(self) -> Manifest:
        """Content of run.json."""
        return read_manifest(self.path)

    @property
    def steps(self) -> list[int]:
        """Steps with a committed snapshot, ascending."""
        return snapshot_steps(self.path)

    def snapshot(self, step: int) -> Snapshot:
        """Weights and logged scalars of one step.

        Raises:
            RunError: No snapshot at this step.
            CorruptSnapshotError: The file is damaged.
        """
        return read_snapshot(self.path, step)

    @cached_property
    def probe(self) -> Probe | None:
        """The fixed probe, None where it is not stored."""
        return read_probe(self.path)

    @property
    def all_records(self) -> list[Record]:
        """Every record that stands, ascending in step."""
        return read_records(self.path, self.manifest)

    def records(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """One series: (steps, values), for a scalar name, or ``measure/<layer or parameter>`` for per-layer detail.

        Raises:
            RunError: No record has this name; the message lists what there is.
        """
        records, layers = self.all_records, self.manifest.layers
        measure, _, layer = name.partition("/")
        if layer and layer in layers:
            found = layer_series(((r.step, r.layers[measure]) for r in records if measure in r.layers), layers).get(layer)
        else:
            found = series_of((r.step, r.values) for r in records).get(name)
        if found is None:
            known = ", ".join(sorted({key for r in records for key in r.values})) or "nothing yet"
            detail = ", ".join(sorted({key for r in records for key in r.layers}))
            by_layer = f"; by layer, as 'name/<layer>': {detail}" if detail else ""
            raise RunError(f"{self.path}: no record named {name!r}. Recorded: {known}{by_layer}.")
        return np.asarray(found[0], dtype=np.int64), np.asarray(found[1], dtype=np.float64)

    @property
    def series(self) -> Series:
        """Every scalar series by name: (steps, values)."""
        return series_of((record.step, record.values) for record in self.all_records)

    @property
    def observed_steps(self) -> list[int]:
        """Steps with stored activations, ascending."""
        return committed_steps(self.path / OBSERVATIONS)

    def activations(self, layer: str) -> Float[Tensor, "snapshot stimulus unit"]:
        """Stored activations of one layer over all observed snapshots; stimuli are train examples, then held-out ones.

        Raises:
            RunError: The layer is not stored; the message lists the layers that are.
        """
        steps = self.observed_steps
        try:
            slices = [read_tensors(step_file(self.path / OBSERVATIONS, s), [layer]).tensors[layer] for s in steps]
        except KeyError as err:
            raise RunError(f"{self.path}: {err.args[0]}") from err
        if not slices:
            raise RunError(f"{self.path}: no activations are stored yet.")
        return torch.stack(slices)

    @property
    def component_layers(self) -> tuple[str, ...]:
        """Layers with tensor components, in run.json order."""
        order = {layer: position for position, layer in enumerate(self.manifest.layers)}
        return tuple(sorted(component_layers(self.path), key=lambda layer: order.get(layer, len(order))))

    def components(self, layer: str) -> StoredComponents:
        """Tensor components of one layer, from the latest fit.

        Raises:
            RunError: The layer has none; the message lists the layers that do.
            CorruptSnapshotError: The file is damaged.
        """
        return read_components(self.path, layer)

    @property
    def timeline(self) -> Timeline | None:
        """The current timeline in the state it is in now; None before there is a snapshot, or one still to be judged."""
        return self.timeline_at(time.time())

    def timeline_at(self, now: float, *, status: Status | None = None) -> Timeline | None:
        """The same at a time in seconds since 1970; `status` is how the training stands if run.json cannot know."""
        stored = self._stored_timeline
        return self._standing(stored, now, status).judge_if_any(stored)

    def standing(self) -> Standing:
        """How much of the run is analyzed now, and whether more is to come."""
        return self._standing(self._stored_timeline, time.time(), None)

    def _standing(self, stored: Timeline | None, now: float, status: Status | None) -> Standing:
        manifest = self.manifest
        recorded = measured_steps(read_records(self.path, manifest))
        return standing_of(self.path, manifest, recorded, stored=stored, now=now, status=status)

    @property
    def _stored_timeline(self) -> Timeline | None:
        """The timeline as the analyzer wrote it."""
        return read_timeline(self.path)

    @property
    def analysis(self) -> dict[str, Any]:
        """State and choices of the analyzer: where outputs come from, device, notices, what is pending."""
        return read_analysis(self.path)

    @property
    def health(self) -> list[dict[str, Any]]:
        """The monitor's own events: snapshots written and dropped, their cost, resumes, the analyzer's end."""
        return read_health(self.path)[0]

    def to_xarray(self) -> "xarray.Dataset":
        """Scalars [step] and per-layer values [step, layer] as a labelled data set (extra ``export``)."""
        return labelled_records(self.all_records, self.manifest.layers)

    def to_zarr(self, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
        """Write what `to_xarray` gives as a zarr folder (extra ``export``)."""
        return self.export(path, format="zarr", overwrite=overwrite)[0]

    def export(self, target: str | PathLike[str], *, format: str | None = None, overwrite: bool = False) -> tuple[Path, ...]:
        """Write the records for other tools: zarr, parquet or CSV; `export_records` has names and errors."""
        records, layers = self.all_records, self.manifest.layers
        return export_records(records, layers, target, run_dir=self.path, format=format, overwrite=overwrite)
