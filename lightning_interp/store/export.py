# SPDX-License-Identifier: Apache-2.0
"""A run's records for other tools: a zarr folder, or two tables as parquet or CSV.

Values are the float64 of the records, bit for bit; where a record has none there is NaN in zarr, null in parquet, nothing
in CSV. Vectors (sketches, power by frequency) are left out: they are for figures, and `Run.all_records` has them.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from importlib import import_module
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.core.records import Record

if TYPE_CHECKING:
    import xarray

FORMATS = ("zarr", "parquet", "csv")
SCALARS, LAYERS = "scalars", "layers"

Table = Mapping[str, Sequence[Any]]
"""Columns by name, equally long."""

_AXES = frozenset(("step", "layer"))
_NO_FLOATS: Mapping[str, Mapping[str, type]] = {SCALARS: {"step": int}, LAYERS: {"step": int, "measure": str, "layer": str}}
_PLAIN = "#()[] "


def export_records(
    records: Sequence[Record],
    layers: Sequence[str],
    target: str | PathLike[str],
    *,
    run_dir: Path,
    format: str | None = None,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write a run's records as a folder that appears whole or not at all.

    `zarr` is the data set of `labelled_records`, for `xarray.open_zarr`: `<name>[step]`, `<measure>_by_layer[step, layer]`.
    zarr takes a slash for a folder, so `/` and other unusual characters of a name are stored as `%2F` and so on; the
    attribute `record_name` of each array has the name itself. `parquet` and `csv` hold two tables: `scalars`, a row per step
    and a column per record name, and `layers` with step, measure, layer and value, a row for each value there is.

    Args:
        records: Records of the run, finished or not.
        layers: Its layers in run.json order.
        target: Folder to write.
        run_dir: The run directory, which is never written over.
        format: One of `FORMATS`; where None, the target's suffix: `.zarr`, `.parquet` or `.csv`.
        overwrite: Replace the target if it is an export.

    Returns:
        What was written: the zarr folder, or the files of both tables.

    Raises:
        ConfigError: The format is unknown, a package is missing, or the target exists, is no export or cannot be written.
        RunError: A record has the name of an axis.
    """
    target = Path(target)
    kind = _format(target, format)
    try:
        place = target.resolve()
        _check_place(place, target, run_dir, overwrite=overwrite)
        with _replacing(place) as folder:
            names = _WRITERS[kind](records, layers, folder)
    except OSError as err:
        raise ConfigError(f"{target}: cannot be written ({err.strerror or err}). Choose another place.") from err
    return tuple(target / name for name in names)


def labelled_records(records: Sequence[Record], layers: Sequence[str]) -> "xarray.Dataset":
    """Scalars [step] and per-layer values [step, layer] as a labelled data set (extra ``export``)."""
    import xarray

    names = sorted({name for record in records for name in record.values})
    measures = sorted({name for record in records for name in record.layers})
    _check_lengths(records, layers)
    empty: tuple[float | None, ...] = (None,) * len(layers)
    scalars = {n: ("step", np.array([r.values.get(n, np.nan) for r in records], dtype=np.float64)) for n in names}
    per_layer = {
        f"{m}_by_layer": (("step", "layer"), np.array([r.layers.get(m, empty) for r in records], dtype=np.float64))
        for m in measures
    }
    steps = np.array([record.step for record in records], dtype=np.int64)
    return xarray.Dataset({**scalars, **per_layer}, coords={"step": steps, "layer": np.array(layers, dtype=np.str_)})


def scalar_table(records: Iterable[Record]) -> Table:
    """A row per step: `step`, and a column for each record name in alphabetical order; None where there is no value.

    Raises:
        RunError: A record is called `step`.
    """
    rows = list(records)
    names = sorted({name for record in rows for name in record.values})
    _check_names(names, {"step"})
    columns = {name: [_float(record.values.get(name)) for record in rows] for name in names}
    return {"step": [record.step for record in rows], **columns}


def layer_table(records: Iterable[Record], layers: Sequence[str]) -> Table:
    """A row for each value of a layer: `step`, `measure`, `layer`, `value`; layers a measure does not apply to have none."""
    kept = list(records)
    _check_lengths(kept, layers)
    rows = [
        (record.step, measure, layer, float(value))
        for record in kept
        for measure, values in sorted(record.layers.items())
        for layer, value in zip(layers, values, strict=True)
        if value is not None
    ]
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return dict(zip(("step", "measure", "layer", "value"), map(list, columns), strict=True))


def _check_lengths(records: Iterable[Record], layers: Sequence[str]) -> None:
    for record in records:
        for measure, values in record.layers.items():
            if len(values) != len(layers):
                raise RunError(
                    f"records.jsonl, step {record.step}: {measure!r} has {len(values)} values for the {len(layers)} layers "
                    "of run.json. Remove that line, or copy the run directory again."
                )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)  # JSON may have had 1 for 1.0


