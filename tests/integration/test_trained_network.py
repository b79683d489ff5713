# SPDX-License-Identifier: Apache-2.0
"""Snapshots hold the network in training: not averages, not merged weights, not what was there before the module's hooks."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, StochasticWeightAveraging
from noisy_training import quiet_trainer
from small_training import Classifier, data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from waiting import until_closed

from lightning_interp import InterpMonitor, Run, open_run
from lightning_interp.store.health_log import events

EPOCH = 3
"""Optimizer steps in an epoch."""

State = dict[str, Tensor]


def state_of(module: nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Recorded(Classifier):
    """Notes its own weights before the first step and after each, without any callback; with BatchNorm where asked."""

    def __init__(self, *, norm: bool = False) -> None:
        super().__init__()
        self.trained: dict[int, State] = {}
        if norm:
            self.net.insert(1, nn.BatchNorm1d(16))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if not self.trained:
            self.trained[0] = state_of(self)
        return super().training_step(batch, batch_idx)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.trained[self.global_step + 1] = state_of(self)


class Halves(L.Callback):
    """Puts other weights in the place of the trained ones, and gives them back; `halving` says in which hooks."""

    kept: State | None = None

    def put(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.kept = state_of(pl_module)
        for parameter in pl_module.parameters():
            parameter.data.mul_(0.5)

    def back(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if self.kept is not None:
            for name, parameter in pl_module.named_parameters():
                parameter.data.copy_(self.kept[name])


def halving(put: str, back: str | None = None) -> Halves:
    hooks = {put: Halves.put} | ({} if back is None else {back: Halves.back})
    return type("Halving", (Halves,), hooks)()  # type: ignore[no-any-return]


class StopsAfter(L.Callback):
    """Tells the training to stop, at the end of a batch."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.step


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)


def train(root: Path, module: L.LightningModule, callbacks: list[Any], **arguments: Any) -> L.Trainer:
    torch.manual_seed(0)
    trainer = quiet_trainer(root, callbacks, **{"max_epochs": 4} | arguments)
    trainer.fit(module, *loaders())
    return trainer


def monitor_in(root: Path, **options: Any) -> InterpMonitor:
    return InterpMonitor(root / "run", every_n_steps=5, background="inline", report=False, strict=True, **options)


def assert_trained(run: Run, module: Recorded) -> None:
    """Every snapshot is, bit for bit, what the module itself noted at its step."""
    for step in run.steps:
        weights: Mapping[str, Tensor] = run.snapshot(step).weights
        differing = [name for name, value in module.trained[step].items() if not torch.equal(weights[name], value)]
        assert not differing, f"step {step}: {differing}"


OTHERS: dict[str, Callable[[], Any]] = {
    "EMA": lambda: EMAWeightAveraging(decay=0.9),
    "SWA": lambda: StochasticWeightAveraging(1e-2, swa_epoch_start=2),
    "merged at the end": lambda: halving("on_train_end"),
    "merged after each epoch": lambda: halving("on_train_epoch_end", "on_train_epoch_start"),
    "in validation": lambda: halving("on_validation_start", "on_validation_end"),
    "in validation, given back late": lambda: halving("on_validation_start", "on_train_epoch_start"),
}


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "after"])
@pytest.mark.parametrize("other", OTHERS)
def test_every_snapshot_is_of_the_trained_weights(tmp_path: Path, other: str, is_first: bool) -> None:
    module, monitor = Recorded(), monitor_in(tmp_path)
    callbacks = [OTHERS[other](), monitor]
    train(tmp_path, module, callbacks if is_first else callbacks[::-1])
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 5, 10, 4 * EPOCH]
    assert_trained(run, module)


@pytest.mark.parametrize(
    ("stop", "last"),
    [({"max_steps": 8}, 8), ({"limit_train_batches": 2}, 8), ({"accumulate_grad_batches": 2}, 8), ({"min_epochs": 3}, 12)],
    ids=["max_steps", "part of the data", "accumulation", "no stop in the way"],
)
def test_the_last_step_is_told_however_it_comes(tmp_path: Path, stop: dict[str, Any], last: int) -> None:
    module = Recorded()
    train(tmp_path, module, [EMAWeightAveraging(decay=0.9), monitor_in(tmp_path)], **stop)
    run = open_run(tmp_path / "run")
    assert run.steps[-1] == last
    assert_trained(run, module)


def test_what_passes_once_more_for_batch_norm_is_no_step_of_the_training(tmp_path: Path) -> None:
    """SWA adds an epoch in which averaged weights see the data; Lightning counts a step in it."""
    module = Recorded(norm=True)
    monitor = InterpMonitor(tmp_path / "run", every_n_steps=1, background="inline", report=False, strict=True)
    trainer = train(tmp_path, module, [StochasticWeightAveraging(1e-2, swa_epoch_start=2), monitor])
    run = open_run(tmp_path / "run")
    assert trainer.global_step == 4 * EPOCH + 1
    assert run.steps == list(range(4 * EPOCH + 1))
    assert_trained(run, module)


@pytest.mark.parametrize("other", ["EMA", "merged after each epoch"])
@pytest.mark.parametrize("stopper_is_first", [True, False], ids=["told before", "told after"])
def test_a_stop_within_an_epoch_leaves_the_trained_weights(tmp_path: Path, other: str, stopper_is_first: bool) -> None:
    module, stopper = Recorded(), StopsAfter(7)
    rest = [OTHERS[other](), monitor_in(tmp_path)]
    train(tmp_path, module, [stopper, *rest] if stopper_is_first else [*rest, stopper])
    run = open_run(tmp_path / "run")
    assert run.steps == ([0, 5, 7] if stopper_is_first or other == "EMA" else [0, 5])
    assert_trained(run, module)


