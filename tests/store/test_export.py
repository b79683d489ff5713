# SPDX-License-Identifier: Apache-2.0
"""Exports, read back by other readers and compared with the records bit by bit."""

import csv
import math
import os
import struct
import sys
from dataclasses import replace

import pyarrow.parquet
import pytest
import xarray

from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.core.records import Record
from lightning_interp.store import append_record, open_run, write_manifest
from lightning_interp.store.export import FORMATS, layer_table, scalar_table

ODD_LAYERS = ("blocks.0,mlp", 'a "quoted" name', "path/to/act", "two\nlines", "crlf\r\nname", "λ;\ttab", "../up", "null")
ODD_NAMES = (
    "train_loss",
    "effective_rank/blocks.0.weight",
    'comma, "quote"',
    "two\nlines",
    ".zarray",
    "100%",
    "σ/µ",
    "measure",
)
AWKWARD = (0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 1e-17 + 1, 123456789.123456789, 3)


@pytest.fixture
def run(run_dir, manifest):
    """Four records with odd names and numbers; some names have no value, some layers do not apply."""
    write_manifest(run_dir, replace(manifest, layers=ODD_LAYERS, activation_layers=ODD_LAYERS))
    for at in range(3):
        numbers = (*AWKWARD[at:], *AWKWARD[:at])
        values = {name: number for name, number in zip(ODD_NAMES, numbers, strict=True) if number != 0.1}
        rows = {"hoyer": tuple(None if i == at else number for i, number in enumerate(numbers))}
        if at == 1:
            rows["stable_rank"] = (None,) * 7 + (2.5,)
        append_record(run_dir, Record(10**at, 0, values, rows, {"heldout_loss": "no held-out data"}))
    append_record(run_dir, Record(500, 0, {}, {}, {"train_loss": "not finite (nan)"}))
    return open_run(run_dir)


def bits(value):
    return struct.pack("<d", value)


def scalars_of(run):
    """{(step, name): bits}, straight from `Run.records`."""
    names = {name for record in run.all_records for name in record.values}
    return {(int(s), name): bits(v) for name in names for s, v in zip(*run.records(name), strict=True)}


def layers_of(run):
    """{(step, measure, layer): bits}, straight from `Run.records`."""
    measures = {name for record in run.all_records for name in record.layers}
    found = {}
    for measure in measures:
        for layer in run.manifest.layers:
            try:
                steps, values = run.records(f"{measure}/{layer}")
            except RunError:
                continue
            found |= {(int(s), measure, layer): bits(v) for s, v in zip(steps, values, strict=True)}
    return found


def read_zarr(target):
    data = xarray.open_zarr(target).load()
    scalars, layers = {}, {}
    for array in data.data_vars.values():
        name = array.attrs["record_name"]
        for step in data["step"].values:
            row = array.sel(step=step)
            if row.ndim == 0:
                scalars[int(step), name] = bits(float(row))
            for layer, value in zip(data["layer"].values, row.values, strict=True) if row.ndim else ():
                layers[int(step), name.removesuffix("_by_layer"), str(layer)] = bits(value)
    none = bits(math.nan)
    return tuple({key: value for key, value in found.items() if value != none} for found in (scalars, layers))


def read_parquet(target):
    scalars, layers = (pyarrow.parquet.read_table(target / f"{name}.parquet").to_pylist() for name in ("scalars", "layers"))
    return (
        {(row["step"], name): bits(v) for row in scalars for name, v in row.items() if name != "step" and v is not None},
        {(row["step"], row["measure"], row["layer"]): bits(row["value"]) for row in layers},
    )


