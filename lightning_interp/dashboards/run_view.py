# SPDX-License-Identifier: Apache-2.0
"""What figures and pages draw of one run, as plain values, and how it is read from a run directory that may still grow.

`RunFollower` reads only what is new since the last look, so that a live page costs the same however long the run is.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_interp.core.errors import CorruptSnapshotError, MetricsError, RunError
from lightning_interp.core.logged_curves import NAMES, logged_series
from lightning_interp.core.outcome import OUTCOME_STEP
from lightning_interp.core.records import Record
from lightning_interp.core.series import GrowingSeries, Series, add_values
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.layer_grid import GrowingGrid, LayerGrid
from lightning_interp.measures.label import Label, Labels, read_labels
from lightning_interp.measures.logged_names import logged_name, record_name
from lightning_interp.measures.registry import MAX_SCALARS, known_labels
from lightning_interp.store.analysis_state import read_analysis
from lightning_interp.store.components_file import StoredComponents, component_files, read_components
from lightning_interp.store.file_identity import ChangedFiles
from lightning_interp.store.health_log import HealthRow, OfSnapshot, events, read_health, valid_events
from lightning_interp.store.layout import ANALYSIS, COMPONENTS, HEALTH, MANIFEST, PHASES, RECORDS
from lightning_interp.store.manifest import Manifest, read_manifest
from lightning_interp.store.recordlog import read_rows, surviving_records
from lightning_interp.store.standing import Standing, measured_steps, standing_of
from lightning_interp.store.timeline_file import read_timeline

Vectors = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Optimizer steps [step], and what was recorded at each [step, entry]."""

LOGGED_PREFIX = "logged/"
SETTINGS = {
    "lr": Label("learning rate", log=True),
    "weight_decay": Label("weight decay"),
    "batch_size": Label("batch size", "examples"),
}
"""What a training is set to, no measure gives these; of several values there are ``lr``, ``lr/1`` and so on."""
PART_BYTES = 2**22
"""Bytes of records that are parsed at a time."""


@dataclass(frozen=True)
class RunView:
    """Everything a figure can draw of one run; a follower's next look may add to the series in place.

    Attributes:
        name: Name of the run, plain text that may hold anything.
        series: Scalar records by name, without those of `logged`.
        timeline: Phases found so far; of verdict ``unknown`` where there are none yet.
        by_layer: Values of each measure by layer or parameter.
        vectors: Recorded vectors by name: steps, and entries [step, entry].
        training: At each snapshot: ``lr``, ``weight_decay``, ``batch_size``, and ``logged/<name>``.
        health: The monitor's own events, as in health.jsonl.
        components: Tensor components of the latest fits.
        manifest: Content of run.json, None of a metrics history.
        analysis: Content of analysis.json, empty where there is none.
        path: Run directory, None of a metrics history.
        logged: Losses and accuracies as the training logged them, by the curve they are judged as; empty where the probe's
            are.
    """

    name: str
    series: Series
    timeline: Timeline
    by_layer: Mapping[str, LayerGrid] = field(default_factory=dict)
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    training: Series = field(default_factory=dict)
    health: tuple[HealthRow, ...] = ()
    components: tuple[StoredComponents, ...] = ()
    manifest: Manifest | None = None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    logged: Series = field(default_factory=dict)

    def events(self, kind: OfSnapshot) -> list[HealthRow]:
        """Health rows of one kind that stand, one a step, ascending: without what a resume took back."""
        resumed = {} if self.manifest is None else self.manifest.resumed_steps
        return list(valid_events(self.health, kind, resumed).values())

    @cached_property
    def labels(self) -> Labels:
        """Labels of the run's own measures, by name; of built-in ones the registry has them, whatever a file says."""
        found = read_labels(self.analysis.get("labels"), most=MAX_SCALARS)
        return {name: label for name, label in found.items() if name not in known_labels()}

    @property
    def last_step(self) -> int:
        """Latest optimizer step of any record or phase, 0 where there is none."""
        ends = [steps[-1] for steps, _ in self.series.values() if steps]
        return max([*ends, *(phase.end or phase.start for phase in self.timeline.phases)], default=0)


