# SPDX-License-Identifier: Apache-2.0
"""Where no loss can be computed on the probe, phases follow what the training logs, in real trainings."""

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from noisy_training import quiet_trainer
from small_training import Classifier, data, fit
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import Metric
from unreplayable import BreaksLater, InItsTraining, LogsAccuracyOnly, LogsBoth

from lightning_interp import InterpMonitor, Monitor, analyze_run, open_run
from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.figures.losses import losses_figure
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.store import Run

EPOCH = 3
"""Steps of an epoch, each of which ends with a validation."""


def trained(root: Path, module: Any, *, max_steps: int = 30, **options: Any) -> Run:
    monitor = InterpMonitor(root / "run", background="inline", strict=True, report=False, **options)
    fit(root, monitor, module, max_steps=max_steps)
    return open_run(root / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Logs a loss of each batch, loss and accuracy of each validation."""
    torch.manual_seed(0)
    return trained(tmp_path_factory.mktemp("logged"), InItsTraining())


def logged_at(run: Run, curve: str) -> list[int]:
    return [int(step) for step in run.records(f"logged_{curve}_step")[1]]


def test_each_validation_that_a_snapshot_carries_counts_once_at_its_own_step(run: Run) -> None:
    found = logged_at(run, "heldout_loss")
    carried = {(step - 1) // EPOCH * EPOCH for step in run.steps if step > EPOCH}
    assert found == sorted(carried | {run.steps[-1]})  # the last one came after the last snapshot
    assert logged_at(run, "heldout_accuracy") == found


def test_batch_values_count_at_their_snapshots(run: Run) -> None:
    assert logged_at(run, "train_loss") == run.steps[1:]


def test_values_are_those_that_were_logged(run: Run) -> None:
    scalars = {step: run.snapshot(step).scalars for step in run.steps}
    for record in run.all_records[1:-1]:
        assert record.values["logged_train_loss"] == scalars[record.step]["loss"]
    assert not any("train_loss" in record.values for record in run.all_records)


def test_everybody_is_told_what_phases_follow(run: Run) -> None:
    words = "train loss `loss` (batch values), held-out loss `val_loss` (averages over a validation)"
    assert run.timeline is not None
    evidence = run.timeline.evidence
    assert evidence["source"] == "logged"
    assert f"Judged by what the training logged: {words}" in evidence["reason"]
    notices = [text for text in run.analysis["notices"] if "phases follow what the training logs" in text]
    assert len(notices) == 1 and words in notices[0]


def test_the_verdict_is_one_on_the_logged_curves(run: Run) -> None:
    assert run.timeline is not None and [phase.name for phase in run.timeline.phases] == ["fitting"]
    assert run.timeline.evidence["series"]["present"][:3] == ["train_loss", "heldout_loss", "heldout_accuracy"]


def test_phases_reads_the_run_as_the_monitor_did(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phases", str(run.path), "--json"]) == 0
    found = Timeline.from_dict(json.loads(capsys.readouterr().out))
    assert run.timeline is not None
    assert found.to_dict() == run.timeline.to_dict()
    assert main(["phases", str(run.path)]) == 0
    assert "val_loss → heldout_loss" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_is_analyzed_afterwards_is_judged_alike(tmp_path: Path) -> None:
    run = trained(tmp_path, InItsTraining(), max_steps=15)
    before = run.timeline
    for name in ("records.jsonl", "phases.json", "analysis.json"):
        (run.path / name).unlink()
    analyze_run(run.path, module=InItsTraining)
    after = open_run(run.path).timeline
    assert before is not None and after is not None
    assert "logged" in str(after.evidence["reason"])
    assert after.to_dict() == before.to_dict()


def test_loggers_and_the_health_log_have_them_once(run: Run) -> None:
    shown = [row["scalars"] for row in run.health if row["event"] == "snapshot"]
    assert {name for scalars in shown for name in scalars if "logged_" in name} == set()
    assert "logged/val_loss" in view_run(run.path).training


def test_the_figure_of_losses_draws_them_at_their_own_steps(run: Run) -> None:
    view = view_run(run.path)
    assert not [name for name in view.series if name.startswith("logged")]
    drawn = {trace.name: list(trace.customdata) for trace in losses_figure(view).data}
    assert drawn["held-out loss"] == logged_at(run, "heldout_loss")


def test_a_run_with_a_loss_on_the_probe_records_none_of_it(tmp_path: Path) -> None:
    run = trained(tmp_path, Classifier(), max_steps=6)
    assert "val_loss" in run.snapshot(6).scalars and run.records("heldout_loss")
    assert not [name for record in run.all_records for name in record.values if "logged" in name]
    assert run.timeline is not None and "source" not in run.timeline.evidence


def test_a_way_to_the_loss_that_breaks_on_another_batch_leaves_phases_to_what_is_logged(tmp_path: Path) -> None:
    fit(tmp_path, InterpMonitor(tmp_path / "run", every_n_steps=5, background="inline"), BreaksLater(), max_steps=20)
    run = open_run(tmp_path / "run")
    assert run.analysis["route"] == "training_step"
    assert not any("train_loss" in record.values for record in run.all_records)
    assert run.records("logged_train_loss_step")[1].tolist() == [5, 10, 15, 20]
    assert run.timeline.evidence["source"] == "logged"


def test_accuracies_alone_and_in_percent_are_shares(tmp_path: Path) -> None:
    run = trained(tmp_path, LogsAccuracyOnly(), max_steps=30)
    assert run.timeline is not None
    evidence = run.timeline.evidence
    assert evidence["series"]["present"][:2] == ["train_accuracy", "heldout_accuracy"]
    assert 0.3 < evidence["heldout_now"]["held-out accuracy"] <= 1
    assert "train accuracy `train_acc` (averages over an epoch)" in evidence["reason"]
    assert {step % EPOCH for step in logged_at(run, "train_accuracy")} == {0}


def test_a_loss_of_steps_and_epochs_is_told_apart(tmp_path: Path) -> None:
    run = trained(tmp_path, LogsBoth(), max_steps=12, every_n_steps=5)
    scalars = run.snapshot(10).scalars
    assert scalars["interp/logged_batch/loss_step"] == 10
    assert scalars["interp/logged_average/loss_epoch"] == 9
    assert scalars["interp/logged_batch/d_loss"] == 10


class SavesAtStep12(L.Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 12:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "at_12.ckpt")


def test_a_resumed_training_counts_no_value_twice(tmp_path: Path) -> None:
    loaders = DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)
    found = []
    for steps, checkpoint in ((14, None), (24, tmp_path / "at_12.ckpt")):
        monitor = InterpMonitor(background="inline", strict=True, report=False)
        trainer = quiet_trainer(tmp_path, [monitor, SavesAtStep12()], max_steps=steps)
        trainer.fit(InItsTraining(), *loaders, ckpt_path=checkpoint)
        found.append(monitor.run_dir)
    assert found[0] == found[1] and found[0] is not None
    run = open_run(found[0])
    for curve in ("train_loss", "heldout_loss"):
        steps_of_it = logged_at(run, curve)
        assert steps_of_it == sorted(set(steps_of_it)) and steps_of_it[-1] == 24
    assert run.timeline is not None and run.timeline.evidence["source"] == "logged"


class CountsAverages(Metric):
    """A mean that counts how often it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()))
        self.asked = 0

    def update(self, value: torch.Tensor) -> None:
        self.total = self.total + value

    def compute(self) -> torch.Tensor:
        self.asked += 1
        return self.total


