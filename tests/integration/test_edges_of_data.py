# SPDX-License-Identifier: Apache-2.0
"""Data at its edges: none, empty, late, damaged, of unknown length. What can be watched is, and the rest is said."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from small_training import Classifier, Stream, data, fit
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_interp import InterpMonitor, Run, open_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:Total length of"),  # Lightning says all of these, too
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no"),
    pytest.mark.filterwarnings("ignore:.*limit_train_batches"),
]

INLINE: dict[str, Any] = {"every_n_steps": 2, "background": "inline", "report": False}
EMPTY = TensorDataset(torch.zeros(0, 10), torch.zeros(0).long())
LATE: dict[str, Any] = {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}


class Placed(Classifier):
    """Validates on several loaders."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)


class MakesLoaders(Classifier):
    """Makes its loaders in hooks."""

    def train_dataloader(self) -> Any:
        return loader(96)

    def val_dataloader(self) -> Any:
        return loader(40)


class Counted(Dataset[Any]):
    """Raises at its 250th call, whoever calls."""

    def __init__(self) -> None:
        self.data, self.calls = data(96), 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        self.calls += 1
        if self.calls == 250:
            raise OSError("as planned")
        return self.data[index]


class NoLength(Dataset[Any]):
    """Cannot say how long it is."""

    def __init__(self) -> None:
        self.data = data(96)

    def __len__(self) -> int:
        raise RuntimeError("not known yet")

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


def loader(examples: int, batch_size: int = 32) -> DataLoader[Any]:
    return DataLoader(data(examples), batch_size=batch_size)


def watched(root: Path, module: L.LightningModule | None = None, **arguments: Any) -> Run:
    """The run of a short training that is watched."""
    fit(root, InterpMonitor(root / "run", **INLINE), module, **{"max_steps": 6} | arguments)
    return open_run(root / "run")


def examples_of(run: Run) -> dict[str, int]:
    return dict(run.manifest.probe["examples"])


def weights(trainer: L.Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.lightning_module.state_dict().items()}


def test_an_empty_validation_loader_is_said_and_costs_no_measure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = watched(tmp_path, heldout=DataLoader(EMPTY, batch_size=4))
    assert "the validation data has no examples: phases end at memorization" in caplog.text
    assert "failed" not in caplog.text and "torch.cat" not in caplog.text
    assert run.records("train_loss")[0].tolist() == [0, 2, 4, 6] and "heldout_loss" not in run.series


@pytest.mark.parametrize("limit", [0, 0.0])
def test_validation_that_is_switched_off_is_called_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: float
) -> None:
    watched(tmp_path, limit_val_batches=limit)
    assert "limit_val_batches=0 leaves no validation data: phases end at memorization; raise it, or pass" in caplog.text
    assert "give the trainer a validation loader" not in caplog.text


def test_the_first_loader_with_examples_is_judged_and_only_what_is_followed_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = DataLoader(Stream(40), batch_size=20)
    heldout = {"none": DataLoader(EMPTY, batch_size=4), "a": loader(40), "b": loader(44), "c": stream}
    heldout |= {"empty": DataLoader(EMPTY, batch_size=4)}
    run = watched(tmp_path, Placed(), heldout=heldout)
    assert examples_of(run) == {"train": 96, "heldout": 40, "heldout/b": 44}
    assert run.probe is not None and run.probe.heldout is not None and run.probe.heldout.loader == 1
    assert "the first validation loader has no examples: a is judged in its place" in caplog.text
    assert "validation loader empty is not followed: it has no examples" in caplog.text
    assert "validation loaders beside the first: a, b\n" in caplog.text


def test_loaders_that_were_passed_are_read_before_a_late_validation(tmp_path: Path) -> None:
    run = watched(tmp_path, **LATE)  # ends within the second epoch
    assert examples_of(run) == {"train": 96, "heldout": 40}
    assert run.records("heldout_loss")[0].tolist() == [0, 2, 4, 6]


def test_loaders_of_a_hook_are_taken_at_the_first_validation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit_own(tmp_path, max_epochs=2, max_steps=-1)
    run = open_run(tmp_path / "run")
    assert "held-out examples are those of the first validation, and records wait for it" in caplog.text
    assert examples_of(run) == {"train": 96, "heldout": 40} and run.probe is not None
    assert len(run.probe.train.indices) == 96 and run.records("heldout_loss")[0].tolist() == [0, 2, 4, 6]


