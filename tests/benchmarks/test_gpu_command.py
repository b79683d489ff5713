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
NO_NUMBER = "Rehearsal on the CPU, no GPU number"


def bench_gpu(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), *arguments]
    environment = {"PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=280, check=False)


def rehearsed(out: Path, *sections: str, together: bool = True) -> list[dict[str, Any]]:
    """Rows of a rehearsal."""
    options = ["--device", "cpu", "--quick", "--out", str(out), "--sections", *sections]
    done = bench_gpu(*options, *(["--together"] if together else []))
    rows: list[dict[str, Any]] = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert done.returncode == 0, [row for row in rows if row["verdict"] not in ("", "held")] or done.stderr[-3000:]
    return rows


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bench_gpu_without_cuda_says_so_and_exits_2(tmp_path: Path) -> None:
    done = bench_gpu("--out", str(tmp_path / "gpu.md"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bench-gpu: torch {torch.__version__} sees no CUDA device here, so nothing was measured.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sections", [("scaler", "tca", "tests"), ("capture", "replica")], ids=" ".join)
def test_bench_gpu_rehearsal_runs_its_sections_to_the_end(tmp_path: Path, sections: tuple[str, ...]) -> None:
    rows = rehearsed(tmp_path / "gpu.md", *sections)
    assert {row["section"] for row in rows if row["verdict"] == "held"} == set(sections)
    assert NO_NUMBER in (tmp_path / "gpu.md").read_text()


def test_bench_gpu_rehearsal_finds_half_precision_with_skipped_steps_neutral(tmp_path: Path) -> None:
    (row,) = rehearsed(tmp_path / "gpu.md", "neutrality", together=False)  # in a process of its own, as on a GPU
    assert (row["verdict"], row["value"], row["aim"]) == ("held", 0, "0 differing bits")