class LogsMetrics(Classifier):
    """Logs a metric of its own in every way there is."""

    def __init__(self) -> None:
        super().__init__()
        self.of_steps, self.of_epochs, self.of_validations = CountsAverages(), CountsAverages(), CountsAverages()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        for metric in (self.of_steps, self.of_epochs):
            metric(loss.detach())
        self.log("loss", self.of_steps, on_step=True, on_epoch=True)
        self.log("train_loss", self.of_epochs, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.of_epochs.update(torch.ones(()))  # after the callbacks' turn: an average made before would lack it

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.of_validations(batch[0].mean())
        self.log("val_loss", self.of_validations)


def test_lightning_averages_what_and_as_often_as_without_the_monitor(tmp_path: Path) -> None:
    found = []
    for callbacks in ([InterpMonitor(tmp_path / "run", background="inline", strict=True, report=False)], []):
        torch.manual_seed(0)
        trainer, module = quiet_trainer(tmp_path, callbacks, max_steps=12), LogsMetrics()
        trainer.fit(module, DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20))
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if not name.startswith("interp/")}
        found.append((values, [metric.asked for metric in (module.of_steps, module.of_epochs, module.of_validations)]))
    assert found[0] == found[1] and min(found[0][1]) > 0


def watched_loop(root: Path, logged: Any, steps: int = 1000) -> Run:
    """A loop of one's own over weights that shrink, without data for a probe."""
    module = nn.Linear(4, 2)
    monitor = Monitor(root / "run", background="inline", strict=True, report=False)
    with monitor.watch(module, max_steps=steps):
        for step in range(1, steps + 1):
            with torch.no_grad():
                module.weight.mul_(0.999)
            monitor.step(**logged(step))
    return open_run(root / "run")


def late(step: int) -> dict[str, float]:
    """Fits by step 30, generalizes from step 600 on; validates every 50 steps."""
    validation = {} if step % 50 else {"val_loss": 0.01 if step >= 600 else 3.0, "val_acc": 1.0 if step >= 600 else 0.3}
    return {"train_loss": 1.1 * math.exp(-step / 6) + 1e-4, **validation}


def test_grokking_is_found_in_what_a_loop_of_ones_own_gives(tmp_path: Path) -> None:
    run = watched_loop(tmp_path, late)
    assert run.timeline is not None
    assert run.timeline.verdict == "grokking"
    assert run.timeline.evidence["t_gen"] == 600
    validations = logged_at(run, "heldout_loss")
    assert validations == sorted(set(validations)) and {step % 50 for step in validations} == {0}
    assert "`val_loss` (as given to Monitor.step)" in run.timeline.evidence["reason"]


def test_losses_alone_stay_under_their_cap_though_weights_are_known(tmp_path: Path) -> None:
    run = watched_loop(tmp_path, lambda step: {name: v for name, v in late(step).items() if name != "val_acc"}, steps=300)
    assert run.timeline is not None and run.timeline.phases
    assert max(phase.confidence for phase in run.timeline.phases) <= 0.6 == run.timeline.evidence["confidence_cap"]


def test_a_logged_loss_that_is_no_number_is_divergence(tmp_path: Path) -> None:
    run = watched_loop(tmp_path, lambda step: {"loss": math.nan if step > 60 else 1.0 / step}, steps=100)
    assert run.timeline is not None and run.timeline.verdict == "diverged"


def test_of_two_losses_the_first_is_followed_and_said(tmp_path: Path) -> None:
    run = watched_loop(tmp_path, lambda step: {"g_loss": 1.0 / step, "d_loss": 2.0}, steps=10)
    assert "`g_loss` is followed, the first logged; not `d_loss`" in run.analysis["notices"]
