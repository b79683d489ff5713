# SPDX-License-Identifier: Apache-2.0
"""An environment with `pytorch_lightning` and without `lightning`: everything but the demo does what it does elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from alone_training import STEPS
from hidden_packages import run_without
from three_classes import data

from lightning_interp import Run, open_run

RECORDED = [0, 8, 16, STEPS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training and of the analysis of its checkpoints, in processes that find no `lightning`."""
    folder = tmp_path_factory.mktemp("alone")
    done = run_without("lightning", ["-m", "alone_training"], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def outcome(trained: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trained / "outcome.json").read_text(encoding="utf-8"))
    return found


def recorded(run: Run) -> list[int]:
    return [record.step for record in run.all_records if "heldout_loss" in record.values]


def test_training_is_watched_without_lightning(trained: Path, outcome: dict[str, Any]) -> None:
    assert outcome["loaded"] == ["pytorch_lightning"]
    assert recorded(open_run(trained / "run")) == RECORDED


def test_checkpoints_are_analyzed_without_lightning(trained: Path, outcome: dict[str, Any]) -> None:
    assert outcome["analyze"] == 0
    assert recorded(open_run(trained / "later")) == RECORDED[1:]


def test_transfer_hooks_see_the_stages_of_their_own_namespace(trained: Path) -> None:
    probe = open_run(trained / "run").probe
    assert probe is not None and probe.heldout is not None
    added = [
        (torch.cat([x for x, _ in split.batches]) - data(count).tensors[0]).mean().item()
        for split, count in ((probe.train, 96), (probe.heldout, 40))
    ]
    assert added == pytest.approx([1.0, 0.0], abs=1e-6)  # float32 sums of numbers of order 1


def test_demo_names_the_package_that_it_needs(tmp_path: Path) -> None:
    done = run_without("lightning", ["-m", "lightning_interp.cli.main", "demo"], tmp_path)
    assert done.returncode == 2
    assert "demo: its network is written for the package `lightning`, which is not installed" in done.stderr


def test_hidden_package_is_not_found(tmp_path: Path) -> None:
    done = run_without("lightning", ["-c", "import lightning_utilities, lightning"], tmp_path)
    assert "ModuleNotFoundError: No module named 'lightning'" in done.stderr
