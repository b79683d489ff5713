# SPDX-License-Identifier: Apache-2.0
"""The formats of metrics files. One more is a module as `format` describes it, and a line here."""

from pathlib import Path

from lightning_interp.sources.metrics import csv_table, json_lines, tensorboard_log, wandb_run
from lightning_interp.sources.metrics.format import MetricsFormat

FORMATS: tuple[MetricsFormat, ...] = (
    wandb_run,  # before TensorBoard, whose logs a W&B run's folder may hold
    tensorboard_log,
    json_lines,
    csv_table,  # takes every path, and says what keeps it from being a table
)
"""In the order in which they are tried."""


def format_of(path: Path) -> tuple[MetricsFormat, Path]:
    """The first format that reads a path, and the file or folder it reads.

    Raises:
        MetricsError: The path stands for several runs.
    """
    return next((each, found) for each in FORMATS if (found := each.matches(path)) is not None)
