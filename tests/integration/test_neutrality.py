# SPDX-License-Identifier: Apache-2.0
"""Training is bitwise the same with and without the monitor.

In a process of its own: the type checks of this test session draw from python's random stream themselves.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import noisy_training
import pytest

from lightning_interp import open_run

STEPS = 300


def differences(root: Path, *, devices: int = 1, **options: Any) -> list[str]:
    """What differs in any of the training's processes."""
    options = {"precision": "32-true", "compiled": None, "accumulate": 1, "stray": False, "components": False} | options
    command = [sys.executable, noisy_training.__file__, str(root), "--max-steps", str(STEPS)]
    result = subprocess.run(
        [*command, "--compare", json.dumps(options | {"devices": devices})], capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [f"rank {rank}: {name}" for rank in range(devices) for name in found_by(root, rank)]


def found_by(root: Path, rank: int) -> list[str]:
    found: list[str] = json.loads((root / f"differences_{rank}.json").read_text())
    return found


def monitor_really_ran(root: Path) -> bool:
    run = open_run(root / "run")
    steps, _ = run.records("heldout_loss")
    return len(steps) == STEPS // 20 + 1 and run.manifest.status == "finished"


@pytest.mark.parametrize(("precision", "compiled"), [("32-true", None), ("bf16-mixed", "aot_eager")])
def test_monitor_leaves_training_bitwise_untouched(tmp_path: Path, precision: str, compiled: str | None) -> None:
    assert differences(tmp_path, precision=precision, compiled=compiled) == []
    assert monitor_really_ran(tmp_path)


def test_monitor_leaves_two_processes_bitwise_untouched(tmp_path: Path) -> None:
    """DDP as most people start it: the script runs once more for the second process."""
    assert differences(tmp_path, devices=2) == []
    assert monitor_really_ran(tmp_path)


def test_following_components_leaves_training_bitwise_untouched(tmp_path: Path) -> None:
    assert differences(tmp_path, components=True) == []
    assert monitor_really_ran(tmp_path)
    assert open_run(tmp_path / "run").component_layers


@pytest.mark.verify
@pytest.mark.timeout(900)
@pytest.mark.parametrize("compiled", [None, "aot_eager", "inductor"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("devices", [1, 2])
def test_neutrality_matrix(tmp_path: Path, precision: str, compiled: str | None, accumulate: int, devices: int) -> None:
    options = {"precision": precision, "compiled": compiled, "accumulate": accumulate, "devices": devices}
    assert differences(tmp_path, **options) == []
    assert monitor_really_ran(tmp_path)


def test_comparison_notices_one_stray_draw(tmp_path: Path) -> None:
    assert "rank 0: losses" in differences(tmp_path, stray=True)


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_comparison_of_two_processes_notices_one_stray_draw(tmp_path: Path) -> None:
    assert {"rank 0: losses", "rank 1: losses"} <= set(differences(tmp_path, stray=True, devices=2))
