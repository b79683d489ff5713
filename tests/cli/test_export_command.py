# SPDX-License-Identifier: Apache-2.0
"""The `export` command."""

import csv
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
import xarray

from lightning_interp.cli.main import main
from lightning_interp.core.records import Record
from lightning_interp.store import Manifest, append_record, write_manifest


@pytest.fixture
def run_dir(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    layers = ("act", "w")
    write_manifest(directory, Manifest("abc", "2026-01-01T00:00:00+00:00", layers, ("act",), ("w",), "pkg.Net", {}, {}))
    for step in range(3):
        append_record(directory, Record(step, 0, {"train_loss": step / 3}, {"hoyer": (step / 7, None)}))
    return directory


def test_export_writes_parquet_and_says_what_is_where(run_dir, tmp_path, capsys):
    assert main(["export", str(run_dir), "--to", "parquet", "-o", "results"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [tmp_path / "results" / name for name in ("scalars.parquet", "layers.parquet")]
    assert lines == [f"results/{file.name}  {file.stat().st_size / 1000:.1f} kB" for file in files]
    assert pyarrow.parquet.read_table(files[0]).to_pydict() == {"step": [0, 1, 2], "train_loss": [0.0, 1 / 3, 2 / 3]}


def test_export_writes_csv(run_dir):
    assert main(["export", str(run_dir), "--to", "csv", "-o", "results"]) == 0
    with Path("results/layers.csv").open(newline="") as handle:
        assert next(csv.DictReader(handle)) == {"step": "0", "measure": "hoyer", "layer": "act", "value": "0.0"}


def test_export_writes_zarr_by_the_suffix_and_counts_the_whole_folder(run_dir, tmp_path, capsys):
    assert main(["export", str(run_dir), "-o", "results.zarr"]) == 0
    size = sum(path.stat().st_size for path in (tmp_path / "results.zarr").rglob("*") if path.is_file())
    assert capsys.readouterr().out == f"results.zarr  {size / 1000:.1f} kB\n"
    assert float(xarray.open_zarr("results.zarr")["hoyer_by_layer"].sel(layer="act", step=2)) == 2 / 7


def test_export_says_that_a_run_is_empty(run_dir, capsys):
    (run_dir / "records.jsonl").unlink()
    assert main(["export", str(run_dir), "--to", "csv", "-o", "results"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The run has no records yet."


def test_export_replaces_only_with_overwrite(run_dir, capsys):
    arguments = ["export", str(run_dir), "--to", "csv", "-o", "results"]
    assert [main(arguments), main(arguments), main([*arguments, "--overwrite"])] == [0, 2, 0]
    assert "results: exists already. Choose another place, or replace it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "--to", "csv", "-o", "results"], "nothing: not a run directory"),
        (["run", "--to", "hdf5", "-o", "results"], "invalid choice: 'hdf5'"),
        (["run", "-o", "results"], "the format is one of zarr, parquet, csv"),
        (["run", "--to", "csv"], "-o/--output"),
        (["run", "--to", "csv", "-o", "no/results"], "there is no folder"),
        (["run", "--to", "csv", "-o", ".", "--overwrite"], "holds the run itself"),
    ],
)
def test_export_returns_2_for_bad_input(run_dir, capsys, arguments, message):
    assert main(["export", *arguments]) == 2
    captured = capsys.readouterr()
    assert (message in captured.err, captured.out) == (True, "")


def test_export_help_teaches_by_example(capsys):
    assert main(["export", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--to parquet -o results" in shown and "pandas.read_parquet" in shown and "xarray.open_zarr" in shown


def test_export_help_loads_no_heavy_package():
    code = (
        "import sys; from lightning_interp.cli.main import main; code = main(['export', '--help']); "
        "print(code, [m for m in ('torch', 'numpy', 'xarray', 'zarr', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