def read_csv(target):
    tables = []
    for name in ("scalars", "layers"):
        with (target / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
            tables.append(list(csv.DictReader(handle)))
    scalars, layers = tables
    return (
        {(int(row["step"]), n): bits(float(v)) for row in scalars for n, v in row.items() if n != "step" and v != ""},
        {(int(row["step"]), row["measure"], row["layer"]): bits(float(row["value"])) for row in layers},
    )


READERS = {"zarr": read_zarr, "parquet": read_parquet, "csv": read_csv}


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_has_every_number_of_the_records_bit_by_bit(run, tmp_path, format):
    run.export(tmp_path / "out", format=format)
    scalars, layers = READERS[format](tmp_path / "out")
    assert (scalars, layers) == (scalars_of(run), layers_of(run))
    assert (len(scalars), len(layers)) == (3 * 7, 3 * 7 + 1)


def test_tables_have_a_row_for_a_step_without_values(run, tmp_path):
    run.export(tmp_path / "out", format="parquet")
    row = pyarrow.parquet.read_table(tmp_path / "out" / "scalars.parquet").to_pylist()[-1]
    assert (row.pop("step"), set(row.values())) == (500, {None})


def test_parquet_columns_are_whole_numbers_floats_and_texts(run, tmp_path):
    run.export(tmp_path / "out", format="parquet")
    scalars, layers = (pyarrow.parquet.read_schema(tmp_path / "out" / f"{name}.parquet") for name in ("scalars", "layers"))
    assert [str(kind) for kind in scalars.types] == ["int64"] + ["double"] * len(ODD_NAMES)
    assert dict(zip(layers.names, map(str, layers.types), strict=True)) == {
        "step": "int64",
        "measure": "string",
        "layer": "string",
        "value": "double",
    }


def test_zarr_keeps_plain_names_and_quotes_slashes(run, tmp_path):
    run.to_zarr(tmp_path / "out.zarr")
    data = xarray.open_zarr(tmp_path / "out.zarr")
    assert {"train_loss", "hoyer_by_layer", "effective_rank%2Fblocks.0.weight"} <= set(data.data_vars)
    assert data["step"].dtype == "int64"
    assert list(data["layer"].values) == list(ODD_LAYERS)


def test_to_zarr_returns_where_it_wrote(run, tmp_path):
    assert run.to_zarr(str(tmp_path / "out.zarr")) == tmp_path / "out.zarr"


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_run_is_exported_without_rows(run_dir, tmp_path, format):
    open_run(run_dir).export(tmp_path / "out", format=format)
    assert READERS[format](tmp_path / "out") == ({}, {})


def test_an_empty_run_keeps_the_columns_there_always_are(run_dir, tmp_path):
    open_run(run_dir).export(tmp_path / "out", format="csv")
    texts = [(tmp_path / "out" / f"{name}.csv").read_text().strip() for name in ("scalars", "layers")]
    assert texts == ["step", "step,measure,layer,value"]


def test_rows_that_a_resume_took_back_are_left_out(run_dir, manifest, tmp_path):
    for step, attempt in ((0, 0), (10, 0), (20, 0), (15, 1)):
        append_record(run_dir, Record(step, attempt, {"x": float(attempt)}))
    write_manifest(run_dir, manifest.resumed(10))
    open_run(run_dir).export(tmp_path / "out", format="csv")
    assert [step for step, _ in read_csv(tmp_path / "out")[0]] == [0, 10, 15]


@pytest.mark.parametrize(
    ("format", "written"),
    [("zarr", ["."]), ("parquet", ["scalars.parquet", "layers.parquet"]), ("csv", ["scalars.csv", "layers.csv"])],
)
def test_the_format_is_known_by_the_target_s_suffix(run, tmp_path, format, written):
    target = tmp_path / f"out.{format}"
    assert list(run.export(target)) == [target / name for name in written]


@pytest.mark.parametrize(("target", "format", "found"), [("out", None, "a target named 'out'"), ("out", "hdf5", "'hdf5'")])
def test_an_unknown_format_is_refused(run, tmp_path, target, format, found):
    with pytest.raises(ConfigError, match=f"one of zarr, parquet, csv, or the target's suffix; got {found}"):
        run.export(tmp_path / target, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_an_existing_target_is_refused_and_left_as_it_is(run, tmp_path, format):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scalars.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"exists already.*--overwrite"):
        run.export(tmp_path / "out", format=format)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("before", FORMATS)
@pytest.mark.parametrize("format", FORMATS)
def test_overwrite_replaces_an_export_as_a_whole(run, tmp_path, before, format):
    run.export(tmp_path / "out", format=before)
    append_record(run.path, Record(900, 0, {"train_loss": 7.0}))
    run.export(tmp_path / "out", format=format, overwrite=True)
    assert READERS[format](tmp_path / "out")[0] == scalars_of(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]
    assert before == format or not list((tmp_path / "out").glob({"zarr": ".z*"}.get(before, f"*.{before}")))


def test_overwrite_refuses_what_is_no_export(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    run.export(tmp_path / "notes", format="csv")
    run.export(tmp_path / "store", format="zarr")
    for name in ("notes", "store"):
        (tmp_path / name / "notes.txt").write_text("mine")
    for name in ("file", "notes", "store"):
        with pytest.raises(ConfigError, match="is not an export, so it is not replaced"):
            run.export(tmp_path / name, format="csv", overwrite=True)
    assert (tmp_path / "file").read_text() == (tmp_path / "notes" / "notes.txt").read_text() == "mine"


def test_the_run_s_own_folder_is_refused(run, tmp_path):
    for target in (run.path, tmp_path, run.path / "snapshots" / ".."):
        with pytest.raises(ConfigError, match="holds the run itself"):
            run.export(target, format="csv", overwrite=True)


def test_a_folder_that_is_missing_is_named(run, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere to write it in"):
        run.export(tmp_path / "nowhere" / "out", format="csv")


def test_a_link_to_an_export_is_followed(run, tmp_path):
    run.export(tmp_path / "out", format="csv")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    run.export(tmp_path / "link", format="parquet", overwrite=True)
    assert (tmp_path / "link").is_symlink() and read_parquet(tmp_path / "out")[0] == scalars_of(run)


def broken(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("format", FORMATS)
def test_a_failed_export_leaves_nothing(run, tmp_path, monkeypatch, format):
    monkeypatch.setattr("xarray.Dataset.to_zarr", broken)
    monkeypatch.setattr("lightning_interp.store.export._file", broken)
    with pytest.raises(ConfigError, match=r"out: cannot be written \(No space left on device\)"):
        run.export(tmp_path / "out", format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("failing", ["writing", "moving"])
def test_a_failed_overwrite_keeps_what_was_there(run, tmp_path, monkeypatch, failing):
    run.export(tmp_path / "out", format="csv")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    moves = os.rename

    def no_new(source, target):
        return broken() if str(source).endswith("new") else moves(source, target)

    if failing == "moving":
        monkeypatch.setattr("os.rename", no_new)
    else:
        monkeypatch.setattr("csv.writer", broken)
    with pytest.raises(ConfigError, match="cannot be written"):
        run.export(tmp_path / "out", format="csv", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_others_may_read_an_export_as_they_may_any_new_folder(run, tmp_path):
    (tmp_path / "plain").mkdir()
    run.export(tmp_path / "out", format="csv")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(("format", "package"), [("zarr", "zarr"), ("zarr", "xarray"), ("parquet", "pyarrow")])
def test_a_missing_package_is_named_with_its_extra(run, tmp_path, monkeypatch, format, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{format} needs the package {package} .*'lightning-interp\[export\]'"):
        run.export(tmp_path / "out", format=format)


@pytest.mark.parametrize(("format", "name"), [("zarr", "layer"), ("zarr", "step"), ("parquet", "step"), ("csv", "step")])
def test_a_record_with_the_name_of_an_axis_is_refused(run_dir, tmp_path, format, name):
    append_record(run_dir, Record(0, 0, {name: 1.0}))
    with pytest.raises(RunError, match=f"a record is called '{name}'"):
        open_run(run_dir).export(tmp_path / "out", format=format)


def test_scalar_table_has_a_row_per_step_and_a_column_per_name():
    records = [Record(0, 0, {"b": 1.0}), Record(5, 0, {"a": 2})]
    assert scalar_table(records) == {"step": [0, 5], "a": [None, 2.0], "b": [1.0, None]}


def test_layer_table_leaves_out_layers_a_measure_does_not_apply_to():
    records = [Record(0, 0, {}, {"rank": (None, 2.0), "hoyer": (0.5, None)})]
    assert layer_table(records, ["act", "w"]) == {
        "step": [0, 0],
        "measure": ["hoyer", "rank"],
        "layer": ["act", "w"],
        "value": [0.5, 2.0],
    }