def view_history(name: str, series: Series, timeline: Timeline) -> RunView:
    """A run of which only a metrics history is known."""
    own = {name: points for name, points in series.items() if name not in NAMES}
    return RunView(name, own, timeline, logged=logged_series(series))


def view_run(path: str | Path) -> RunView:
    """A run directory as it is now.

    Raises:
        RunError: This is no run directory, one of another schema, or a file in it cannot be read.
    """
    return RunFollower(Path(path)).look()


class RunFollower:
    """Looks at a run directory again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset, self._last_step = 0, -1
        self._health_offset, self._training_step = 0, -1
        self._view = self._unread
        self._stored: Timeline | None = None
        self._judged_as: tuple[Timeline | None, Standing | None] = (None, None)
        self._forget()

    def look(self) -> RunView:
        """The run now: the same object where nothing has changed since the last look.

        Raises:
            RunError: As for `view_run`; the next look tries again.
        """
        try:
            changes = {**self._look_at_manifest(), **self._look_at_records(), **self._look_at_health()}
            changes |= {**self._look_at_results(), **self._look_at_components()}
            changes |= self._judged()
        except RunError:
            self._forget()
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MetricsError) as err:
            self._forget()  # what was read before the error would be missed by the next look
            raise RunError(f"{self.path}: cannot be read now ({type(err).__name__}: {err}).") from err
        if changes:
            self._view = replace(self._view, **changes)
        return self._view

    def _look_at_manifest(self) -> dict[str, Any]:
        unchanged = not self._files.changed(MANIFEST) and (self.path / MANIFEST).exists()
        if unchanged and self._view.manifest is not None:
            return {}
        manifest, before = read_manifest(self.path), self._view.manifest
        if before is None or (before.attempts, before.layers) != (manifest.attempts, manifest.layers):
            self._forget_records()
        self._view = replace(self._view, manifest=manifest)
        return {"manifest": manifest}

    def _look_at_records(self) -> dict[str, Any]:
        if not self._files.changed(RECORDS) and self._offset:
            return {}
        manifest, changed = self._view.manifest, False
        while manifest is not None and self._read_records(manifest):
            changed = True
        if not changed or manifest is None:
            return {}
        return {
            "series": self._series,
            "logged": logged_series(self._series | self._logged),
            "by_layer": {name: grid.view(manifest.layers) for name, grid in self._grids.items()},
            "vectors": {name: grid.rows for name, grid in self._vectors.items()},
        }

    def _read_records(self, manifest: Manifest) -> bool:
        """Take in the next part of the records, so that a long file is never in memory as a whole; False at its end."""
        before = self._offset
        rows, self._offset = read_rows(self.path, before, most=PART_BYTES)
        if rows and min(row["step"] for row in rows) <= self._last_step:  # an earlier step once more: all from the start
            self._forget_records()
            rows, self._offset = read_rows(self.path)
        for record in surviving_records(rows, manifest):
            self._take(record, manifest.layers)
        return self._offset > before

    def _look_at_health(self) -> dict[str, Any]:
        if not self._files.changed(HEALTH):
            return {}
        rows, self._health_offset = read_health(self.path, self._health_offset)
        self._health += rows
        return {"health": tuple(self._health), "training": self._trained(rows)} if rows else {}

    def _trained(self, rows: Sequence[HealthRow]) -> Series:
        """The training's series with new rows: added at the end, or all of them again where a resume took some back."""
        steps = [row["step"] for row in events(rows, "snapshot")]
        resumed = {} if self._view.manifest is None else self._view.manifest.resumed_steps
        goes_on = not resumed and (not steps or (steps == sorted(steps) and steps[0] > self._training_step))
        self._training_step = max([self._training_step, *steps])
        if not goes_on:
            return training_series(self._health, resumed)
        known = {name: (list(kept), list(values)) for name, (kept, values) in self._view.training.items()}
        return training_series(rows, {}, known)

    def _look_at_results(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._files.changed(PHASES):
            self._stored = read_timeline(self.path)
        if self._files.changed(ANALYSIS):
            found["analysis"] = read_analysis(self.path)
        return found

    def _judged(self) -> dict[str, Any]:
        """The timeline in the state that what is on disk now puts it in; nothing where it was in that one before."""
        assert self._view.manifest is not None, "was looked at first"
        standing = standing_of(
            self.path, self._view.manifest, self._recorded, stored=self._stored, now=time.time(), health=self._health
        )
        if (self._stored, standing) == self._judged_as:
            return {}
        self._judged_as = self._stored, standing
        return {"timeline": standing.judge(self._stored or Timeline("unknown"))}

    def _look_at_components(self) -> dict[str, Any]:
        paths = sorted((self.path / COMPONENTS).glob("*.safetensors"))
        if not [path for path in paths if self._files.changed(f"{COMPONENTS}/{path.name}")]:
            return {}
        found = []
        for _, layer, _ in component_files(self.path):
            try:
                found += [read_components(self.path, layer)] if layer else []
            except (CorruptSnapshotError, RunError):  # damaged, or replaced meanwhile: the others are drawn
                continue
        order = {} if self._view.manifest is None else {n: k for k, n in enumerate(self._view.manifest.layers)}
        return {"components": tuple(sorted(found, key=lambda each: order.get(each.layer, len(order))))}

    @property
    def _unread(self) -> RunView:
        return RunView(self.path.resolve().name, {}, Timeline("unknown"), path=self.path)

    def _forget(self) -> None:
        """Begin anew: the next look reads everything."""
        self._files = ChangedFiles(self.path)
        self._view = self._unread
        self._stored, self._judged_as = None, (None, None)
        self._forget_records()
        self._health: list[dict[str, Any]] = []
        self._health_offset, self._training_step = 0, -1

    def _forget_records(self) -> None:
        self._offset, self._last_step = 0, -1
        self._recorded: dict[int, bool] = {}
        self._series: GrowingSeries = {}
        self._logged: GrowingSeries = {}
        self._grids: dict[str, GrowingGrid] = {}
        self._vectors: dict[str, GrowingGrid] = {}

    def _take(self, record: Record, layers: tuple[str, ...]) -> None:
        self._last_step = record.step
        self._recorded |= measured_steps([record])
        values = _numbers(record.values)
        values.pop(OUTCOME_STEP, None)  # a place, no measure of the network
        add_values(self._logged, record.step, {name: values.pop(name) for name in NAMES & values.keys()})
        add_values(self._series, record.step, values)
        for name, row in record.layers.items():
            if len(row) == len(layers):
                self._grids.setdefault(name, GrowingGrid(len(layers))).append(record.step, row)
        for name, entries in record.vectors.items():
            grid = self._vectors.setdefault(name, GrowingGrid(len(entries)))
            if len(entries) == grid.width:  # parameters that came later make another vector, which fits no other
                grid.append(record.step, entries)


def training_series(
    health: Iterable[HealthRow], resumed: Mapping[int, int], known: GrowingSeries | None = None
) -> GrowingSeries:
    """What health rows of snapshots hold of the training: its settings by name, what was logged as ``logged/<name>``.

    Args:
        health: Rows of health.jsonl.
        resumed: Step each later start continued from, by its number; what it took back is left out.
        known: Series of earlier rows, to add to.
    """
    found = {} if known is None else known
    for step, row in valid_events((row for row in health if row.get("scalars")), "snapshot", resumed).items():
        for name, value in _numbers(row["scalars"]).items():
            if name == logged_name(OUTCOME_STEP):
                continue
            add_values(found, step, {_training_name(name, row["scalars"]): float(value)})
    return found


def _training_name(name: str, scalars: Mapping[str, Any]) -> str:
    """A setting by its plain name, also where a loop of one's own passed it to `Monitor.step`; else ``logged/<name>``."""
    setting = record_name(name)
    if setting is not None:
        return setting
    return name if name in SETTINGS and logged_name(name) not in scalars else LOGGED_PREFIX + name


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: v for name, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
