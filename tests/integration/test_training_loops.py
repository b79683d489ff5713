# SPDX-License-Identifier: Apache-2.0
"""The callback in the ways people train: accumulation, several optimizers, streams, resume, switches."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from noisy_training import quiet_trainer
from prompt_delivery import deliver_at_every_step
from small_training import Classifier, Stream, data, fit
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from waiting import until_closed

from lightning_interp import InterpMonitor, Run, open_run
from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.dashboards.loggers.result_tailer import ResultTailer


def run_of(monitor: InterpMonitor) -> Run:
    assert monitor.run_dir is not None
    return open_run(monitor.run_dir)


class TwoOptimizers(Classifier):
    """Steps one of two optimizers by hand, both on odd batches."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for number, optimizer in enumerate(self.optimizers()):
            if number == 0 or batch_idx % 2:
                optimizer.zero_grad()
                self.manual_backward(cross_entropy(self(batch[0]), batch[1]))
                optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.net[i].parameters(), 1e-2) for i in (0, 2)]


def test_default_run_has_first_and_last_step(default_run: Path) -> None:
    steps = open_run(default_run).steps
    assert steps[:5] == [0, 1, 2, 5, 10] and steps[-1] == 60
    assert default_run.parent.name == "interp_runs"


def test_every_snapshot_of_a_default_run_has_a_record_with_its_losses(default_run: Path) -> None:
    run = open_run(default_run)
    assert [record.step for record in run.all_records] == run.steps
    assert all({"train_loss", "heldout_loss", "heldout_accuracy"} <= set(record.values) for record in run.all_records)
    assert run.analysis["stage"] == "finished"


def test_accumulation_takes_one_snapshot_a_step(tmp_path: Path) -> None:
    monitor = InterpMonitor(every_n_steps=1, background="inline")
    fit(tmp_path, monitor, max_steps=7, accumulate_grad_batches=4)
    assert run_of(monitor).steps == list(range(8))


def test_several_optimizers_take_a_snapshot_where_a_scheduled_step_was_passed(tmp_path: Path) -> None:
    monitor = InterpMonitor(every_n_steps=2, background="inline")
    fit(tmp_path, monitor, TwoOptimizers(), max_steps=12)
    # Optimizer steps advance by 1, 2, 0-then-1...: 1, 3, 4 for each epoch of three batches; 2 is passed at 3, and so on.
    assert run_of(monitor).steps == [0, 3, 4, 7, 8, 11, 12]


def test_streams_give_a_probe_of_the_first_batches(tmp_path: Path) -> None:
    """Sent to the analyzer process while it works."""
    monitor = InterpMonitor()
    loaders = {"train": DataLoader(Stream(), batch_size=32), "heldout": DataLoader(Stream(40), batch_size=20)}
    fit(tmp_path, monitor, max_steps=30, **loaders)
    assert run_of(monitor).manifest.probe["examples"] == {"train": 96, "heldout": 40}
    assert {"train_loss", "heldout_loss"} <= set(run_of(monitor).series)


def test_streams_take_heldout_batches_beyond_the_sanity_check(tmp_path: Path) -> None:
    monitor = InterpMonitor(background="inline")
    loaders = {"train": DataLoader(Stream(), batch_size=32), "heldout": DataLoader(Stream(70), batch_size=20)}
    fit(tmp_path, monitor, max_steps=30, **loaders)
    run = run_of(monitor)
    assert run.manifest.probe["examples"] == {"train": 96, "heldout": 70}
    # The sanity check showed the first 40 already; each example is there once.
    assert run.probe is not None and run.probe.heldout is not None
    assert torch.equal(torch.cat([x for x, _ in run.probe.heldout.batches]), data(70).tensors[0])


def test_streams_use_the_sanity_batches_where_no_validation_came(tmp_path: Path) -> None:
    monitor = InterpMonitor(background="inline")
    loaders = {"train": DataLoader(Stream(), batch_size=32), "heldout": DataLoader(Stream(70), batch_size=20)}
    fit(tmp_path, monitor, max_steps=2, **loaders)
    assert run_of(monitor).manifest.probe["examples"] == {"train": 64, "heldout": 40}


@pytest.mark.parametrize("background", ["process", "thread"])
def test_backgrounds_give_the_losses_of_inline_work(tmp_path: Path, default_run: Path, background: str) -> None:
    watched, expected = InterpMonitor(background="thread"), InterpMonitor(background="inline")
    if background == "thread":
        fit(tmp_path / "watched", watched)
    fit(tmp_path / "expected", expected)
    run = open_run(default_run) if background == "process" else run_of(watched)
    # Same seed, no dropout: the weights are those of any other background, so the losses are, too. One thread against
    # two may sum in another order: float32 sums of 16 terms, losses of about 1.
    (steps, ours), (expected_steps, theirs) = run.records("heldout_loss"), run_of(expected).records("heldout_loss")
    assert steps.tolist() == expected_steps.tolist()
    assert abs(ours - theirs).max() < 1e-6


