# SPDX-License-Identifier: Apache-2.0
"""A run directory with a manifest and nothing else."""

from pathlib import Path

import pytest

from lightning_interp.store import Manifest, write_manifest
from lightning_interp.store.layout import OBSERVATIONS, SNAPSHOTS


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        run_id="abc123",
        created="2026-01-01T00:00:00+00:00",
        layers=("act", "w"),
        activation_layers=("act",),
        parameters=("w", "b"),
        module_class="pkg.Net",
        configuration={"measures": "standard", "task": None},
        versions={"torch": "2"},
    )


@pytest.fixture
def run_dir(tmp_path: Path, manifest: Manifest) -> Path:
    directory = tmp_path / "run"
    for folder in (SNAPSHOTS, OBSERVATIONS):
        (directory / folder).mkdir(parents=True)
    write_manifest(directory, manifest)
    return directory
