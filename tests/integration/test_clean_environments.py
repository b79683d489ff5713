# SPDX-License-Identifier: Apache-2.0
"""Installed as users install it, at the newest and the lowest versions: it trains, and its commands answer.

Other Pythons than the running one are tried where torch comes without gigabytes of CUDA libraries (TORCH_FLAGS names such a
build, as for make), or where LIGHTNING_INTERP_PYTHONS names them: ``LIGHTNING_INTERP_PYTHONS="python3.12 python3.13"``.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fresh_environment import EXTRAS, REPOSITORY, FreshEnvironment, lower_bounds, pinned_torch, requirements

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1800)]

SCRIPT = REPOSITORY / "tests" / "support" / "clean_training.py"
CORE_TESTS = ("core", "measures", "phases", "store", "capture", "analysis")
TOOLS = ("pytest>=8.3", "pytest-timeout", "hypothesis", "beartype", "scikit-learn", "hmmlearn")
"""What the core tests need themselves, in any version."""
OF_EXTRAS = ("dash", "waitress", "tensorboard", "kaleido", "wandb_workspaces", "isal", "xarray", "zarr", "pyarrow", "ray")
OTHERS = [f"python3.{minor}" for minor in (11, 12, 13) if minor != sys.version_info.minor]

Make = Callable[..., FreshEnvironment]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make an environment that is gone after the test: each takes up to five gigabytes."""
    yield lambda *arguments: FreshEnvironment(tmp_path / "venv", *arguments)
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


def check_it_works(fresh: FreshEnvironment, root: Path, *, namespace: str = "lightning.pytorch") -> None:
    """Train 200 steps with the monitor, then ask every command that users begin with."""
    printed = fresh.call([fresh.bin / "python", SCRIPT, root, namespace])
    assert f"records with {fresh.folder}" in printed, "the package that was trained with is the installed one"
    for first, *command in (
        ("Columns used: train_loss", "phases", root / "csv" / "metrics.csv"),
        ("Columns used: train_loss", "phases", root / "run"),
        ("verdict: ", "analyze", root / "checkpoints", "--out", root / "after"),
        (f"Report: {root}", "report", root / "run"),
    ):
        said = fresh.call([fresh.bin / "lightning-interp", *command])
        assert said.startswith(first), f"{command[0]} begins with {said[:200]!r}"


def test_newest_versions_with_every_extra_work(make: Make, tmp_path: Path) -> None:
    fresh = make(sys.executable)
    fresh.install_ours(extras=EXTRAS)
    fresh.pip("check")
    check_it_works(fresh, tmp_path)


def test_base_install_works_without_any_extra(make: Make, tmp_path: Path) -> None:
    fresh = make(sys.executable)
    fresh.install_ours()
    assert not [name for name in (*OF_EXTRAS, "jsonargparse") if fresh.has(name)]
    check_it_works(fresh, tmp_path)
    said = fresh.call([fresh.bin / "lightning-interp", "watch", tmp_path / "run"], expect=2)
    assert "lightning-interp[dashboards]" in said


def test_lowest_versions_work_and_pass_the_core_tests(make: Make, tmp_path: Path) -> None:
    python = working("python3.11") or pytest.skip("the lower bounds are those of Python 3.11, and there is none")
    fresh = make(python, lower_bounds())
    fresh.install_ours(extras=EXTRAS)
    fresh.pip("check")
    assert fresh.pip("freeze").count("torch==" + lower_bounds()["torch"]) == 1
    check_it_works(fresh, tmp_path)
    fresh.pip("install", *TOOLS)
    options = ("-q", "-p", "no:cacheprovider", "-m", "not verify and not gpu and not browser", "-o")
    plugins = "addopts=-p no:dash --strict-markers --strict-config --import-mode=importlib"
    folders = [f"tests/{name}" for name in CORE_TESTS]
    fresh.call([fresh.bin / "pytest", *folders, *options, plugins, f"--basetemp={tmp_path / 'core'}"], cwd=REPOSITORY)


def test_pytorch_lightning_is_enough(make: Make, tmp_path: Path) -> None:
    fresh = make(sys.executable)
    (lightning,) = [str(each.specifier) for each in requirements() if each.name == "lightning"]
    rest = [str(each) for each in requirements() if each.name != "lightning"]
    fresh.pip("install", f"pytorch-lightning{lightning}", *rest)
    fresh.install_ours("--no-deps")
    assert not fresh.has("lightning")
    check_it_works(fresh, tmp_path, namespace="pytorch_lightning")


@pytest.mark.parametrize("name", OTHERS)
def test_another_python_works(name: str, make: Make, tmp_path: Path) -> None:
    python = working(name) or pytest.skip(f"there is no {name} here")
    asked_for = name in os.environ.get("LIGHTNING_INTERP_PYTHONS", "").split()
    if not asked_for and (bulk := libraries_of_torch(python, tmp_path)):
        ways = f"set TORCH_FLAGS or LIGHTNING_INTERP_PYTHONS={name}"
        pytest.skip(f"torch for {name} brings {len(bulk)} CUDA libraries: {ways}")
    fresh = make(python)
    fresh.install_ours()
    check_it_works(fresh, tmp_path)


def working(name: str) -> str | None:
    """An interpreter on the path that answers; a version manager's stand-in for one that is not chosen does not."""
    found = shutil.which(name)
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode:
        return None
    return found


def libraries_of_torch(python: str, folder: Path) -> list[str]:
    """What torch for an interpreter requires of CUDA, by its metadata; nothing is installed."""
    probe, report = folder / "probe", folder / "report.json"
    subprocess.run([python, "-m", "venv", probe], check=True)
    flags = shlex.split(os.environ.get("TORCH_FLAGS", ""))
    options = ("--quiet", "--no-input", "--dry-run", "--no-deps", "--report", report)
    pip = (probe / "bin" / "python", "-m", "pip", "install")
    subprocess.run([*pip, *options, *flags, f"torch=={pinned_torch()}"], check=True)
    (torch,) = json.loads(report.read_text(encoding="utf-8"))["install"]
    shutil.rmtree(probe)
    needed = torch["metadata"].get("requires_dist", [])
    return [text for text in needed if text.startswith(("nvidia-", "cuda-", "triton")) and "extra ==" not in text]
