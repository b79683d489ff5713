# SPDX-License-Identifier: Apache-2.0
"""`.ci/browser`: the one list of names that a Chromium or Chrome goes by."""

import shutil
from pathlib import Path

import pytest
from browsers import find_browser

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that has no browser."""
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "bash").symlink_to(bash)
    return tmp_path


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_find_browser_knows_a_browser_by_each_of_its_names(programs: Path, name: str) -> None:
    browser = programs / name
    browser.write_text("#!/bin/sh\n", encoding="utf-8")
    browser.chmod(0o755)
    assert find_browser({"PATH": str(programs)}) == str(browser)


def test_find_browser_says_that_there_is_none(programs: Path) -> None:
    assert find_browser({"PATH": str(programs)}) is None


def test_no_other_file_has_names_of_browsers() -> None:
    sources = [
        path for folder in ("lightning_interp", "tests", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    named = [path for path in sources if any(name in path.read_text("utf-8") for name in ("google-chrome", "bin/chromium"))]
    assert named == [Path(__file__)]
