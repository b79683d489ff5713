# SPDX-License-Identifier: Apache-2.0
"""`InterpMonitor()` and nothing else on modules as others write them: which loss is found, and when that is said."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from small_training import Classifier, data, fit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, softplus
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor, Run, open_run
from lightning_interp.store.analysis_state import read_state


class Alone(Classifier):
    """Trains without a validation, on batches of x alone, towards weights that follow its own: a momentum method."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(10, 3).requires_grad_(False)
        self.validation_step = None  # type: ignore[assignment]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (x,) = batch
        with torch.no_grad():
            self.teacher.weight.mul_(0.9).add_(0.1 * self.net[0].weight[:3])
        loss = mse_loss(self.net(x), self.teacher(x))
        self.log("train_loss_ssl", loss)
        return loss


class Adversaries(Alone):
    """Two optimizers, driven by the step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.judge = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        for optimizer, name, sign in zip(self.optimizers(), ("g_loss", "d_loss"), (1, -1), strict=True):  # type: ignore[arg-type]
            self.toggle_optimizer(optimizer)
            loss = softplus(sign * self.judge(self.net(batch[0]))).mean()
            self.log(name, loss)
            self.manual_backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), 0.05) for part in (self.net, self.judge)]


class ReadsItsState(Classifier):
    """Chooses the name of its loss by the stage it is in, as forecasting libraries do; its batch cannot be guessed."""

    def step(self, batch: Any) -> Tensor:
        loss = cross_entropy(self.net(batch["x"]["numbers"]), batch["y"])
        self.log(f"{self.trainer.state.stage.value}_loss", loss)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch)


class AccuracyAlone(Classifier):
    """Validates by accuracy; the loss is in the training step."""

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(x) * scale

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0], torch.ones(())), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())


class Shell(nn.Module):
    """A model whose tensors have other names in its state_dict than among its parameters, as a language model's may."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(10, 3)
        self.still = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.still(self.model(x))

    def state_dict(self, *_: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        state = {} if destination is None else destination
        for part in (self.model, self.still):
            name = "3a" if part is self.model else "3b"
            part.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return state


class Renamed(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.net = Shell()  # type: ignore[assignment]


class Smoothed(Classifier):
    """At the start its loss is that of any classifier."""

    def __init__(self) -> None:
        super().__init__(lr=3e-2)
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def loss(self, batch: Any) -> Tensor:
        return cross_entropy(self.net(batch[0]), batch[1], label_smoothing=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="lightning_interp")
    return caplog


def inputs_alone() -> DataLoader[Any]:
    return DataLoader(TensorDataset(data(96)[:][0]), batch_size=32)


def nested() -> DataLoader[Any]:
    return DataLoader([{"x": {"numbers": x}, "y": y} for x, y in data(96)], batch_size=32)


def followed(root: Path, module: Any, **arguments: Any) -> Run:
    """The run of a training under a monitor that was given nothing about the module."""
    fit(root, InterpMonitor(root / "run", close_timeout=None), module, **arguments)
    return open_run(root / "run")


def at_last(run: Run, module: nn.Module) -> nn.Module:
    module.load_state_dict(dict(run.snapshot(run.steps[-1]).weights))
    return module.eval()


@pytest.mark.parametrize(
    ("module", "batches", "route", "expected"),
    [
        (Alone, inputs_alone, "training_step", lambda m, x: None),
        (Adversaries, inputs_alone, "training_step", lambda m, x: softplus(m.judge(m.net(x))).mean().item()),
    ],
    ids=["momentum", "two optimizers"],
)
def test_a_training_without_validation_has_the_loss_of_its_step(
    tmp_path: Path, module: Any, batches: Any, route: str, expected: Any
) -> None:
    run = followed(tmp_path, module(), train=batches(), heldout=None)
    steps, losses = run.records("train_loss")
    assert read_state(run.path).route == route
    assert list(steps) == run.steps
    by_hand = expected(at_last(run, module()), data(96)[:][0])
    if by_hand is not None:  # float32 means over 96 examples, once in three batches
        assert losses[-1] == pytest.approx(by_hand, rel=1e-6)


def test_a_step_that_reads_its_stage_has_its_loss(tmp_path: Path) -> None:
    run = followed(tmp_path, ReadsItsState(), train=nested(), heldout=nested())
    module, (x, y) = at_last(run, ReadsItsState()), data(96)[:]
    by_hand = cross_entropy(module.net(x), y).item()  # type: ignore[operator]
    assert [run.records(name)[1][-1] for name in ("train_loss", "heldout_loss")] == [pytest.approx(by_hand, rel=1e-6)] * 2


def test_a_validation_by_accuracy_alone_gets_the_loss_of_the_training_step_on_both_splits(tmp_path: Path) -> None:
    run = followed(tmp_path, AccuracyAlone())
    module = at_last(run, AccuracyAlone())
    by_hand = [cross_entropy(module.net(x), y).item() for x, y in (data(96)[:], data(40)[:])]  # type: ignore[operator]
    assert [run.records(name)[1][-1] for name in ("train_loss", "heldout_loss")] == pytest.approx(by_hand, rel=1e-6)


def test_a_state_dict_with_names_of_its_own_is_followed(tmp_path: Path) -> None:
    run = followed(tmp_path, Renamed())
    assert run.manifest.parameters == ("net.3a.weight", "net.3a.bias", "net.3b.weight", "net.3b.bias")
    weights = run.snapshot(run.steps[-1]).weights
    module = Renamed()
    for name, part in (("3a", module.net.model), ("3b", module.net.still)):
        part.load_state_dict({kind: weights[f"net.{name}.{kind}"] for kind in ("weight", "bias")})  # type: ignore[operator]
    x, y = data(96)[:]
    assert run.records("train_loss")[1][-1] == pytest.approx(cross_entropy(module.net(x), y).item(), rel=1e-6)
    assert len(list((run.path / "snapshots").glob("frozen_*"))) == 1  # what does not train is written once


def test_label_smoothing_is_noticed_while_it_trains_and_holds_for_every_snapshot(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    run = followed(tmp_path, Smoothed(), max_steps=200)
    steps, losses = run.records("train_loss")
    assert list(steps) == run.steps
    for step, loss in zip(steps, losses, strict=True):
        module = Smoothed()
        module.load_state_dict(dict(run.snapshot(int(step)).weights))
        assert loss == pytest.approx(module.loss(data(96)[:]).item(), rel=1e-6)
    assert "its own loss is used, and no accuracy is reported; pass probe_step= (--probe-step) to have one" in said.text
    assert "are measured again with the module's own loss" in said.text


class StopsWhenSaid(L.Callback):
    """Steps of a quarter of a second until the console has said how the loss is found; notes the work that took."""

    def __init__(self, monitor: InterpMonitor, said: pytest.LogCaptureFixture) -> None:
        self.monitor, self.said = monitor, said
        self.analyzer_s = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        time.sleep(0.25)
        if "loss from (x, y) batches" in self.said.text:
            trainer.should_stop = True
            return
        pid = self.monitor._monitor._engine.pid  # type: ignore[union-attr,attr-defined]
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        self.analyzer_s = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def test_the_way_to_the_loss_is_said_while_the_first_steps_go_by(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    monitor = InterpMonitor(tmp_path / "run")
    watch = StopsWhenSaid(monitor, said)
    trainer = fit(tmp_path, monitor, max_steps=400, also=[watch])
    # Ten seconds of the analyzer's own work, its start with all imports among them, however busy the machine is meanwhile.
    assert "loss from (x, y) batches" in said.text
    assert trainer.global_step <= 20 or watch.analyzer_s <= 10
    assert trainer.global_step < 400
