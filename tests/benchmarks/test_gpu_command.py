# SPDX-License-Identifier: Apache-2.0
"""`make bench-gpu` where there is no GPU: it says so, and a rehearsal runs every section to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
SECTIONS = ("scaler", "capture", "neutrality", "tca", "replica", "tests")
NO_NUMBER = "Rehearsal on the CPU, no GPU number"

pytestmark = pytest.mark.timeout(600)  # of the rehearsal, on a machine that is busy otherwise


def bench_gpu(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), *arguments]
    environment = {"PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=560, check=False)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of one rehearsal of all sections, in one process; that each has its own is shown by test_gpu_table.py."""
    out = tmp_path_factory.mktemp("rehearsal") / "gpu.md"
    done = bench_gpu("--device", "cpu", "--quick", "--together", "--out", str(out))
    rows = rows_of(out)
    assert done.returncode == 0, [row for row in rows if row["verdict"] not in ("", "held")] or done.stderr[-3000:]
    return out


def rows_of(table: Path) -> list[dict[str, Any]]:
    """Its rows, from the file beside it."""
    rows: list[dict[str, Any]] = json.loads(table.with_suffix(".json").read_text())["rows"]
    return rows


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bench_gpu_without_cuda_says_so_and_exits_2(tmp_path: Path) -> None:
    done = bench_gpu("--out", str(tmp_path / "gpu.md"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bench-gpu: torch {torch.__version__} sees no CUDA device here, so nothing was measured.\n"
    assert not list(tmp_path.iterdir())


def test_bench_gpu_rehearsal_runs_its_sections_to_the_end(rehearsal: Path) -> None:
    assert {row["section"] for row in rows_of(rehearsal) if row["verdict"] == "held"} == set(SECTIONS)
    assert NO_NUMBER in rehearsal.read_text()


def test_bench_gpu_rehearsal_finds_half_precision_with_skipped_steps_neutral(rehearsal: Path) -> None:
    (row,) = [row for row in rows_of(rehearsal) if row["section"] == "neutrality"]
    assert (row["verdict"], row["value"], row["aim"]) == ("held", 0, "0 differing bits")
