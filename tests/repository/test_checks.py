# SPDX-License-Identifier: Apache-2.0
"""`make check` and the hooks say the same in a fresh clone as in a folder full of runs."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
POOL = REPOSITORY / "benchmarks" / "phases"
LARGEST = 100 * 1024
"""Bytes, as in `.pre-commit-config.yaml`."""


@pytest.mark.parametrize("folder", [None, "wandb"])
def test_order_of_imports_does_not_depend_on_folders_of_runs(tmp_path: Path, folder: str | None) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    target = tmp_path / "lightning_interp" / "dashboards" / "loggers"
    target.mkdir(parents=True)
    shutil.copy(REPOSITORY / "lightning_interp" / "dashboards" / "loggers" / "wandb.py", target)
    if folder is not None:
        (tmp_path / folder).mkdir()
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "I", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


LEFT_BEHIND = [
    "demo_run",
    "docs/interp_runs",
    "wandb",
    "lightning_logs",
    "site",
    "build",
    "dist",
    "checkpoints",
    "a.egg-info",
]


@pytest.mark.parametrize(("folder", "code"), [*((folder, 0) for folder in LEFT_BEHIND), ("docs", 65)])
def test_spelling_is_checked_of_what_is_written_here(tmp_path: Path, folder: str, code: int) -> None:
    """65 is codespell's exit code where it found something."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "report.html").write_text("t" + "eh end", encoding="utf-8")
    command = [sys.executable, "-m", "codespell_lib"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == code


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="only a clone knows which files are in the repository")
def test_no_file_is_over_100_kb() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    paths = [REPOSITORY / name for name in listing.split("\0") if name]
    assert not [path.name for path in paths if path.is_file() and path.stat().st_size > LARGEST]


def test_pool_defines_each_run_by_what_differs_from_the_defaults() -> None:
    spec: Any = runpy.run_path(str(POOL / "spec.py"))["Spec"]
    lines = [json.loads(line) for line in (POOL / "runs" / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    runs = [(spec(**line["spec"]), line) for line in lines]
    assert all(run.name == line["name"] and run.plain() == line["spec"] for run, line in runs)
