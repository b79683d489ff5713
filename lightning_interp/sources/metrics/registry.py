# SPDX-License-Identifier: Apache-2.0
"""The formats of metrics files. One more is a module as `format` describes it, and a line here."""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from lightning_interp.sources.metrics.format import MetricsFormat


class Listed(NamedTuple):
    """A format before its module is loaded, which help texts must not wait for.

    Attributes:
        name: Short name.
        description: What a user can give.
        module: Its module.
    """

    name: str
    description: str
    module: str


FORMATS = (
    # Before TensorBoard, whose logs a W&B run's folder may hold.
    Listed("W&B", "a W&B run on disk (its folder or .wandb file)", f"{__package__}.wandb_run"),
    Listed("TensorBoard", "a TensorBoard log (event file or folder)", f"{__package__}.tensorboard_log"),
    Listed("MLflow", "an MLflow run (its folder in mlruns, or files of its metrics)", f"{__package__}.mlflow_run"),
    Listed("DVCLive", "a DVCLive folder", f"{__package__}.series_folder"),
    # Before JSON lines, which begin alike.
    Listed("JSON", "trainer_state.json or another JSON history", f"{__package__}.json_document"),
    Listed("JSONL", "JSON lines", f"{__package__}.json_lines"),
    # Takes every path, and says what keeps it from being a table.
    Listed("CSV", "CSV with a header", f"{__package__}.csv_table"),
)
"""In the order in which they are tried."""


def format_of(path: Path) -> tuple[MetricsFormat, Path]:
    """The first format that reads a path, and the file or folder it reads.

    Raises:
        MetricsError: The path stands for several runs.
    """
    formats: map[MetricsFormat] = map(import_module, (each.module for each in FORMATS))
    return next((each, found) for each in formats if (found := each.matches(path)) is not None)
