# SPDX-License-Identifier: Apache-2.0
"""What a run directory says, in a few plain numbers: kept beside old run directories, and asked again by later versions."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_interp import open_run
from lightning_interp.store import Run
from lightning_interp.store.layout import ABANDONED, committed_steps


def _manifest(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "run_id": manifest.run_id,
        "status": manifest.status,
        "layers": list(manifest.layers),
        "parameters": list(manifest.parameters),
        "resumed_at": [attempt.resumed_at for attempt in manifest.attempts],
        "version": manifest.versions["lightning-interp"],
    }


def _snapshots(run: Run) -> dict[str, Any]:
    first, last = run.snapshot(run.steps[0]), run.snapshot(run.steps[-1])
    return {
        "steps": run.steps,
        "weights": {name: _tensor(tensor) for name, tensor in sorted(last.weights.items())},
        "first_scalars": dict(first.scalars),
        "last_scalars": dict(last.scalars),
    }


def _probe(run: Run) -> dict[str, Any]:
    probe = run.probe
    assert probe is not None and probe.heldout is not None, "the runs kept here have both"
    parts = {"train": probe.train, "heldout": probe.heldout}
    return {
        name: {"indices": sum(part.indices), "tensors": [_tensor(tensor) for batch in part.batches for tensor in batch]}
        for name, part in parts.items()
    }


def _details(run: Run) -> dict[str, Any]:
    """Values by layer and vectors, and how many records have them."""
    records = run.all_records
    found: dict[str, Any] = {}
    for kind in ("layers", "vectors"):
        for name in sorted({name for record in records for name in getattr(record, kind)}):
            rows = [getattr(record, kind)[name] for record in records if name in getattr(record, kind)]
            numbers = [value for row in rows for value in row if value is not None]
            found[f"{kind}/{name}"] = {"rows": len(rows), "numbers": len(numbers), "sum": math.fsum(numbers)}
    return found


def _records(run: Run) -> dict[str, Any]:
    return {name: {"steps": steps, "sum": math.fsum(values)} for name, (steps, values) in run.series.items()}


def _activations(run: Run) -> dict[str, Any]:
    return {layer: _tensor(run.activations(layer)) for layer in run.manifest.activation_layers}


def _components(run: Run) -> dict[str, Any]:
    return {layer: _fit(run, layer) for layer in run.component_layers}


def _fit(run: Run, layer: str) -> dict[str, Any]:
    stored = run.components(layer)
    return {
        "steps": list(stored.steps),
        "cp_weights": _tensor(stored.cp_weights),
        "factors": [_tensor(factor) for factor in stored.factors],
        "ids": list(stored.component_ids),
        "ranks": [row["rank"] for row in stored.table],
        "relative_error": stored.relative_error,
    }


def _timeline(run: Run) -> dict[str, Any] | None:
    found = run.timeline
    if found is None:
        return None
    return {
        "verdict": found.verdict,
        "grokking_step": found.grokking_step,
        "phases": [[phase.name, phase.start, phase.end] for phase in found.phases],
        "intensities": {
            name: {"points": len(points), "sum": math.fsum(value for _, value in points)}
            for name, points in found.intensities.items()
        },
    }


def _health(run: Run) -> dict[str, int]:
    return dict(sorted(Counter(row["event"] for row in run.health).items()))


def _abandoned(run: Run) -> dict[str, list[int]]:
    folders = sorted(folder for folder in (run.path / ABANDONED).glob("attempt_*/*") if folder.is_dir())
    return {folder.relative_to(run.path / ABANDONED).as_posix(): committed_steps(folder) for folder in folders}


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "sum": tensor.double().sum().item()}


TOPICS: dict[str, Callable[[Run], Any]] = {
    "manifest": _manifest,
    "snapshots": _snapshots,
    "probe": _probe,
    "records": _records,
    "details": _details,
    "activations": _activations,
    "components": _components,
    "timeline": _timeline,
    "health": _health,
    "abandoned": _abandoned,
}
"""Everything a reader can get of a run, by topic; sums stand for series."""


def run_facts(path: Path) -> dict[str, Any]:
    """All topics of one run directory."""
    return {topic: find(open_run(path)) for topic, find in TOPICS.items()}
