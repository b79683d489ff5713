# SPDX-License-Identifier: Apache-2.0
"""Lightning's own loggers: what CSVLogger and TensorBoardLogger wrote of one training reads as the same series."""

import csv
import json
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from small_training import fit
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.sources.metrics.history import read_metrics

EPOCHS, BATCHES, EVERY = 12, 8, 2


class Regression(L.LightningModule):
    """Logs as people do: the loss by step and by epoch, validation once an epoch; the seventh epoch's loss is NaN."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        broken = torch.tensor(math.nan) if self.current_epoch == 6 else loss
        self.log_dict({"val_loss": broken, "val_acc": torch.sigmoid(-loss), "note": 1.0})

    def loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def train(root, *, epochs=EPOCHS, ckpt_path=None):
    """One training with both loggers; returns its checkpoint."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(4 * BATCHES, 3), torch.randn(4 * BATCHES, 1))
    loggers = [CSVLogger(root / "csv"), TensorBoardLogger(root / "tb", version=0)]
    trainer = L.Trainer(
        max_epochs=epochs,
        logger=loggers,
        log_every_n_steps=EVERY,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(data, batch_size=4)
    trainer.fit(Regression(), loader, loader, ckpt_path=ckpt_path)
    trainer.save_checkpoint(root / "last.ckpt")
    return root / "last.ckpt"


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    root = tmp_path_factory.mktemp("logged")
    train(root)
    return root


@pytest.fixture(scope="module")
def table(logged):
    return logged / "csv" / "lightning_logs" / "version_0" / "metrics.csv"


@pytest.fixture(scope="module")
def log(logged):
    return logged / "tb" / "lightning_logs" / "version_0"


def bits(series):
    """Series that compare equal where they are equal bit by bit, NaN included."""
    return {name: (steps, [value.hex() for value in values]) for name, (steps, values) in series.items()}


def test_both_loggers_give_the_same_series(table, log):
    assert bits(read_metrics(table).series) == bits(read_metrics(log).series)


def test_both_loggers_are_understood_in_the_same_way(table, log):
    expected = {"train_loss_epoch": "train_loss", "val_acc": "heldout_accuracy", "val_loss": "heldout_loss"}
    assert [dict(sorted(read_metrics(path).mapping.items())) for path in (table, log)] == [expected] * 2


def test_series_are_those_of_the_table_itself(table, log):
    with table.open(newline="") as handle:
        rows = [(int(row["step"]), float(row["val_loss"])) for row in csv.DictReader(handle) if row["val_loss"]]
    rows = [(step, value) for step, value in rows if not math.isnan(value)]
    steps, values = read_metrics(log).series["heldout_loss"]
    assert [(step, value.hex()) for step, value in zip(steps, values, strict=True)] == [(s, v.hex()) for s, v in rows]


def test_each_epoch_is_at_its_last_step(table):
    series = read_metrics(table).series
    ends = [BATCHES * epoch - 1 for epoch in range(1, EPOCHS + 1)]
    assert (series["train_loss"][0], series["heldout_loss"][0]) == (ends, ends[:6] + ends[7:])


def test_a_nan_between_finite_values_was_not_logged_in_both(table, log):
    for path in (table, log):
        values = read_metrics(path).series["heldout_loss"][1]
        assert (len(values), any(map(math.isnan, values))) == (EPOCHS - 1, False)


def test_phases_of_both_are_the_same(capsys, table, log):
    timelines = []
    for path in (table, log):
        assert main(["phases", str(path), "--json"]) == 0
        timelines.append(json.loads(capsys.readouterr().out))
    assert timelines[0] == timelines[1]


def test_a_resumed_run_reads_as_one_that_was_not_interrupted(tmp_path):
    train(tmp_path / "whole", epochs=4)
    checkpoint = train(tmp_path / "resumed", epochs=2)
    train(tmp_path / "resumed", epochs=4, ckpt_path=checkpoint)
    files = list((tmp_path / "resumed" / "tb").rglob("events.out.tfevents.*"))
    resumed, whole = (read_metrics(tmp_path / name / "tb").series for name in ("resumed", "whole"))
    assert (len(files), len(whole["train_loss"][0])) == (2, 4 * BATCHES // EVERY)  # of few epochs, the batches
    assert bits(resumed) == bits(whole)


def test_results_of_the_monitor_are_read_from_both_loggers(tmp_path):
    """They come late, with the step they belong to, below rows of later steps."""
    loggers = [CSVLogger(tmp_path / "csv"), TensorBoardLogger(tmp_path / "tb")]
    fit(tmp_path, InterpMonitor(tmp_path / "run", every_n_steps=2), max_steps=20, logger=loggers)
    table = next((tmp_path / "csv").rglob("metrics.csv"))
    steps, values = (found.tolist() for found in open_run(tmp_path / "run").records("heldout_loss"))
    from_csv, from_log = (read_metrics(path).series["heldout_loss"] for path in (table, tmp_path / "tb"))
    assert from_csv == (steps, values) and steps == list(range(0, 21, 2))
    assert from_log == (steps, torch.tensor(values).tolist())  # TensorBoard keeps float32
