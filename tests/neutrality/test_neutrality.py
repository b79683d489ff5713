# SPDX-License-Identifier: Apache-2.0
"""Comparing trainings with and without the monitor: digests, first differences, verdicts. Trains nothing."""

import math
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import lightning.pytorch
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from small_training import Classifier

from lightning_interp import InterpMonitor, check_neutral
from lightning_interp.core.errors import ConfigError, InterpError
from lightning_interp.neutrality import Difference, check, compare
from lightning_interp.neutrality.process import MOMENTS, PROGRESS, Moment, TrainingOrder, TrainingRecord, train
from lightning_interp.neutrality.recording import Recording, digest, is_monitor, leaves, optimizer_states, random_states
from lightning_interp.neutrality.training import _namespace, _parts, _place_monitors, main

FACTORY = "small_training:Classifier"


def order(**changes):
    values = {"monitored": False, "steps": 5, "every": 1, "seed": 0, "keep": None, "parent": os.getpid()}
    return TrainingOrder(factory=FACTORY, import_path=tuple(sys.path), **values | changes)


def moment(step, *, ended=False, tensor=("a", "b"), state="s"):
    digests = {"tensor": dict(zip(("weight", "bias"), tensor, strict=True)), "output": {}, "random state": {"torch": state}}
    return Moment(step, ended, digests | ({"optimizer": {"0 weight exp_avg": "o"}} if ended else {}))


def course(steps=3, **changed):
    """Moments of a training; `changed` are arguments of `moment` from one step on: ``{"step2": {...}}``."""
    found, now = [], {}
    for step in range(steps + 1):
        now |= changed.get(f"step{step}", {})
        found.append(moment(step, **now))
    return (*found, moment(steps, ended=True, **now))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(1.0078125, dtype=torch.bfloat16)),
        (torch.tensor([1 + 1j]), torch.tensor([1 + 1j]).conj()),
        (1.0, math.nextafter(1.0, 2.0)),
    ],
)
def test_digest_tells_apart(one, other):
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.ones(3, 4).tril().T, torch.ones(4, 3).triu()),
        (torch.empty(0), torch.empty(0)),
        (torch.tensor(float("nan")), torch.tensor(float("nan"))),
        (torch.eye(3).to_sparse(), torch.eye(3).to_sparse()),
        (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
    ],
)
def test_digest_sees_content_only(one, other):
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("name", "draw"), [("python", random.random), ("numpy", np.random.rand), ("torch", lambda: torch.rand(1))]
)
def test_random_states_show_one_draw(name, draw):
    before = random_states()
    assert random_states() == before
    draw()
    assert [key for key, value in random_states().items() if value != before[key]] == [name]


def test_leaves_name_what_training_step_returns():
    loss = torch.ones(())
    assert list(leaves(loss)) == [("loss", loss)]
    assert list(leaves(None)) == []


def test_optimizer_states_are_named_by_parameter():
    module = Classifier()
    optimizer = module.configure_optimizers()
    module.net(torch.ones(2, 10)).sum().backward()
    optimizer.step()
    found = optimizer_states(SimpleNamespace(optimizers=[optimizer]), module)
    assert {"0 net.0.weight step", "0 net.0.weight exp_avg", "0 net.2.bias exp_avg_sq"} <= found.keys()


def test_recording_changes_nothing_but_the_end(tmp_path):
    module = Classifier()
    trainer = SimpleNamespace(
        global_step=0,
        is_global_zero=True,
        should_stop=False,
        fit_loop=SimpleNamespace(min_epochs=9, epoch_loop=SimpleNamespace(min_steps=9)),
    )
    recording = Recording(order(steps=4, every=2, parent=os.getppid()), tmp_path)
    before = random_states(), [digest(value) for value in module.state_dict().values()]
    recording.on_train_start(trainer, module)
    for step in (1, 1, 2, 3, 4):
        assert not trainer.should_stop
        trainer.global_step = step
        recording.on_train_batch_end(trainer, module, {"loss": torch.ones(())}, None, 0)
    assert trainer.should_stop
    assert before == (random_states(), [digest(value) for value in module.state_dict().values()])
    assert len((tmp_path / MOMENTS).read_text().splitlines()) == 3  # before the first step, after 2 and 4


