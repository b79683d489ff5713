# SPDX-License-Identifier: Apache-2.0
"""Every record selected for logging arrives at its own step, read back from the loggers' own files."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from noisy_training import NoisyAddition, P, loaders, quiet_trainer

from lightning_interp import CyclicGroupTask, InterpMonitor, PhaseChange, Run, open_run

FLOAT32_ROUNDING = 1e-6
"""TensorBoard stores float32: relative rounding 6e-8, with room for values near zero."""


class Trained:
    """One training with every logger, shared by the tests of this file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[PhaseChange] = []
        settings = {"console": "off", "silent": True, "x_disable_stats": True}
        self.wandb = WandbLogger(project="test", save_dir=root, offline=True, settings=settings)
        monitor = InterpMonitor(root / "run", task=CyclicGroupTask(P, "add"), every_n_steps=10)
        monitor.on_phase("fitting", self.changes.append)
        csv_logger, tensorboard = CSVLogger(root / "csv"), TensorBoardLogger(root / "tb")
        torch.manual_seed(0)
        trainer = quiet_trainer(root, [monitor], max_steps=120, logger=[self.wandb, csv_logger, tensorboard])
        trainer.fit(NoisyAddition(), *loaders())
        self.metrics = dict(trainer.callback_metrics)
        self.wandb_file = Path(self.wandb.experiment.settings.sync_file)
        self.wandb.experiment.finish()
        self.csv_file = Path(csv_logger.log_dir) / "metrics.csv"
        self.tensorboard_dir = Path(tensorboard.log_dir)
        self.run: Run = open_run(root / "run")
        self.logged_names = [name for name in self.run.series if not name.startswith("interp/")]

    def expected(self) -> dict[int, dict[str, float]]:
        """Selected values by step, from records.jsonl itself."""
        return {record.step: dict(record.values) for record in self.run.all_records}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_SILENT"):
            patch.setenv(name, "true" if name == "WANDB_SILENT" else "offline")
        yield Trained(tmp_path_factory.mktemp("loggers"))


def wandb_text(trained: Trained) -> str:
    """The offline W&B file, by W&B's own reader."""
    wandb = Path(sys.executable).with_name("wandb")
    command = [str(wandb), "leet", "inspect", "--json", str(trained.wandb_file)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def wandb_rows(trained: Trained) -> list[dict]:
    """History rows with their values decoded."""
    records = [json.loads(line) for line in wandb_text(trained).splitlines() if line.strip()]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_records_cover_every_scheduled_step(trained: Trained) -> None:
    assert list(trained.expected()) == list(range(0, 121, 10))


def test_wandb_file_holds_every_record_at_its_own_step(trained: Trained) -> None:
    rows = wandb_rows(trained)
    found = {int(row["interp/step"]): row for row in rows if "interp/step" in row}
    assert sorted(found) == sorted(trained.expected())
    for step, values in trained.expected().items():
        assert {name: found[step][f"interp/{name}"] for name in values} == values


def test_wandb_rows_all_have_the_same_keys(trained: Trained) -> None:
    keys = {frozenset(k for k in row if k.startswith("interp/")) for row in wandb_rows(trained) if "interp/step" in row}
    assert len(keys) == 1
    assert len(next(iter(keys))) <= 40


def test_csv_logger_holds_every_record_at_its_own_step(trained: Trained) -> None:
    with trained.csv_file.open() as handle:
        rows = {int(row["step"]): row for row in csv.DictReader(handle) if row["interp/step"]}
    assert sorted(rows) == sorted(trained.expected())
    for step, values in trained.expected().items():
        assert {name: float(rows[step][f"interp/{name}"]) for name in values} == values


def test_tensorboard_holds_every_record_at_its_own_step(trained: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.tensorboard_dir), size_guidance={"scalars": 0}).Reload()
    for name in trained.logged_names:
        points = {event.step: event.value for event in events.Scalars(f"interp/{name}")}
        steps, values = trained.run.records(name)
        for step, value in zip(steps, values, strict=True):
            assert math.isclose(points[step], value, rel_tol=FLOAT32_ROUNDING, abs_tol=1e-30), (name, step)


def test_callback_metrics_have_the_latest_results(trained: Trained) -> None:
    assert {"interp/train_loss", "interp/step", "interp/intensity_memorization"} <= set(trained.metrics)


def test_on_phase_is_called_when_a_phase_begins(trained: Trained) -> None:
    assert [(change.name, change.kind) for change in trained.changes] == [("fitting", "began")]


def test_wandb_summary_has_verdict_and_boundaries(trained: Trained) -> None:
    text = wandb_text(trained)
    assert "interp/verdict" in text
    assert "interp/fitting_start" in text


def test_wandb_has_an_alert_for_a_phase(trained: Trained) -> None:
    assert "Phase fitting began" in wandb_text(trained)
