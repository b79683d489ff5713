# SPDX-License-Identifier: Apache-2.0
"""The `analyze` command, and how the program turns errors into exit codes."""

import json

import pytest
import torch
from torch import nn

from lightning_interp.cli import phases
from lightning_interp.cli.main import main
from lightning_interp.config.monitor_config import MonitorConfig, resolve
from lightning_interp.config.run_directory import new_manifest
from lightning_interp.core import errors
from lightning_interp.core.records import Probe, ProbeSplit, Snapshot
from lightning_interp.store import analyzer_lock, open_run, write_manifest, write_probe, write_snapshot
from lightning_interp.store.layout import SNAPSHOTS

BUILD = "from torch import nn\n\n\ndef build():\n    return nn.Linear(3, 2)\n"


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run of three snapshots, with its module's factory in the working directory."""
    module, path = nn.Linear(3, 2), tmp_path / "run"
    config = MonitorConfig.of(measures=["train_loss", "weight_norm"])
    (path / SNAPSHOTS).mkdir(parents=True)
    write_manifest(path, new_manifest(config, resolve(config, module), module))
    write_probe(path, Probe(ProbeSplit(((torch.ones(4, 3), torch.tensor([0, 1, 0, 1])),), tuple(range(4)))))
    for step in (0, 1, 2):
        write_snapshot(path, Snapshot(step, 0, dict(module.state_dict())), aliases={})
    (tmp_path / "factory_of_this_test.py").write_text(BUILD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return path


def analyze(*arguments):
    return main(["analyze", *map(str, arguments), "--device", "cpu"])


def test_analyze_prints_the_timeline_as_json_only(run_dir, capsys):
    assert analyze(run_dir, "--module", "factory_of_this_test:build", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "unknown"


def test_analyze_says_what_to_pass(run_dir, capsys):
    assert analyze(run_dir) == 0
    assert "pending, need --module: train_loss" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--module", "no_such_package:build"], "cannot import 'no_such_package'"),
        (["--module", "torch.nn:Identity"], "does not take the snapshot"),
        (["--probe-step", "math:nothing"], "has no 'nothing'"),
        (["--measures", "no_such_measure"], "'no_such_measure' is unknown"),
        (["--device", "cuda:99"], "'cuda:99' is not there"),
        (["--device", "gpu please"], "is not a device"),
    ],
)
def test_analyze_refuses_bad_arguments_and_leaves_the_directory_alone(run_dir, capsys, arguments, message):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert main(["analyze", str(run_dir), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_analyze_finds_a_measure_inside_a_class_by_its_name(run_dir, capsys):
    assert analyze(run_dir, "--measures", "nested_measure:Box.Inner") == 0, capsys.readouterr().err
    assert [record.values["inner"] for record in open_run(run_dir).all_records] == [0.0, 1.0, 2.0]


def test_analyze_refuses_a_folder_that_is_no_run(tmp_path, capsys):
    assert analyze(tmp_path / "nothing") == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_analyze_refuses_a_run_that_is_being_analyzed(run_dir, capsys):
    with analyzer_lock(run_dir):
        assert analyze(run_dir) == 2
    assert "another analyzer works on this run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError, 2),
        (errors.RunError, 2),
        (errors.MetricsError, 2),
        (errors.ShapeError, 2),
        (errors.ProbeError, 1),
        (errors.InterpError, 1),
    ],
)
def test_errors_of_every_command_become_exit_codes(monkeypatch, capsys, error, code):
    def fail(args):
        raise error("what went wrong")

    monkeypatch.setattr(phases, "run", fail)
    assert main(["phases", "file.csv"]) == code
    assert capsys.readouterr().err == "error: what went wrong\n"
