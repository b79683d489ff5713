# SPDX-License-Identifier: Apache-2.0
"""Run directories that look like trained ones, for tests of comparisons; nothing was trained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Phase, Timeline
from lightning_interp.store import Manifest, append_record, write_manifest
from lightning_interp.store.layout import OBSERVATIONS, PHASES, replace_text, step_file
from lightning_interp.store.tensor_file import write_tensors

STIMULI, UNITS = 12, 5
STEPS = (0, 1, 5, 10, 50, 100, 500, 1000, 2000, 3000, 4000, 5000, 8000)
STARTS = {
    "warm_up": 0, "fitting": 10, "memorization": 100, "circuit_formation": 1000, "cleanup": 3000, "converged": 5000
}  # fmt: skip
PROBE = {"status": "ready", "hash": "aaaa"}


def phases(starts: Mapping[str, int] = STARTS, *, width: float = 0.1) -> tuple[Phase, ...]:
    """Contiguous phases, each boundary with an interval that reaches `width` of it to both sides."""
    steps = list(starts.values())
    intervals = [(round(step * (1 - width)), round(step * (1 + width))) for step in steps]
    ends = [*zip(steps[1:], intervals[1:], strict=True), (None, None)]
    return tuple(
        Phase(name, step, end, 0.8, interval, end_interval)
        for (name, step), interval, (end, end_interval) in zip(starts.items(), intervals, ends, strict=True)
    )


def timeline(starts: Mapping[str, int] = STARTS, *, grokking_step: int | None = 4000) -> Timeline:
    return Timeline("grokking", phases(starts), evidence={"grokking_step": grokking_step})


def activations(steps: Sequence[int], *, seed: int = 0, units: int = UNITS) -> list[Tensor]:
    """Random activations, one matrix [stimulus, unit] for each step."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(STIMULI, units, generator=generator) for _ in steps]


def write_run(
    path: Path,
    *,
    scale: int = 1,
    found: Timeline | None = None,
    layers: Mapping[str, list[Tensor]] | None = None,
    probe: Mapping[str, object] = PROBE,
    steps: Sequence[int] = STEPS,
) -> Path:
    """A run directory whose steps are all multiplied by `scale`, without a timeline where `found` is None."""
    (path / OBSERVATIONS).mkdir(parents=True)
    layers = {"act": activations(steps)} if layers is None else layers
    names = tuple(layers)
    manifest = Manifest("abc123", "2026-01-01T00:00:00+00:00", names, names, (), "pkg.Net", {}, {})
    write_manifest(path, replace(manifest, probe=dict(probe)))
    for index, step in enumerate(steps):
        late = step / steps[-1]
        values = {"train_loss": 4 / (1 + step), "heldout_loss": 4 - 3.5 * late, "heldout_accuracy": late, "weight_norm": 9.0}
        append_record(path, Record(scale * step, 0, values))
        if layers:
            write_tensors(step_file(path / OBSERVATIONS, scale * step), {name: x[index] for name, x in layers.items()}, {})
    if found is not None:
        replace_text(path / PHASES, json.dumps(found.to_dict()))
    return path
