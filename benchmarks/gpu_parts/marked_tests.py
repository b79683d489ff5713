# SPDX-License-Identifier: Apache-2.0
"""The tests that are marked `gpu`, by pytest in a process of its own, as far as pytest is here."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gpu_parts.rows import Row, verdict_of
from gpu_parts.setting import Part, Setting

REPOSITORY = Path(__file__).parents[2]
MARK = re.compile(r"^@?(pytestmark = )?pytest\.mark\.gpu\b", re.MULTILINE)
OF_THE_CONFIGURATION = ("jaxtyping", "beartype", "pytest_timeout", "hypothesis")
"""What pyproject.toml's options of pytest, and the tests' shared file, need."""
NOT_INSTALLED = "ModuleNotFoundError: No module named"


def marked(setting: Setting) -> Iterator[Row]:
    """Run them; a rehearsal only collects them."""
    name = "tests marked gpu"
    if find_spec("pytest") is None:
        yield Row(name, verdict="not run", note="pytest is not installed")
        return
    files = sorted(
        path for path in (REPOSITORY / "tests").rglob("test_*.py") if MARK.search(path.read_text(encoding="utf-8"))
    )
    lacking = [package for package in OF_THE_CONFIGURATION if find_spec(package) is None]
    report = setting.scratch / "junit.xml"
    command = [sys.executable, "-m", "pytest", *_options(lacking), "-q", "-m", "gpu", "--continue-on-collection-errors"]
    command += [f"--junitxml={report}"]
    command += [] if setting.on_gpu else ["--collect-only"]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "support"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, *map(str, files)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path, "CUDA_MODULE_LOADING": "LAZY"},
        timeout=max(10.0, setting.budget.left - 2),
    )
    without = f"; without pyproject.toml's options, for lack of {', '.join(lacking)}" if lacking else ""
    last = done.stdout.strip().splitlines()[-1:] or done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
    passed, failed = outcomes(report) if report.exists() else ([], {})
    held = done.returncode == 0 and (bool(passed) or not setting.on_gpu)
    absent = {test for test, reason in failed.items() if NOT_INSTALLED in reason}
    verdict = "not run" if failed and absent == failed.keys() else verdict_of(held)
    told = last[0].strip("= ") if setting.on_gpu else f"collected only: {last[0].strip('= ')}"
    yield Row(name, f"{len(passed)} passed, {len(failed)} failed", aim="all pass", verdict=verdict, note=told + without)
    for test, reason in failed.items():
        yield Row(test, aim="passes", verdict="not run" if test in absent else "missed", note=reason)


def _options(lacking: list[str]) -> list[str]:
    """As little as works: without plugins that pyproject.toml's options name, none of those options."""
    options = ["-p", "no:cacheprovider", "-p", "no:dash"]
    if not lacking:
        return options
    # The tests' shared file needs hypothesis; tests marked gpu need nothing of it.
    shared = ["--noconftest"] if "hypothesis" in lacking else []
    return [*options, "-c", os.devnull, f"--rootdir={REPOSITORY}", "--import-mode=importlib", *shared]


def outcomes(report: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the tests that passed, and of those (or files) that did not, with the reason.

    Args:
        report: What ``--junitxml`` wrote.
    """
    passed: list[str] = []
    failed: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = "::".join(filter(None, [case.get("classname", "").split(".")[-1], case.get("name", "")]))
        wrong = [child for child in case if child.tag in ("failure", "error", "skipped")]
        if wrong:
            lines = [line for line in (wrong[0].text or "").splitlines() if line.startswith("E ")]
            failed[name] = " ".join((lines[-1][2:] if lines else wrong[0].get("message", wrong[0].tag)).split())[:300]
        else:
            passed.append(name)
    return passed, failed


PARTS: dict[str, Part] = {"pytest": marked}
