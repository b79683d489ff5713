# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp export``: a run's records for other tools."""

import argparse
from pathlib import Path

from lightning_interp.cli.exit_codes import DONE

DESCRIPTION = """\
Writes the records of a run directory for other tools, as a folder that appears whole or not at all. Values are those of
the records, bit for bit; where a step has none there is NaN (zarr), null (parquet) or an empty cell (csv).

  zarr     one labelled data set: series over step, and per-layer values over step and layer
  parquet  scalars.parquet, a row per step and a column per record name, and layers.parquet, a row per step, measure
           and layer
  csv      the same two tables as scalars.csv and layers.csv; needs no further package
"""

EPILOG = """examples:
  lightning-interp export interp_runs/20260102T030405Z-1a2b3c --to parquet -o results
      Then, in Python: pandas.read_parquet("results/scalars.parquet").plot(x="step", y=["train_loss", "heldout_loss"])
  lightning-interp export interp_runs/20260102T030405Z-1a2b3c -o results.zarr --overwrite
      Then, in Python: xarray.open_zarr("results.zarr")["hoyer_by_layer"].sel(layer="mlp_act")
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run directory, as the monitor printed it")
    parser.add_argument(
        "--to",
        choices=("zarr", "parquet", "csv"),
        help="format (default: by the target's suffix); zarr and parquet need the extra `export`",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TARGET", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target if it is an export")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the export and say what is where."""
    from lightning_interp.core.console import one_line
    from lightning_interp.monitor.announcements import size_text
    from lightning_interp.store.run import open_run

    opened = open_run(args.run_dir)
    for path in opened.export(args.output, format=args.to, overwrite=args.overwrite):
        print(one_line(f"{path}  {size_text(_size(path))}"))
    if not opened.all_records:
        print("The run has no records yet.")
    return DONE


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
