# SPDX-License-Identifier: Apache-2.0
"""The commands and versions that documents, scripts and metadata name are those that there are."""

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/index.md", "docs/guide.md"])
def test_make_commands_in_the_documents_exist(name: str) -> None:
    used = set(
        re.findall(r"\bmake ([a-z]+)\b(?=`|\s*(?:#|$))", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert used <= make_targets()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/design.md", "benchmarks/README.md"])
def test_files_that_documents_name_by_their_path_exist(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|lightning_interp|benchmarks|examples|docs)/[\w/.-]*)`", text)
    assert not [path for path in named if not (REPOSITORY / path).exists()]


def test_readme_names_the_two_commands() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_continuous_integration_runs_make_test() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")


def test_make_help_lists_every_documented_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target} " in shown for target in make_targets())


def test_torch_is_pinned_without_a_local_version() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==[\d.]+$", pins, flags=re.MULTILINE)


def test_compromised_lightning_releases_are_excluded() -> None:
    requirement = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert "lightning>=2.4,!=2.6.2,!=2.6.3" in requirement