def stops_early(*, on_train_epoch_end: bool, patience: int = 1) -> EarlyStopping:
    """Stops so many epochs after the first."""
    return EarlyStopping("val_loss", patience=patience, min_delta=1e3, check_on_train_epoch_end=on_train_epoch_end)


def test_a_stop_told_in_validation_leaves_the_trained_weights(tmp_path: Path) -> None:
    module = Recorded()
    early = stops_early(on_train_epoch_end=False)
    train(tmp_path, module, [early, EMAWeightAveraging(decay=0.9), monitor_in(tmp_path)])
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 5, 2 * EPOCH]
    assert_trained(run, module)


def test_a_stop_that_is_told_when_nothing_else_is_left_costs_nothing_but_is_not_taken_from_averages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, others in (("alone", []), ("averaged", [EMAWeightAveraging(decay=0.9)])):
        module, root = Recorded(), tmp_path / name
        with caplog.at_level(logging.INFO, logger="lightning_interp"):
            train(root, module, [*others, monitor_in(root), stops_early(on_train_epoch_end=True)])
        run = open_run(root / "run")
        assert_trained(run, module)
        assert run.steps == ([0, 5] if others else [0, 5, 2 * EPOCH])
    assert [row["step"] for row in events(run.health, "dropped")] == [2 * EPOCH]
    assert caplog.text.count("the last snapshot is that of step 5: after the last step, 6, other weights") == 1


def test_a_stop_that_is_taken_back_leaves_no_snapshot_of_its_own(tmp_path: Path) -> None:
    class GoesOn(StopsAfter):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.should_stop:
                trainer.should_stop, self.step = False, 99

    module = Recorded()
    monitor = InterpMonitor(tmp_path / "run", every_n_steps=100, background="inline", report=False, strict=True)
    callbacks = [GoesOn(4), monitor, stops_early(on_train_epoch_end=True, patience=2)]
    train(tmp_path, module, callbacks)
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 7]
    assert_trained(run, module)


def test_the_last_snapshot_waits_for_the_outcome_and_not_for_its_weights(tmp_path: Path) -> None:
    class Scored(Recorded):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("val/f1", 0.01 * self.global_step)

    module = Scored()
    train(tmp_path, module, [EMAWeightAveraging(decay=0.9), monitor_in(tmp_path, outcome="val/f1")], max_steps=10)
    run = open_run(tmp_path / "run")
    assert_trained(run, module)
    last = run.all_records[-1]
    assert (last.step, last.values["outcome"], last.values["outcome_step"]) == (10, pytest.approx(0.09), 9)


def test_the_last_step_has_a_snapshot_if_the_validation_after_it_breaks_off(tmp_path: Path) -> None:
    class BreaksOff(Recorded):
        def on_validation_start(self) -> None:
            if self.global_step == EPOCH:
                raise RuntimeError("in validation")

    module = BreaksOff()
    with pytest.raises(RuntimeError, match="in validation"):
        train(tmp_path, module, [EMAWeightAveraging(decay=0.9), monitor_in(tmp_path)], max_epochs=1)
    until_closed(tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.steps == [0, EPOCH]
    assert_trained(run, module)


class LoadsLate(Recorded):
    """Its weights come, and what its forward needs is set, in its own `on_train_start`."""

    def on_train_start(self) -> None:
        self.sharpness = 2.0
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(3.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * getattr(self, "sharpness", 1.0)


class LoadsLateToo(L.Callback):
    """The same in a callback that comes after the monitor."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.net[0].bias.fill_(0.25)


def test_the_first_snapshot_is_what_the_first_step_finds(tmp_path: Path) -> None:
    module = LoadsLate()
    train(tmp_path, module, [monitor_in(tmp_path), LoadsLateToo()])
    run = open_run(tmp_path / "run")
    assert_trained(run, module)
    inputs, targets = next(iter(DataLoader(data(40), batch_size=40)))
    weights = {name: value.clone() for name, value in module.trained[0].items()}
    by_hand = cross_entropy(torch.func.functional_call(module, weights, (inputs,)).double(), targets).item()
    assert run.records("heldout_loss")[1][0] == pytest.approx(by_hand, rel=1e-6)  # float32 logits


@pytest.mark.parametrize("other", ["EMA", "SWA", "merged after each epoch"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "after"])
def test_training_under_other_callbacks_is_bitwise_untouched(tmp_path: Path, other: str, is_first: bool) -> None:
    """The module's weights at every step and at the end, and the optimizer's; draws are compared in `test_neutrality`."""
    found = []
    for watched in (True, False):
        torch.manual_seed(0)
        module, callbacks = LoadsLate(norm=True), [OTHERS[other]()]
        root = tmp_path / str(watched)
        if watched:
            callbacks.insert(len(callbacks) if is_first else 0, monitor_in(root))
        trainer = train(root, module, callbacks)
        moments = [value for entry in trainer.optimizers[0].state.values() for value in entry.values()]
        found.append((module.trained, state_of(module), moments))
    (steps, end, moments), (plain_steps, plain_end, plain_moments) = found
    assert steps.keys() == plain_steps.keys()
    pairs = [(end, plain_end), *((steps[step], plain_steps[step]) for step in steps)]
    assert all(torch.equal(mine[name], plain[name]) for mine, plain in pairs for name in mine)
    assert all(torch.equal(mine, plain) for mine, plain in zip(moments, plain_moments, strict=True))
