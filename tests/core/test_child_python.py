# SPDX-License-Identifier: Apache-2.0
"""Children of ours, beside a folder whose modules would end them."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from lightning_interp.core.child_python import child_environment, module_command, safe_children


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("queue", "multiprocessing", "calendar"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError({name!r})\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("pythonpath", [None, ".", "{folder}", "{folder}:.:"])
def test_module_command_runs_a_module_that_is_not_shadowed(folder, pythonpath, monkeypatch):
    if pythonpath is not None:
        monkeypatch.setenv("PYTHONPATH", pythonpath.format(folder=folder))
    command = module_command("calendar", "2026", "11")
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert "November 2026" in done.stdout, done.stderr


def test_module_command_runs_this_very_package_and_no_other(tmp_path):
    """Another one is installed, as where a checkout is worked in."""
    (tmp_path / "lightning_interp").mkdir()
    (tmp_path / "lightning_interp" / "__init__.py").write_text("raise RuntimeError('another')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = module_command("lightning_interp.cli.main", "--version")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("lightning-interp "), done.stderr


def test_child_environment_keeps_entries_that_lead_elsewhere(folder):
    given = {"PYTHONPATH": os.pathsep.join(["/opt/site", "", "/srv/more"]), "OTHER": "1"}
    assert child_environment(given) == {"PYTHONPATH": os.pathsep.join(["/opt/site", "/srv/more"]), "OTHER": "1"}


def test_child_environment_works_where_the_folder_is_gone(folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert child_environment({"PYTHONPATH": "/opt/site"}) == {"PYTHONPATH": "/opt/site"}


def test_safe_children_reaches_processes_of_multiprocessing_and_puts_the_environment_back(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))])
    before = dict(os.environ)
    with safe_children():
        process = multiprocessing.get_context("spawn").Process(target=print)
        process.start()
    process.join(60)
    assert process.exitcode == 0
    assert dict(os.environ) == before