def test_save_probe_false_keeps_the_probe_out_of_the_directory(tmp_path: Path) -> None:
    """The analyzer process is sent it."""
    monitor = InterpMonitor(save_probe=False)
    fit(tmp_path, monitor, max_steps=2)
    assert not (run_of(monitor).path / "probe.safetensors").exists()
    assert "heldout_loss" in run_of(monitor).series


def test_probe_of_an_earlier_run_can_be_used_again(tmp_path: Path) -> None:
    first = InterpMonitor(tmp_path / "a", background="inline")
    second = InterpMonitor(tmp_path / "b", probe=str(tmp_path / "a"), background="inline")
    fit(tmp_path, first, max_steps=5)
    fit(tmp_path, second, max_steps=5, train=DataLoader(data(50), batch_size=10))
    assert run_of(first).manifest.probe["hash"] == run_of(second).manifest.probe["hash"]


def test_fast_dev_run_and_switch_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = InterpMonitor(tmp_path / "run")
    fit(tmp_path, monitor, max_steps=-1, fast_dev_run=True)
    monkeypatch.setenv("LIGHTNING_INTERP", "0")
    fit(tmp_path, monitor, max_steps=5)
    assert not (tmp_path / "run").exists()
    assert monitor.run_dir is None and monitor.timeline is None


def test_validate_and_predict_write_nothing(tmp_path: Path) -> None:
    trainer = L.Trainer(callbacks=[InterpMonitor(tmp_path / "run")], logger=False, enable_progress_bar=False)
    trainer.validate(Classifier(), DataLoader(data(40), batch_size=20), verbose=False)
    trainer.predict(Classifier(), DataLoader(data(40).tensors[0], batch_size=20))
    assert not (tmp_path / "run").exists()


def test_crash_in_training_is_recorded_and_passed_on(tmp_path: Path) -> None:
    class Crashes(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.global_step == 12:
                raise RuntimeError("as planned")
            return super().training_step(batch, batch_idx)

    monitor = InterpMonitor(every_n_steps=5, background="inline")
    with pytest.raises(RuntimeError, match="as planned"):
        fit(tmp_path, monitor, Crashes())
    until_closed(run_of(monitor).path)
    assert run_of(monitor).manifest.status == "failed"
    assert [record.step for record in run_of(monitor).all_records] == [0, 5, 10]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended")
def test_resumed_training_continues_its_directory(tmp_path: Path) -> None:
    checkpoints = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=10, save_top_k=-1)
    first = InterpMonitor(every_n_steps=4, background="inline")
    trainer = L.Trainer(
        callbacks=[first, checkpoints],
        max_steps=20,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    loaders = DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)
    trainer.fit(Classifier(), *loaders)
    second = InterpMonitor(every_n_steps=4, background="inline")
    again = L.Trainer(
        callbacks=[second, ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=10, save_top_k=-1)],
        max_steps=30,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    (checkpoint,) = (tmp_path / "ckpt").glob("*step=10.ckpt")
    again.fit(Classifier(), *loaders, ckpt_path=checkpoint)
    run = run_of(second)
    assert second.run_dir == first.run_dir
    assert [attempt.resumed_at for attempt in run.manifest.attempts] == [None, 10]
    assert run.steps == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert [(r.step, r.attempt) for r in run.all_records] == [(s, 0 if s <= 10 else 1) for s in run.steps]
    assert {"attempt": 1, "resumed_at": 10}.items() <= next(r for r in run.health if r["event"] == "resumed").items()


def test_strict_stops_the_training_when_the_analysis_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_interp.core.errors import InterpError

    def broken(self: Any, step: int) -> None:
        raise RuntimeError("as planned")

    monkeypatch.setattr(Analyzer, "observe", broken)
    with pytest.raises(InterpError, match="strict: the inline analysis ended with RuntimeError: as planned"):
        fit(tmp_path, InterpMonitor(background="inline", strict=True), max_steps=20)


def test_failing_hook_costs_the_monitor_and_not_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("as planned")

    monkeypatch.setattr("lightning_interp.monitor.run_monitor.take_snapshot", broken)
    monitor = InterpMonitor()
    assert fit(tmp_path, monitor, max_steps=20).global_step == 20
    assert run_of(monitor).steps == []


def test_second_fit_of_a_new_trainer_gets_a_directory_of_its_own(tmp_path: Path) -> None:
    monitor = InterpMonitor(every_n_steps=5, background="inline")
    fit(tmp_path, monitor, max_steps=10)
    first = run_of(monitor)
    fit(tmp_path, monitor, max_steps=10)
    assert monitor.run_dir != first.path
    assert first.steps == run_of(monitor).steps == [0, 5, 10]