def test_compare_finds_nothing_in_equal_trainings():
    assert compare(course(), course()) == ()


def test_compare_names_each_thing_once_at_its_first_step():
    other = course(step1={"state": "t"}, step2={"tensor": ("a", "c")})
    assert compare(course(), other) == (Difference(1, "random state", "torch"), Difference(2, "tensor", "bias"))


def test_compare_notices_another_length():
    assert compare(course(3), course(2)) == (Difference(2, "length", "the training ends after step 3 or 2"),)


def test_compare_notices_a_name_that_is_missing():
    one, other = Moment(0, False, {"tensor": {"weight": "a"}}), Moment(0, False, {"tensor": {}})
    assert compare([one], [other]) == (Difference(0, "tensor", "weight"),)


@pytest.fixture
def trainings(monkeypatch, tmp_path):
    """Stands in for training: a function that takes the records to give out, in turn, and returns the orders given."""

    def stand_in(*records):
        left, orders = list(records), []

        def train(order, folder, *, on_step):
            orders.append(order)
            on_step(order.steps)
            return left.pop(0)

        monkeypatch.setattr(check, "train", train)
        return orders

    return stand_in


def record(moments, kept=None):
    return TrainingRecord(moments, observed=3, kept=kept)


def test_check_neutral_reports_what_was_compared(trainings):
    orders = trainings(*[record(course())] * 3)
    stages = []
    report = check_neutral(FACTORY, steps=3, on_progress=lambda stage, step: stages.append((stage, step)))
    assert report.verdict == "neutral"
    assert (report.steps, report.moments, report.tensors, report.optimizer_tensors, report.observed) == (3, 5, 2, 1, 3)
    assert [order.monitored for order in orders] == [False, False, True]
    assert stages[-2:] == [(check.WITH, 0), (check.WITH, 3)]


def test_check_neutral_does_not_blame_the_monitor_for_chance(trainings):
    orders = trainings(record(course()), record(course(step0={"tensor": ("x", "b")})))
    report = check_neutral(FACTORY)
    assert (report.verdict, report.control) == ("not_deterministic", (Difference(0, "tensor", "weight"),))
    assert len(orders) == 2


def kept_tensors(tmp_path, **largest):
    """Files of two trainings whose tensors differ by as much as named."""
    for number in (0, 1):
        torch.save({name: torch.ones(3) + number * value for name, value in largest.items()}, tmp_path / f"{number}.pt")
    return tmp_path / "0.pt", tmp_path / "1.pt"


def test_check_neutral_measures_the_first_difference(trainings, tmp_path):
    other = course(step1={"state": "t"}, step2={"tensor": ("x", "b")})
    here, there = kept_tensors(tmp_path, weight=0.25, bias=0.0)
    orders = trainings(record(course()), record(course()), record(other), record(course(2), here), record(other[:3], there))
    report = check_neutral(FACTORY, steps=3)
    assert report.verdict == "differs"
    assert report.differences == (Difference(1, "random state", "torch"), Difference(2, "tensor", "weight", 0.25))
    assert [(o.monitored, o.steps, o.keep) for o in orders[3:]] == [(False, 2, 2), (True, 2, 2)]


def test_check_neutral_finds_chance_that_showed_late(trainings):
    other = course(step2={"tensor": ("x", "b")})
    trainings(record(course()), record(course()), *[record(other)] * 3)
    report = check_neutral(FACTORY, steps=3)
    assert (report.verdict, report.control) == ("not_deterministic", (Difference(2, "tensor", "weight"),))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("no_colon", "factory: expected 'pkg.mod:name', got 'no_colon'"),
        (".relative:build", "factory: expected"),
        ("no_such_package.mod:build", "factory: cannot import 'no_such_package.mod'"),
        (lambda: None, "cannot be imported by another process"),
    ],
)
def test_check_neutral_refuses_a_factory_nobody_finds(build, message):
    with pytest.raises(ConfigError, match=message):
        check_neutral(build)


