# SPDX-License-Identifier: Apache-2.0
"""What the training was set to at each snapshot: learning rate, weight decay, batch size."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from batch_kinds import graphs
from noisy_training import quiet_trainer
from small_training import Classifier, data, fit
from torch.utils.data import DataLoader

from lightning_interp import InterpMonitor, Monitor, open_run
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.measures.logged_names import logged_at, record_name, tells_when_logged
from lightning_interp.monitor.logged_steps import LoggedSteps
from lightning_interp.monitor.trainer_adapter import snapshot_scalars, training_settings


class TwoGroups(Classifier):
    """Decays its weights but not its biases, with a learning rate that falls with every step; logs its loss."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        self.log("training/lr", 7.0)
        return loss

    def configure_optimizers(self) -> Any:
        weights = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        biases = [parameter for parameter in self.parameters() if parameter.ndim < 2]
        groups = [{"params": weights, "weight_decay": 0.5}, {"params": biases, "weight_decay": 0.0, "lr": 0.002}]
        optimizer = torch.optim.AdamW(groups, lr=0.004)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def optimizer_of(*groups: dict[str, Any]) -> SimpleNamespace:
    """A trainer with one optimizer; the settings are all that is read of it."""
    optimizer = SimpleNamespace(param_groups=list(groups))
    return SimpleNamespace(optimizers=[optimizer], accumulate_grad_batches=1, world_size=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("settings")
    monitor = InterpMonitor(root / "run", every_n_steps=2, measures=["train_loss"], background="inline")
    fit(root, monitor, TwoGroups(), max_steps=4, accumulate_grad_batches=2)
    return root / "run"


def test_settings_travel_with_the_snapshots_beside_what_was_logged(trained: Path) -> None:
    scalars = open_run(trained).snapshot(2).scalars
    assert (scalars["interp/weight_decay"], scalars["interp/weight_decay/1"]) == (0.5, 0.0)
    # After two steps of the schedule the rates are a third of what they were.
    assert scalars["interp/lr/1"] == pytest.approx(0.002 / 3, rel=1e-12)
    assert scalars["interp/batch_size"] == 64.0
    assert "loss" in scalars


def test_what_a_user_logs_is_never_taken_for_a_setting(trained: Path) -> None:
    assert open_run(trained).snapshot(2).scalars["training/lr"] == 7.0
    training = view_run(trained).training
    assert training["logged/training/lr"][1][0] == 7.0 and training["lr"][1][0] != 7.0


def test_the_health_log_has_the_scalars_of_each_snapshot_without_when_each_was_logged(trained: Path) -> None:
    run = open_run(trained)
    rows = {row["step"]: row["scalars"] for row in run.health if row["event"] == "snapshot"}
    told = {step: run.snapshot(step).scalars for step in (0, 2, 4)}
    assert rows == {
        step: {name: value for name, value in scalars.items() if not tells_when_logged(name)}
        for step, scalars in told.items()
    }
    kinds = {name: "average" if name == "val_loss" else "batch" for name in rows[4] if record_name(name) is None}
    assert told[4].keys() - rows[4].keys() == {logged_at(name, kind) for name, kind in kinds.items()}


def test_one_value_has_the_plain_name_and_of_many_four_are_kept() -> None:
    groups = [{"lr": rate, "weight_decay": 0.1} for rate in (0.3, 0.1, 0.3, 0.2, 0.5, 0.4)]
    many = [{"lr": float(k)} for k in range(10_000)]
    started = time.perf_counter()
    assert len(training_settings(optimizer_of(*many), None)) == 4
    assert time.perf_counter() - started < 0.1  # comparing every pair takes a minute
    rates = {"interp/lr": 0.3, "interp/lr/1": 0.1, "interp/lr/2": 0.2, "interp/lr/3": 0.5}
    assert training_settings(optimizer_of(*groups), None) == rates | {"interp/weight_decay": 0.1}


def test_batch_size_is_that_of_all_processes() -> None:
    batch = {"scale": torch.tensor(1.0), "x": torch.zeros(8, 2)}
    assert training_settings(optimizer_of(), batch) == {"interp/batch_size": 24.0}
    assert training_settings(optimizer_of(), graphs(torch.zeros(8, 2), torch.zeros(8))) == {"interp/batch_size": 24.0}


class ShowsItsLoss(Classifier):
    """Logs to the progress bar a tensor that cannot be read, as reading one on a GPU would make the training wait."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log("shown", torch.zeros((), device="meta"), prog_bar=True)
        return super().training_step(batch, batch_idx)


class TakesScalars(L.Callback):
    """Takes what the monitor would, and ends the training before Lightning itself reads what the bar shows."""

    def __init__(self) -> None:
        self.taken: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.taken = snapshot_scalars(trainer, batch, LoggedSteps())
        raise NotImplementedError


def test_what_the_progress_bar_shows_is_not_read_between_steps(tmp_path: Path) -> None:
    taker, loader = TakesScalars(), DataLoader(data(), batch_size=32)
    with pytest.raises(NotImplementedError):  # after it Lightning moves logged values to the CPU, which fails alike
        quiet_trainer(tmp_path, [taker], num_sanity_val_steps=0, max_epochs=1).fit(ShowsItsLoss(), loader, loader)
    assert taker.taken["shown"].device.type == "meta"


def test_a_tensor_on_another_device_is_not_read() -> None:
    rate = torch.tensor(0.1, device="meta")  # has no value: reading it would fail
    found = training_settings(optimizer_of({"lr": rate}, {"lr": rate}, {"lr": torch.tensor(0.5)}), None)
    assert found == {"interp/lr": rate, "interp/lr/1": 0.5}


def test_an_optimizer_that_cannot_be_understood_costs_the_settings_only() -> None:
    assert training_settings(optimizer_of({"lr": "fast"}), None) == {}


def test_settings_given_to_a_loop_of_ones_own_reach_the_health_log(tmp_path: Path) -> None:
    monitor, module = Monitor(tmp_path / "run", every_n_steps=1, background="inline"), torch.nn.Linear(2, 2)
    with monitor.watch(module):
        monitor.step(lr=0.1, train_loss=torch.tensor(2.0))
    rows = {row["step"]: row["scalars"] for row in open_run(tmp_path / "run").health if row["event"] == "snapshot"}
    assert rows == {0: {}, 1: {"lr": pytest.approx(0.1), "train_loss": 2.0}}
