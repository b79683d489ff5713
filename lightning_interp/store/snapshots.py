# SPDX-License-Identifier: Apache-2.0
"""Snapshots on disk: one file a step, tensors that do not train once in a file of their own."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Snapshot
from lightning_interp.core.typed_values import misfit
from lightning_interp.store.layout import SNAPSHOTS, committed_steps, step_file
from lightning_interp.store.tensor_file import checksum, corrupt, read_tensors, write_tensors


def snapshot_steps(run_dir: Path) -> list[int]:
    """Steps whose snapshot is committed, ascending."""
    return committed_steps(run_dir / SNAPSHOTS)


def write_snapshot(run_dir: Path, snapshot: Snapshot, *, aliases: Mapping[str, str], frozen: Collection[str] = ()) -> int:
    """Commit one snapshot.

    Args:
        run_dir: Run directory with its `snapshots/` folder.
        snapshot: Tensors on the CPU, tied ones once.
        aliases: Name of a tied tensor -> the name it is stored under.
        frozen: Names of parameters that do not train now. They are compared by content with what is already stored and
            written only when they changed, so that code which moves them by hand (an averaged teacher) is followed too.

    Returns:
        Bytes written.
    """
    kept_still = set(frozen)
    still = {name: tensor for name, tensor in snapshot.weights.items() if name in kept_still}
    moving = {name: tensor for name, tensor in snapshot.weights.items() if name not in still}
    frozen_file, frozen_bytes = _write_frozen(run_dir, still) if still else (None, 0)
    metadata = {
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "scalars": _finite(snapshot.scalars),
        "aliases": dict(aliases),
        "frozen_file": frozen_file,
        "order": list(snapshot.weights),
    }
    return frozen_bytes + write_tensors(step_file(run_dir / SNAPSHOTS, snapshot.step), moving, metadata)


def read_snapshot(run_dir: Path, step: int) -> Snapshot:
    """Read one committed snapshot with tied names restored.

    Raises:
        RunError: There is no snapshot at this step.
        CorruptSnapshotError: The file is damaged.
    """
    path = step_file(run_dir / SNAPSHOTS, step)
    if not path.exists():
        steps = snapshot_steps(run_dir)
        near = min(steps, key=lambda known: abs(known - step)) if steps else None
        raise RunError(f"{run_dir}: no snapshot at step {step}; the nearest is {near} of {len(steps)}.")
    return snapshot_in(path)


_METADATA: dict[str, Any] = {
    "step": int,
    "epoch": int,
    "order": list[str],
    "aliases": Mapping[str, str],
    "scalars": Mapping[str, float | Literal["nan", "inf", "-inf"]],
    "frozen_file": str | None,
}


def snapshot_in(path: Path) -> Snapshot:
    """The snapshot in a file, with tied names restored and the tensors that do not train from the file beside it.

    Raises:
        CorruptSnapshotError: A file is gone or damaged.
    """
    content = read_tensors(path)
    said = content.metadata
    wrong = next((f"no `{name}`" for name in _METADATA if name not in said), None) or misfit(said, _METADATA)
    if wrong:
        raise corrupt(path, wrong)
    weights = dict(content.tensors)
    if frozen := said["frozen_file"]:
        weights |= read_tensors(path.with_name(Path(frozen).name)).tensors
    missing = next((name for name in (*said["order"], *said["aliases"].values()) if name not in weights), None)
    if missing is not None:
        raise corrupt(path, f"no tensor {missing!r}")
    ordered = {name: weights[name] for name in said["order"]}
    ordered |= {name: weights[owner] for name, owner in said["aliases"].items()}
    scalars = {name: float(value) for name, value in said["scalars"].items()}
    return Snapshot(said["step"], said["epoch"], ordered, scalars)


def _write_frozen(run_dir: Path, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """File name of these exact tensors, written if no such file exists yet, and the bytes it took."""
    content = {name: [str(t.dtype), list(t.shape), checksum(t)] for name, t in sorted(tensors.items())}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    path = run_dir / SNAPSHOTS / f"frozen_{digest}.safetensors"
    return path.name, 0 if path.exists() else write_tensors(path, tensors, {})


def _finite(scalars: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN; a diverged loss is kept as text so that nothing is lost."""
    return {name: value if value - value == 0 else str(value) for name, value in scalars.items()}
