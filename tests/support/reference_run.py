# SPDX-License-Identifier: Apache-2.0
"""Run directories for tests of pages: the recorded run of modular addition, whole or growing, and one that means harm.

Everything is written by the store's own writers. The recorded run has losses, accuracies, the weight norm and Gini
coefficients; learning rate and weight decay are those of its recipe (tests/data/README.md).
"""

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lightning_interp.core.records import Record
from lightning_interp.core.series import series_of
from lightning_interp.core.timeline import Alarm, Phase, Timeline
from lightning_interp.phases import detect_phases
from lightning_interp.sources.metrics.history import read_metrics
from lightning_interp.store.analysis_state import AnalysisState
from lightning_interp.store.components_file import FollowState, StoredComponents, write_components
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, PHASES, replace_text
from lightning_interp.store.manifest import Manifest, read_manifest, write_manifest
from lightning_interp.store.recordlog import append_record, read_records

REFERENCE = Path(__file__).parents[1] / "data" / "modular_addition_p113.csv"
LAST_STEP = 16_000
CLASSES = 113

SCRIPT = "<script>window.harm = 1</script>"
IMAGE = '"><img src=x onerror="window.harm = 1">'
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x1b[31m"
CLIMB = "../../../../etc/passwd"
HOSTILE_NAME = f"run 'n' {IMAGE.replace('/', '')} {ESCAPES}"


@cache
def rows() -> dict[int, dict[str, float]]:
    """Values of the recorded run by step."""
    found: dict[int, dict[str, float]] = {}
    for name, (steps, values) in read_metrics(REFERENCE).series.items():
        for step, value in zip(steps, values, strict=True):
            found.setdefault(step, {})[name] = value
    return dict(sorted(found.items()))


def make_reference_run(folder: Path, *, name: str = "reference", last_step: int = LAST_STEP, every: int = 1) -> Path:
    """The recorded run as a run directory, finished where it is whole.

    Args:
        folder: Where the run directory is made.
        name: Its name.
        last_step: Its last step; what comes after is for `append_snapshot`.
        every: Only every so many rows are recorded, so that two runs can differ.
    """
    whole = last_step >= LAST_STEP
    path = folder / name
    path.mkdir(parents=True)
    write_manifest(path, manifest("finished" if whole else "training"))
    steps = [step for step in rows() if step <= last_step]
    for step in steps[::every]:
        _record(path, step)
    _detect(path)
    AnalysisState(stage="finished" if whole else "running", last_step=steps[-1], n_classes=CLASSES).write(path)
    return path


def append_snapshot(run_dir: Path, step: int) -> None:
    """One more row of the recorded run, as training and analyzer write it; the last one ends both."""
    _record(run_dir, step)
    _detect(run_dir)
    ended = step >= LAST_STEP
    AnalysisState(stage="finished" if ended else "running", last_step=step, n_classes=CLASSES).write(run_dir)
    if ended:
        write_manifest(run_dir, manifest("finished"))


def manifest(status: Any, **changes: Any) -> Manifest:
    """The run.json of a run whose module is of no matter."""
    plain: dict[str, Any] = {
        "run_id": "0123456789abcdef",
        "created": "2026-01-02T03:04:05+00:00",
        "layers": (),
        "activation_layers": (),
        "parameters": (),
        "module_class": "project.Transformer",
        "configuration": {"max_overhead": 0.02, "retention": "log"},
        "versions": {"torch": "2.13.0", "lightning": "2.6.6"},
        "status": status,
    }
    return Manifest(**plain | changes)


def make_hostile_run(folder: Path, escapes: str = ESCAPES) -> Path:
    """A run whose every name and text would run a script, move a cursor or leave a folder, if it were let.

    Args:
        folder: Where the run directory is made.
        escapes: What is in its name and in texts of every kind, for a terminal to obey.
    """
    path = folder / HOSTILE_NAME.replace(ESCAPES, escapes)
    path.mkdir(parents=True)
    layers = (SCRIPT, IMAGE, CLIMB, escapes)
    names = {"parameters": layers, "activation_layers": layers, "layers": layers, "module_class": SCRIPT}
    write_manifest(path, manifest("training", configuration={SCRIPT: IMAGE, "dirpath": CLIMB}, **names))
    for step in range(0, 2000, 100):
        values = {
            "train_loss": 4.0 / (1 + step),
            "heldout_loss": 5.0,
            SCRIPT: 1.0 + step,
            IMAGE: 2.0,
            CLIMB: 3.0,
            escapes: 4.0,
        }
        by_layer = {"hoyer": (0.1, 0.2, 0.3, 0.4), SCRIPT: (1.0, 2.0, 3.0, step / 100)}
        append_record(path, Record(step, 0, values, by_layer, {IMAGE: SCRIPT}))
        scalars = {"interp/lr": 1e-3, SCRIPT: 1.0, IMAGE: 2.0, escapes: 3.0}
        _note(path, "snapshot", step=step, bytes=9, scalars=scalars)
    _note(path, "dropped", step=2000, reason=SCRIPT + escapes)
    _note(path, SCRIPT, text=IMAGE)
    replace_text(path / PHASES, json.dumps(_hostile_timeline(escapes).to_dict()))
    AnalysisState(stage="running", last_step=1900, notices=[SCRIPT, IMAGE + escapes, CLIMB]).write(path)
    write_components(path, _hostile_components(escapes), FollowState({}, {0: 1.0}, nonnegative=False))
    return path


def _record(run_dir: Path, step: int) -> None:
    scalars = {"interp/lr": 1e-3, "interp/weight_decay": 1.0, "interp/batch_size": 3830.0}
    append_record(run_dir, Record(step, 0, rows()[step]))
    _note(run_dir, "snapshot", step=step, bytes=907_000, scalars=scalars)


def _note(run_dir: Path, event: str, **fields: Any) -> None:
    costs = {"write_ms": 3.1, "copy_ms": 0.4} if event == "snapshot" else {}
    append_line(run_dir / HEALTH, {"event": event, "attempt": 0, "time": round(time.time(), 3), **costs, **fields})


def _detect(run_dir: Path) -> None:
    series = series_of((record.step, record.values) for record in read_records(run_dir, read_manifest(run_dir)))
    replace_text(run_dir / PHASES, json.dumps(detect_phases(series, n_classes=CLASSES).to_dict()))


def _hostile_timeline(escapes: str) -> Timeline:
    phases = (
        Phase("fitting", 0, 500, 0.5, (0, 0), (400, 600)),
        Phase(SCRIPT, 500, 1000, 0.5, (400, 600), (900, 1100)),
        Phase(IMAGE + escapes, 1000, None, 0.5, (900, 1100)),
    )
    evidence = {"reason": SCRIPT, "unknown": [IMAGE, escapes], "t_mem": None, "t_gen": None, SCRIPT: CLIMB}
    intensities = {"memorization": ((0, 0.0), (1900, 1.0)), SCRIPT: ((0, 0.5),)}
    return Timeline(SCRIPT, phases, (Alarm(IMAGE, 600), Alarm("phase_began", 700)), intensities, evidence)


def _hostile_components(escapes: str) -> StoredComponents:
    steps = tuple(range(0, 2000, 100))
    factors = tuple(torch.rand(size, 2, generator=torch.Generator().manual_seed(size)) for size in (len(steps), 12, 6))
    return StoredComponents(
        layer=SCRIPT + CLIMB,
        steps=steps,
        cp_weights=torch.tensor([2.0, 1.0]),
        factors=factors,  # type: ignore[arg-type]
        component_ids=(0, 1),
        changes=({"step": 100, "component": 1, "kind": IMAGE},),
        table=({"rank": 2, "relative_error": 0.5, "similarity": 0.9, "core_consistency": 80.0, "heldout_error": 0.6},),
        recommended=2,
        reasons=(SCRIPT,),
        relative_error=0.5,
        flags=(IMAGE, escapes),
        preprocessing={"train_stimuli": 6, "units": list(range(6)), SCRIPT: IMAGE},
        nonnegative=False,
        folded_steps=steps,
    )
