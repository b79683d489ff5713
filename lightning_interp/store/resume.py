# SPDX-License-Identifier: Apache-2.0
"""Continuing a run from a checkpoint: what lies beyond it is set aside, never deleted."""

from pathlib import Path

from lightning_interp.store.components_file import component_files
from lightning_interp.store.health_log import append_resumed
from lightning_interp.store.layout import (
    ABANDONED,
    COMPONENTS,
    OBSERVATIONS,
    PHASES,
    SNAPSHOTS,
    committed_steps,
    step_file,
    sweep_temporary,
)
from lightning_interp.store.manifest import Manifest, read_manifest, write_manifest


def resume_run(run_dir: Path, step: int) -> Manifest:
    """Continue a run directory from `step`: later snapshots and observations move to `abandoned/`.

    So do components that later snapshots went into: the analyzer makes them again from the observations that stay.

    Returns:
        The manifest with the new attempt, already written.
    """
    manifest = read_manifest(run_dir).resumed(step)
    for folder in (SNAPSHOTS, OBSERVATIONS):
        sweep_temporary(run_dir / folder)
        _set_aside(run_dir, folder, step, attempt=manifest.attempt - 1)
    sweep_temporary(run_dir / COMPONENTS)
    _set_components_aside(run_dir, step, attempt=manifest.attempt - 1)
    # The timeline may rest on steps that no longer count; the analyzer folds it again from the records that stand.
    (run_dir / PHASES).unlink(missing_ok=True)
    append_resumed(run_dir, manifest.attempt, step=step)
    write_manifest(run_dir, manifest)
    return manifest


def _set_aside(run_dir: Path, folder: str, step: int, *, attempt: int) -> None:
    later = [known for known in committed_steps(run_dir / folder) if known > step]
    if not later:
        return
    target = run_dir / ABANDONED / f"attempt_{attempt}" / folder
    target.mkdir(parents=True, exist_ok=True)
    for known in later:
        step_file(run_dir / folder, known).replace(step_file(target, known))


def _set_components_aside(run_dir: Path, step: int, *, attempt: int) -> None:
    later = [path for path, layer, last_step in component_files(run_dir) if last_step > step or not layer]
    if not later:
        return
    target = run_dir / ABANDONED / f"attempt_{attempt}" / COMPONENTS
    target.mkdir(parents=True, exist_ok=True)
    for path in later:
        path.replace(target / path.name)
