# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp report``: writes the page, says where, and refuses in words."""

import json
import subprocess
import sys

import pytest
from compared_runs import timeline, write_run
from reference_run import make_reference_run

from lightning_interp.cli.main import main


@pytest.fixture
def run_dir(tmp_path):
    return make_reference_run(tmp_path, every=4)


def test_report_writes_into_the_run_directory_and_says_so(run_dir, capsys):
    assert main(["report", str(run_dir)]) == 0
    assert str(run_dir / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert (run_dir / "report.html").stat().st_size > 4_000_000  # plotly.js is inside


def test_report_makes_the_folder_it_is_told(run_dir, tmp_path):
    assert main(["report", str(run_dir), "-o", str(tmp_path / "a" / "b")]) == 0
    assert (tmp_path / "a" / "b" / "report.html").exists() and not (run_dir / "report.html").exists()


def test_report_json_is_one_object_on_stdout(run_dir, capsys):
    assert main(["report", str(run_dir), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"report": str(run_dir / "report.html"), "bytes": (run_dir / "report.html").stat().st_size}


def test_report_of_several_runs_compares_them(tmp_path, capsys):
    runs = [write_run(tmp_path / name, scale=scale, found=timeline()) for name, scale in (("one", 1), ("two", 2))]
    assert main(["report", *map(str, runs), "-o", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Starts of phases over runs" in text and "2 of 2" in text


def test_report_of_no_run_is_bad_input(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err


def test_report_into_a_folder_that_cannot_be_made_is_bad_input(run_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["report", str(run_dir), "-o", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_report_help_is_quick():
    command = [sys.executable, "-X", "importtime", "-m", "lightning_interp.cli.main", "report", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "report.html" in done.stdout and "plotly" not in done.stderr and "torch" not in done.stderr