def test_a_validation_that_never_comes_is_said_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit_own(tmp_path, max_steps=4)
    run = open_run(tmp_path / "run")
    assert "no validation came: without held-out examples phases end at memorization" in caplog.text
    assert examples_of(run)["train"] == 96 and run.records("train_loss")[0].tolist() == [0, 2, 4]


def fit_own(root: Path, **arguments: Any) -> None:
    """Train with loaders of the module's own."""
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    monitor = InterpMonitor(root / "run", **INLINE)
    L.Trainer(default_root_dir=root, callbacks=[monitor], accelerator="cpu", **options, **LATE, **arguments).fit(
        MakesLoaders()
    )


def test_a_stream_waits_for_a_validation_that_is_late(tmp_path: Path) -> None:
    streams = {"train": DataLoader(Stream(), batch_size=32), "heldout": DataLoader(Stream(40), batch_size=20)}
    run = watched(tmp_path, **streams, **LATE, max_epochs=2, max_steps=-1)
    assert examples_of(run) == {"train": 96, "heldout": 40}
    assert run.records("heldout_loss")[0].tolist() == [0, 2, 4, 6]


def test_a_stream_of_some_epochs_has_no_known_length(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched(tmp_path, train=DataLoader(Stream(), batch_size=32), max_epochs=2, max_steps=-1)
    assert "at most" not in caplog.text


def test_loaders_of_a_module_without_validation_step_are_held_out(tmp_path: Path) -> None:
    class Trains(L.LightningModule):
        training_step, configure_optimizers = Classifier.training_step, Classifier.configure_optimizers
        forward, lr = Classifier.forward, 1e-2

        def __init__(self) -> None:
            super().__init__()
            self.net = Classifier().net

    run = watched(tmp_path, Trains())
    assert run.records("heldout_loss")[0].tolist() == [0, 2, 4, 6]


def test_an_error_of_the_data_comes_at_the_step_at_which_it_comes_without_us(tmp_path: Path) -> None:
    found = []
    for monitored in (True, False):
        monitor = InterpMonitor(tmp_path / f"{monitored}", every_n_steps=2, background="inline", report=False)
        torch.manual_seed(0)
        trainer = L.Trainer(
            default_root_dir=tmp_path,
            callbacks=[monitor] if monitored else [],
            max_steps=20,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with pytest.raises(OSError, match="as planned"):
            trainer.fit(Classifier(), DataLoader(Counted(), batch_size=32, shuffle=True), loader(40))
        found.append((trainer.global_step, weights(trainer)))
    (step, ours), (plain_step, plain) = found
    assert step == plain_step > 0
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


def test_a_data_set_that_does_not_know_its_length_is_watched_as_it_passes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = watched(tmp_path, train=DataLoader(NoLength(), batch_size=32, sampler=list(range(96))))
    assert "the probe is made of the first batches that pass" in caplog.text
    assert run.records("train_loss")[0].tolist() == [0, 2, 4, 6]


def test_a_trainer_that_cannot_tell_its_length_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> float:
        raise RuntimeError("cannot be told")

    monkeypatch.setattr(L.Trainer, "estimated_stepping_batches", property(refuse))
    assert watched(tmp_path).records("train_loss")[0].tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"max_steps": 0}, "max_steps=0"),
        ({"max_steps": -1, "max_epochs": 0}, "max_epochs=0"),
        ({"limit_train_batches": 0}, "limit_train_batches=0"),
        ({"train": DataLoader(EMPTY, batch_size=4)}, "the training loader has no batches"),
    ],
)
def test_a_training_without_a_step_is_no_run_and_is_called_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any], why: str
) -> None:
    fit(tmp_path, InterpMonitor(tmp_path / "run", **INLINE), **{"max_steps": 6} | arguments)
    assert f"nothing was trained ({why}): there is no run to watch" in caplog.text
    assert not (tmp_path / "run").exists()


def test_a_start_that_fails_leaves_no_run_that_seems_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("as planned")

    monkeypatch.setattr("lightning_interp.monitor.run_monitor.ProbeCollection.prepare", broken)
    assert watched(tmp_path).manifest.status == "failed"
