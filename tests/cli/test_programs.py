# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from lightning_interp.cli.programs import as_typed


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A program in an environment under the working directory."""
    program = tmp_path / "venv" / "bin" / "tool"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(program.parent / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    return program


def test_a_program_the_shell_does_not_find_has_its_path(installed):
    assert as_typed("tool") == "venv/bin/tool"


def test_a_program_of_an_activated_environment_has_its_name_only(installed, monkeypatch):
    monkeypatch.setenv("PATH", str(installed.parent))
    assert as_typed("tool") == "tool"


def test_another_program_of_the_same_name_is_not_meant(installed, tmp_path, monkeypatch):
    other = tmp_path / "other" / "tool"
    other.parent.mkdir()
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert as_typed("tool") == "venv/bin/tool"


def test_a_program_that_is_not_installed_has_its_name(installed):
    assert as_typed("else") == "else"
