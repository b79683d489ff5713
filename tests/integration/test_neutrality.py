# SPDX-License-Identifier: Apache-2.0
"""Training is bitwise the same with and without the monitor.

In a process of its own: the type checks of this test session draw from python's random stream themselves.
"""

import json
import subprocess
import sys
from pathlib import Path

import noisy_training
import pytest

from lightning_interp import open_run

STEPS = 300


def differences(root: Path, **options: object) -> list[str]:
    options = {"precision": "32-true", "compiled": None, "accumulate": 1, "stray": False, "components": False} | options
    command = [sys.executable, noisy_training.__file__, str(root), "--max-steps", str(STEPS)]
    result = subprocess.run([*command, "--compare", json.dumps(options)], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    found: list[str] = json.loads(result.stdout.splitlines()[-1])
    return found


def monitor_really_ran(root: Path) -> bool:
    run = open_run(root / "run")
    steps, _ = run.records("heldout_loss")
    return len(steps) == STEPS // 20 + 1 and run.manifest.status == "finished"


@pytest.mark.parametrize(("precision", "compiled"), [("32-true", None), ("bf16-mixed", "aot_eager")])
def test_monitor_leaves_training_bitwise_untouched(tmp_path: Path, precision: str, compiled: str | None) -> None:
    assert differences(tmp_path, precision=precision, compiled=compiled) == []
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
def test_neutrality_matrix(tmp_path: Path, precision: str, compiled: str | None, accumulate: int) -> None:
    assert differences(tmp_path, precision=precision, compiled=compiled, accumulate=accumulate) == []
    assert monitor_really_ran(tmp_path)


def test_comparison_notices_one_stray_draw(tmp_path: Path) -> None:
    assert "losses" in differences(tmp_path, stray=True)
