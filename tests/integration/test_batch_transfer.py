# SPDX-License-Identifier: Apache-2.0
"""Batch transfer hooks: the probe holds what the steps get, and the training's own objects stay as they are."""

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from small_training import Classifier, data, fit
from torch.utils.data import DataLoader, SubsetRandomSampler

from lightning_interp import InterpMonitor, Probe, open_run


def probe_of(tmp_path: Path, module: L.LightningModule) -> Probe:
    monitor = InterpMonitor(background="inline", strict=True)
    fit(tmp_path, monitor, module, max_steps=2)
    return read(monitor)


def read(monitor: InterpMonitor) -> Probe:
    assert monitor.run_dir is not None
    probe = open_run(monitor.run_dir).probe
    assert probe is not None and probe.heldout is not None
    return probe


def shift(probe: Probe) -> tuple[float, float]:
    """What hooks added to the examples of each split."""
    x, original = probe.train.batches[0][0], data().tensors[0]
    assert probe.heldout is not None
    held, held_original = probe.heldout.batches[0][0], data(40).tensors[0]
    return (x - original[: len(x)]).mean().item(), (held - held_original[: len(held)]).mean().item()


class Shifts(Classifier):
    """Adds 1 before and 10 after, in training only, counts its calls, and keeps its last loss with its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.last = (self.net[0].weight * 2).sum()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 1.0, batch[1]]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.calls += 1
        return [batch[0] + 10.0, batch[1]] if self.trainer.training else batch


class ShiftsByHundred(L.LightningDataModule):
    """Overrides one of the two hooks; Lightning takes the other from the module."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        torch.rand(1, generator=self.generator)
        return [batch[0] + 100.0, batch[1]]

    def train_dataloader(self) -> Any:
        return DataLoader(data(), batch_size=32)

    def val_dataloader(self) -> Any:
        return DataLoader(data(40), batch_size=20)


def train_with_datamodule(tmp_path: Path, callbacks: list[Any]) -> ShiftsByHundred:
    datamodule = ShiftsByHundred()
    trainer = L.Trainer(
        callbacks=callbacks,
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
    )
    trainer.fit(Shifts(), datamodule=datamodule)
    return datamodule


# float32 sums of numbers of order 100: 1e-4 is ten times their rounding.
def test_hooks_that_augment_training_leave_heldout_batches_alone(tmp_path: Path) -> None:
    assert shift(probe_of(tmp_path, Shifts())) == pytest.approx((11.0, 1.0), abs=1e-4)


def test_hooks_run_on_a_copy_of_the_module(tmp_path: Path) -> None:
    module, alone = Shifts(), Shifts()
    fit(tmp_path, InterpMonitor(background="inline", strict=True), module, max_steps=2)
    fit(tmp_path, L.Callback(), alone, max_steps=2)  # type: ignore[arg-type]
    assert module.calls == alone.calls


@pytest.fixture(scope="module")
def with_datamodule(tmp_path_factory: pytest.TempPathFactory) -> tuple[Probe, ShiftsByHundred]:
    """The probe of a training whose data module has one of the hooks, and that data module."""
    monitor = InterpMonitor(background="inline", strict=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You have overridden")
        datamodule = train_with_datamodule(tmp_path_factory.mktemp("datamodule"), [monitor])
    return read(monitor), datamodule


def test_each_hook_has_one_owner_as_in_lightning(with_datamodule: tuple[Probe, ShiftsByHundred]) -> None:
    assert shift(with_datamodule[0]) == pytest.approx((110.0, 100.0), abs=1e-4)


@pytest.mark.filterwarnings("ignore:You have overridden")
def test_hooks_advance_no_generator_of_the_data_module(
    tmp_path: Path, with_datamodule: tuple[Probe, ShiftsByHundred]
) -> None:
    alone = train_with_datamodule(tmp_path, [])
    assert torch.equal(with_datamodule[1].generator.get_state(), alone.generator.get_state())


def test_hooks_that_fail_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Uncopyable(Shifts):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("as planned")

    assert shift(probe_of(tmp_path, Uncopyable())) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert "hooks cannot be applied (RuntimeError: as planned); the probe holds batches as" in caplog.text


def test_overlap_of_training_and_heldout_examples_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = data()
    loaders = [DataLoader(dataset, batch_size=8, sampler=SubsetRandomSampler(range(*ends))) for ends in ((0, 60), (50, 96))]
    fit(tmp_path, InterpMonitor(background="inline", strict=True), max_steps=2, train=loaders[0], heldout=loaders[1])
    assert "10 of 46 held-out examples of the probe are also drawn in training" in caplog.text


class ShiftsInPlace(Classifier):
    """Its hook writes into the batch it is given."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        batch[0].add_(1.0)
        return batch


def test_a_hook_that_writes_into_its_batch_does_not_reach_the_data_set(tmp_path: Path) -> None:
    items = [tuple(part[start : start + 32].clone() for part in data().tensors) for start in (0, 32, 64)]
    loader: Any = DataLoader(items, batch_size=None)  # type: ignore[arg-type]
    monitor = InterpMonitor(background="inline", strict=True)
    fit(tmp_path, monitor, ShiftsInPlace(), train=loader, max_steps=2)
    assert torch.equal(items[2][0], data().tensors[0][64:])  # the two steps did not come so far
    assert monitor.run_dir is not None
    probe = open_run(monitor.run_dir).probe
    assert probe is not None
    assert torch.equal(probe.train.batches[2][0], items[2][0] + 1.0)
