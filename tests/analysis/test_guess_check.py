# SPDX-License-Identifier: Apache-2.0
"""A guessed loss that is the module's own at first, and another one as soon as there is something to tell them apart."""

import json
from dataclasses import replace
from typing import ClassVar

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis import observer
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.store import open_run, write_probe
from lightning_interp.store.analysis_state import read_state
from lightning_interp.store.layout import PHASES, SNAPSHOTS, step_file
from lightning_interp.store.recordlog import append_record


class Own(L.LightningModule):
    """Starts with equal scores; its validation loss is the one it was made with."""

    def __init__(self, loss) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.loss = loss
        nn.init.zeros_(self.net.weight)
        nn.init.zeros_(self.net.bias)

    def forward(self, x):
        return self.net(x)

    def validation_step(self, batch, batch_idx):
        return self.loss(self, batch)


def plain(module, batch):
    return F.cross_entropy(module(batch[0]), batch[1])


def smoothed(module, batch):
    return F.cross_entropy(module(batch[0]), batch[1], label_smoothing=0.1)


def weighted(module, batch):
    return F.cross_entropy(module(batch[0]), batch[1], weight=torch.tensor([1.0, 5.0]))


def focal(module, batch):
    likelihood = F.cross_entropy(module(batch[0]), batch[1], reduction="none").neg().exp()
    return 4 * ((1 - likelihood).square() * likelihood.log().neg()).mean()  # at equal scores of two classes this is ln 2


def with_penalty(module, batch):
    return plain(module, batch) + 0.05 * module.net.weight.square().sum()


def split(count, seed):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return ProbeSplit(((x, (x.sum(1) > 0.7).long()),))


PROBE = Probe(split(60, 1), split(40, 2))
MEASURES = ("train_loss", "heldout_loss", "train_accuracy", "weight_norm")


@pytest.fixture
def trained(prepare):
    """A run with a snapshot after every fifth step of descent on the module's own loss, not analyzed."""

    def run_of(loss, snapshots=12):
        module = Own(loss)
        run = prepare(module=module, steps=(), stored_probe=False, measures=MEASURES)
        write_probe(run.path, PROBE)
        for number in range(snapshots):
            run.commit(5 * number)
            for _ in range(5):
                gradients = torch.autograd.grad(loss(module, PROBE.train.batches[0]), list(module.parameters()))
                with torch.no_grad():
                    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                        parameter.sub_(0.5 * gradient)
        return run

    return run_of


def analyze(run, *, most=None):
    analyzer = analyzer_for(run.path, run.order())
    left = iter(range(10**6 if most is None else most))
    analyzer.run_pending(stop=lambda: next(left, None) is None)
    analyzer.finish("finished" if most is None else "stopped")
    return open_run(run.path), read_state(run.path)


def own_losses(run, found):
    """The module's own loss at every recorded step, on the whole probe."""
    values = []
    for step in found.steps:
        run.module.load_state_dict(dict(found.snapshot(step).weights))
        values.append([run.module.loss(run.module, part.batches[0]).item() for part in (PROBE.train, PROBE.heldout)])
    return values


@pytest.mark.parametrize("loss", [smoothed, weighted, focal, with_penalty], ids=lambda loss: loss.__name__)
def test_the_modules_own_loss_is_recorded_from_the_first_step_on(trained, loss):
    run = trained(loss)
    found, state = analyze(run)
    recorded = list(zip(found.records("train_loss")[1], found.records("heldout_loss")[1], strict=True))
    assert state.route == "validation_step"
    assert len(recorded) == 12
    # Both are float32 cross-entropies of the same scores, on a whole split at once.
    assert recorded == [pytest.approx(own, rel=1e-6) for own in own_losses(run, found)]
    assert not any(
        "train_accuracy" in record.values for record in found.all_records
    )  # no accuracy is reported of a loss that is not understood
    assert any("other snapshots are measured again with the module's own loss" in notice for notice in state.notices)


def test_a_guess_that_is_the_modules_own_loss_stays(trained):
    found, state = analyze(trained(plain))
    assert (state.route, len(found.records("train_accuracy")[1])) == ("pair", 12)
    assert state.guess_checked[-1] < 0.6 * state.guess_checked[0]  # it was compared again, and later than at the start
    assert not any("measured again" in notice for notice in state.notices)


def test_a_step_whose_snapshot_is_gone_is_dropped_from_phases_and_said(trained):
    run = trained(smoothed)
    measured_before = analyze(run, most=1)[0].records("train_loss")[1]
    step_file(run.path / SNAPSHOTS, 0).unlink()
    found, state = analyze(run)
    steps, _ = found.records("train_loss")
    assert len(measured_before) == 1
    assert steps[0] == 5
    assert found.all_records[0].skipped["train_loss"].startswith("measured with another loss")
    assert any("the snapshots of 1 are gone, and phases are found without them" in notice for notice in state.notices)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_an_analyzer_that_is_stopped_anywhere_leaves_the_rest_to_the_next(trained, most):
    run = trained(smoothed)
    analyze(run, most=most)
    found, _ = analyze(run)
    assert list(found.records("train_loss")[1]) == [pytest.approx(train, rel=1e-6) for train, _ in own_losses(run, found)]


class Late(Own):
    """Gives no loss at first, of its own accord, as one that validates now and then."""

    tries: ClassVar[list[int]] = []

    def validation_step(self, batch, batch_idx):
        self.tries.append(1)
        return {} if len(self.tries) < 3 else F.cross_entropy(self.net(batch["x"]), batch["y"])


def test_steps_before_the_first_that_gave_a_loss_are_measured_once_it_is_known_how(prepare):
    Late.tries.clear()
    run = prepare(module=Late(None), steps=(), stored_probe=False, measures=MEASURES)
    named = [ProbeSplit(tuple({"x": x, "y": y} for x, y in part.batches)) for part in (PROBE.train, PROBE.heldout)]
    write_probe(run.path, Probe(*named))
    for step in range(5):
        run.commit(step)
    found, _ = analyze(run)
    assert len(Late.tries) > 3
    assert found.records("train_loss")[0].tolist() == [0, 1, 2, 3, 4]


def test_phases_do_not_go_on_from_two_losses(trained, monkeypatch):
    run, seen = trained(smoothed), []
    analyzer = analyzer_for(run.path, run.order())
    monkeypatch.setattr(type(analyzer), "write_timeline", lambda self, **_: seen.append(mixed(self)))

    def mixed(analyzer):
        records = [record for record in analyzer._folded.records if "train_loss" in record.values]
        return len({"train_accuracy" in record.values for record in records}) > 1

    analyzer.run_pending()
    assert seen
    assert not any(seen)


def test_a_guess_that_is_given_up_in_the_middle_is_taken_back_after_it_too(trained, monkeypatch):
    run = trained(smoothed)
    monkeypatch.setattr(observer, "is_worth_a_look", lambda *_: False)  # as an earlier version measured it
    analyze(run)
    monkeypatch.undo()
    records = [replace(record, values={}) for record in open_run(run.path).all_records if record.step == 30]
    append_record(run.path, records[0])
    found, state = analyze(run)
    assert state.route == "validation_step"
    assert list(found.records("train_loss")[1]) == [pytest.approx(train, rel=1e-6) for train, _ in own_losses(run, found)]


def test_the_timeline_is_of_the_own_loss_alone(trained):
    run = trained(smoothed)
    found, _ = analyze(run)
    stored = json.loads((run.path / PHASES).read_text())
    assert stored["phases"] == json.loads(json.dumps(found.timeline.to_dict()))["phases"]