def _format(target: Path, format: str | None) -> str:
    kind = format or target.suffix.removeprefix(".").lower()
    if kind in FORMATS:
        return kind
    found = repr(format) if format else f"a target named {target.name!r}"
    raise ConfigError(f"export: the format is one of {', '.join(FORMATS)}, or the target's suffix; got {found}.")


def _check_place(place: Path, target: Path, run_dir: Path, *, overwrite: bool) -> None:
    if not place.parent.is_dir():
        raise ConfigError(f"{target}: there is no folder {place.parent} to write it in. Make it first.")
    if run_dir.resolve().is_relative_to(place):
        raise ConfigError(f"{target}: holds the run itself. Choose another place.")
    if place.exists() and not overwrite:
        raise ConfigError(f"{target}: exists already. Choose another place, or replace it: overwrite=True, --overwrite.")
    if place.exists() and not _is_export(place):
        raise ConfigError(f"{target}: is not an export, so it is not replaced. Choose another place, or remove it yourself.")


def _is_export(folder: Path) -> bool:
    """Whether a folder holds nothing but what an export writes."""
    if not folder.is_dir():
        return False
    entries = list(folder.iterdir())
    if (folder / ".zgroup").is_file():
        return all(entry.name.startswith(".z") or (entry / ".zarray").is_file() for entry in entries)
    tables = {_file(table, kind) for table in (SCALARS, LAYERS) for kind in ("parquet", "csv")}
    return all(entry.name in tables for entry in entries)


@contextmanager
def _replacing(place: Path) -> Iterator[Path]:
    """A folder that takes its place when the block ends well, and is gone otherwise."""
    with TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent, ignore_cleanup_errors=True) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()  # the temporary folder itself can be read by its owner only
        yield new
        if place.exists():
            place.rename(old)
        try:
            new.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise


def _write_zarr(records: Sequence[Record], layers: Sequence[str], folder: Path) -> tuple[str, ...]:
    _require("zarr", "xarray", "zarr")
    _check_names((name for record in records for name in record.values), _AXES)
    data = labelled_records(records, layers)
    for name in data.data_vars:
        data[name].attrs["record_name"] = name
    stored = data.rename({name: _stored_name(str(name)) for name in data.data_vars})
    # Of the older format every reader knows texts and consolidated metadata; zarr 3 has neither in its specification
    stored.to_zarr(folder, mode="w", zarr_format=2, consolidated=True)
    return ("",)


def _stored_name(name: str) -> str:
    quoted = quote(name, safe=_PLAIN)
    return quoted if not quoted.startswith(".") else "%2E" + quoted[1:]  # .zarray and the like are zarr's own


def _write_parquet(records: Sequence[Record], layers: Sequence[str], folder: Path) -> tuple[str, ...]:
    _require("parquet", "pyarrow")
    import pyarrow
    import pyarrow.parquet

    types = {int: pyarrow.int64(), str: pyarrow.string(), float: pyarrow.float64()}
    for table, columns in _tables(records, layers).items():
        known = _NO_FLOATS[table]
        arrays = {name: pyarrow.array(values, types[known.get(name, float)]) for name, values in columns.items()}
        pyarrow.parquet.write_table(pyarrow.table(arrays), folder / _file(table, "parquet"))
    return _file(SCALARS, "parquet"), _file(LAYERS, "parquet")


def _write_csv(records: Sequence[Record], layers: Sequence[str], folder: Path) -> tuple[str, ...]:
    for table, columns in _tables(records, layers).items():
        with (folder / _file(table, "csv")).open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))  # None becomes an empty cell
    return _file(SCALARS, "csv"), _file(LAYERS, "csv")


_WRITERS: Mapping[str, Callable[[Sequence[Record], Sequence[str], Path], tuple[str, ...]]] = {
    "zarr": _write_zarr,
    "parquet": _write_parquet,
    "csv": _write_csv,
}
"""Write records and their layers into an empty folder; each returns the names of what it wrote there."""


def _tables(records: Sequence[Record], layers: Sequence[str]) -> dict[str, Table]:
    return {SCALARS: scalar_table(records), LAYERS: layer_table(records, layers)}


def _file(table: str, format: str) -> str:
    return f"{table}.{format}"


def _check_names(names: Iterable[str], taken: Set[str]) -> None:
    if clash := taken & set(names):
        raise RunError(f"export: a record is called {min(clash)!r}, which is the name of an axis. Rename its measure.")


def _require(format: str, *packages: str) -> None:
    for package in packages:
        try:
            import_module(package)
        except ImportError as err:
            raise ConfigError(
                f"export: {format} needs the package {package} ({err}). Install it: pip install 'lightning-interp[export]'."
            ) from err