def test_fit_that_goes_on_continues_its_directory(tmp_path: Path) -> None:
    """Also when there is a validation between the two."""
    monitor = InterpMonitor(every_n_steps=5, background="inline")
    trainer, heldout = fit(tmp_path, monitor, max_steps=10), DataLoader(data(40), batch_size=20)
    trainer.validate(trainer.lightning_module, heldout, verbose=False)
    trainer.fit_loop.epoch_loop.max_steps = 20
    trainer.fit(trainer.lightning_module, DataLoader(data(), batch_size=32), heldout)
    assert run_of(monitor).steps == [0, 5, 10, 15, 20]
    assert [attempt.resumed_at for attempt in run_of(monitor).manifest.attempts] == [None, 10]


def test_module_built_in_configure_model_is_watched(tmp_path: Path) -> None:
    class BuiltLater(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net = None  # type: ignore[assignment]

        def configure_model(self) -> None:
            if self.net is None:
                self.net = Classifier().net

    monitor = InterpMonitor(layers="net.1", background="inline")
    fit(tmp_path, monitor, BuiltLater(), max_steps=10)
    assert run_of(monitor).manifest.parameters == ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias")


def test_failing_logger_costs_rows_in_that_logger_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Fails(CSVLogger):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            if any(name.startswith("interp/") for name in metrics):
                raise OSError("as planned")

    monitor = InterpMonitor(every_n_steps=5, background="inline")
    working = CSVLogger(tmp_path / "works")
    fit(tmp_path, monitor, max_steps=20, logger=[Fails(tmp_path / "fails"), working])
    assert caplog.text.count("Fails did not take a result (OSError: as planned)") == 1
    assert run_of(monitor).manifest.status == "finished"
    assert steps_in(Path(working.log_dir) / "metrics.csv") == [0, 5, 10, 15, 20]


def steps_in(path: Path) -> list[int]:
    """Steps of our rows in a CSVLogger's file."""
    with path.open() as handle:
        return sorted(int(float(row["interp/step"])) for row in csv.DictReader(handle) if row["interp/step"])


def test_tensor_left_by_validation_does_not_keep_the_monitor_from_starting(tmp_path: Path) -> None:
    class KeepsLoss(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.last = cross_entropy(self(batch[0]), batch[1])

    module = KeepsLoss()
    L.Trainer(logger=False, enable_progress_bar=False).validate(module, DataLoader(data(40), batch_size=20), verbose=False)
    monitor = InterpMonitor(background="inline")
    fit(tmp_path, monitor, module, max_steps=10)
    assert run_of(monitor).steps == [0, 1, 2, 5, 10]


@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_resume_delivers_rows_that_were_committed_and_never_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint knows of no row that was logged; the second start logs them all."""
    monkeypatch.setattr(ResultTailer, "_follow", lambda _: None)  # no row comes before the end, however slow the training is
    checkpoints = {"dirpath": tmp_path / "ckpt", "every_n_train_steps": 10, "save_top_k": -1}
    shared: dict[str, Any] = {"logger": CSVLogger(tmp_path / "first"), "enable_checkpointing": True}
    first = InterpMonitor(every_n_steps=5, background="inline")
    torch.manual_seed(0)
    trainer = quiet_trainer(tmp_path, [first, ModelCheckpoint(**checkpoints)], max_steps=20, **shared)
    loaders = DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)
    trainer.fit(Classifier(), *loaders)
    (checkpoint,) = (tmp_path / "ckpt").glob("*step=10.ckpt")
    assert torch.load(checkpoint)["callbacks"]["InterpMonitor"]["delivered_step"] == -1, "nothing was delivered yet then"
    second, logger = InterpMonitor(every_n_steps=5, background="inline"), CSVLogger(tmp_path / "second")
    again = quiet_trainer(
        tmp_path, [second, ModelCheckpoint(**checkpoints)], max_steps=30, logger=logger, enable_checkpointing=True
    )
    again.fit(Classifier(), *loaders, ckpt_path=checkpoint)
    assert steps_in(Path(logger.log_dir) / "metrics.csv") == [0, 5, 10, 15, 20, 25, 30]


@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_resume_announces_no_phase_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=40, save_top_k=-1)
    first = InterpMonitor(background="inline", every_n_steps=2)
    trainer = quiet_trainer(tmp_path, [first, checkpoints], max_steps=60, enable_checkpointing=True)
    loaders = DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        deliver_at_every_step(patch)
        trainer.fit(Classifier(), *loaders)
    told = caplog.text.count("Phase fitting began")
    (checkpoint,) = (tmp_path / "ckpt").glob("*step=40.ckpt")
    assert torch.load(checkpoint)["callbacks"]["InterpMonitor"]["announced"] != []
    second = InterpMonitor(background="inline", every_n_steps=2)
    again = quiet_trainer(
        tmp_path,
        [second, ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=40, save_top_k=-1)],
        max_steps=70,
        enable_checkpointing=True,
    )
    again.fit(Classifier(), *loaders, ckpt_path=checkpoint)
    assert told == caplog.text.count("Phase fitting began") == 1
