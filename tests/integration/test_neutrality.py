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

STEPS, MANY_STEPS = 120, 300
"""Steps of a training, and of those of the matrix."""
PLAIN = {
    **{"precision": "32-true", "compiled": None, "accumulate": 1, "devices": 1, "validations": 1},
    **{"stray": False, "components": False},
}
ALONE = {
    "components": {"components": True},
    "two validations": {"validations": 2},
    "stray draw": {"stray": True},  # compared with the same training as the one before
    "bf16 compiled": {"precision": "bf16-mixed", "compiled": "aot_eager"},
}
"""What is compared in one process, one after the other."""


def compared(root: Path, comparisons: dict[str, dict[str, Any]], *, steps: int = STEPS) -> dict[str, list[str]]:
    """What differs in any of a training's processes, by the name of the comparison."""
    options = {name: PLAIN | changes for name, changes in comparisons.items()}
    command = [sys.executable, noisy_training.__file__, str(root), "--max-steps", str(steps)]
    result = subprocess.run([*command, "--compare", json.dumps(options)], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    return {
        name: [f"rank {rank}: {found}" for rank in range(each["devices"]) for found in found_by(root / name, rank)]
        for name, each in options.items()
    }


def found_by(folder: Path, rank: int) -> list[str]:
    found: list[str] = json.loads((folder / f"differences_{rank}.json").read_text())
    return found


def monitor_really_ran(folder: Path, *, steps: int = STEPS) -> bool:
    run = open_run(folder / "run")
    observed, _ = run.records("heldout_loss")
    return len(observed) == steps // 20 + 1 and run.manifest.status == "finished"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what `differences` compared."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture(scope="module")
def differences(root: Path) -> dict[str, list[str]]:
    """What differs in each comparison of `ALONE`."""
    return compared(root, ALONE)


def test_following_components_leaves_training_bitwise_untouched(root: Path, differences: dict[str, list[str]]) -> None:
    assert differences["components"] == []
    assert monitor_really_ran(root / "components")
    assert open_run(root / "components" / "run").component_layers


def test_monitor_leaves_compiled_half_precision_bitwise_untouched(root: Path, differences: dict[str, list[str]]) -> None:
    assert differences["bf16 compiled"] == []
    assert monitor_really_ran(root / "bf16 compiled")


def test_following_loaders_and_an_outcome_leaves_training_bitwise_untouched(
    root: Path, differences: dict[str, list[str]]
) -> None:
    assert differences["two validations"] == []
    assert monitor_really_ran(root / "two validations")
    assert {"outcome", "heldout_loss/dataloader_idx_1"} <= set(open_run(root / "two validations" / "run").series)


def test_comparison_notices_one_stray_draw(differences: dict[str, list[str]]) -> None:
    assert {"rank 0: losses", "rank 0: random states"} <= set(differences["stray draw"])


def test_monitor_leaves_two_processes_bitwise_untouched(tmp_path: Path) -> None:
    """DDP as most people start it: the script runs once more for the second process. In float32, without components."""
    assert compared(tmp_path, {"ddp": {"devices": 2}}) == {"ddp": []}
    assert monitor_really_ran(tmp_path / "ddp")


@pytest.mark.verify
@pytest.mark.timeout(900)
@pytest.mark.parametrize("compiled", [None, "aot_eager", "inductor"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("devices", [1, 2])
def test_neutrality_matrix(tmp_path: Path, precision: str, compiled: str | None, accumulate: int, devices: int) -> None:
    options = {"precision": precision, "compiled": compiled, "accumulate": accumulate, "devices": devices}
    assert compared(tmp_path, {"cell": options}, steps=MANY_STEPS) == {"cell": []}
    assert monitor_really_ran(tmp_path / "cell", steps=MANY_STEPS)


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_comparison_of_two_processes_notices_one_stray_draw(tmp_path: Path) -> None:
    found = compared(tmp_path, {"ddp": {"stray": True, "devices": 2}}, steps=MANY_STEPS)["ddp"]
    assert {"rank 0: losses", "rank 1: losses"} <= set(found)