@pytest.mark.parametrize("name", ["steps", "every"])
def test_check_neutral_refuses_numbers_out_of_range(name):
    with pytest.raises(ConfigError, match=f"{name}: expected a whole number from 1 on, got 0"):
        check_neutral(FACTORY, **{name: 0})


@pytest.mark.parametrize("built", [None, (1,), (Classifier(), "trainer"), (1, 2, 3, 4, 5)])
def test_factory_must_return_trainer_and_module(built):
    with pytest.raises(ConfigError, match=r"factory: .* must return \(trainer, module\)"):
        _parts(built, FACTORY)


def test_factory_must_return_a_trainer_first():
    with pytest.raises(ConfigError, match="the first is a str, not a Trainer"):
        _namespace("trainer", FACTORY)


def test_namespace_is_that_of_the_trainer():
    trainer = lightning.pytorch.Trainer.__new__(lightning.pytorch.Trainer)
    assert _namespace(trainer, FACTORY) is lightning.pytorch


def test_failed_training_without_the_monitor_is_bad_input(tmp_path):
    order(monitored=False).write(tmp_path)
    assert main(tmp_path) == 1  # a Classifier is no (trainer, module)
    assert "must return (trainer, module)" in (tmp_path / "failure.json").read_text()


def test_monitors_are_taken_away_or_sent_to_a_folder_of_the_check(tmp_path):
    monitor, bar = InterpMonitor("elsewhere", every_n_steps=7), TQDMProgressBar()
    trainer = SimpleNamespace(callbacks=[bar, monitor])
    assert _place_monitors(trainer, lightning.pytorch, tmp_path) == [monitor]
    assert (monitor.config.dirpath, monitor.config.every_n_steps) == (tmp_path / "run_0", 7)
    assert _place_monitors(trainer, lightning.pytorch, None) == []
    assert trainer.callbacks == [bar]


def test_monitor_is_added_before_those_that_write_checkpoints(tmp_path):
    bar, checkpoint = TQDMProgressBar(), ModelCheckpoint()
    trainer = SimpleNamespace(callbacks=[bar, checkpoint])
    (added,) = _place_monitors(trainer, lightning.pytorch, tmp_path)
    assert is_monitor(added)
    assert trainer.callbacks == [bar, added, checkpoint]


def test_monitor_of_the_module_is_refused(tmp_path):
    trainer = SimpleNamespace(callbacks=[InterpMonitor()])
    with pytest.raises(ConfigError, match="configure_callbacks of Classifier adds an InterpMonitor"):
        Recording(order(), tmp_path).setup(trainer, Classifier(), "fit")


def test_interrupted_check_ends_its_training(tmp_path, monkeypatch):
    started = []

    class Remembered(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    def interrupt(step):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    (tmp_path / PROGRESS).write_text("1")
    with pytest.raises(KeyboardInterrupt):
        train(order(), tmp_path, on_step=interrupt)
    (process,) = started
    assert process.returncode is not None


def fails(tmp_path, monkeypatch, *, monitored, kind):
    """The error for a training whose process wrote down a failure."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (tmp_path / "failure.json").write_text(f'{{"kind": "{kind}", "message": "what went wrong"}}')
    with pytest.raises(InterpError, match="what went wrong") as caught:
        train(order(monitored=monitored), tmp_path, on_step=lambda step: None)
    return caught


@pytest.mark.parametrize(
    ("monitored", "kind", "bad_input"),
    [
        (False, "training_failed", True),
        (True, "training_failed", False),
        (True, "monitor_failed", False),
        (True, "bad_input", True),
    ],
)
def test_failure_of_a_training_becomes_the_error_of_the_right_kind(tmp_path, monkeypatch, monitored, kind, bad_input):
    caught = fails(tmp_path, monkeypatch, monitored=monitored, kind=kind)
    assert isinstance(caught.value, ConfigError) is bad_input
