# SPDX-License-Identifier: Apache-2.0
"""Steps as people write them, each by the trait that decides where its loss is found."""

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis.apart import working_apart
from lightning_interp.analysis.module_loss import step_loss
from lightning_interp.analysis.outputs import evaluate, find_loss_source
from lightning_interp.analysis.trainer_stand_in import attach_stand_in
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Batch

X = torch.linspace(-1, 1, 12).view(4, 3)
LABELS = torch.tensor([0, 1, 1, 0])
BATCH = (X, LABELS)
ODD = {"inputs": X, "answers": LABELS}


class Lit(L.LightningModule):
    """Has no step; what tests add has the cross-entropy `own`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def own(self, batch) -> torch.Tensor:
        x, y = batch.values() if isinstance(batch, dict) else batch
        return F.cross_entropy(self(x), y)


def with_methods(**methods) -> Lit:
    """A module whose class has these methods."""
    return type("WithMethods", (Lit,), {**methods, "__module__": __name__})().eval()


def with_step(step) -> Lit:
    return with_methods(validation_step=step)


def validation_loss(module: nn.Module, batch: Batch = BATCH) -> torch.Tensor:
    return step_loss(module, batch, "validation_step").value.detach()


def found(module: nn.Module, batch: Batch = ODD):
    """Route of a batch that no guess fits, and the loss it gives."""
    attach_stand_in(module, step=3, epoch=1)
    route = find_loss_source(module, batch, probe_step=None)
    return route, evaluate(route.call, module, batch).loss


def logs(self, batch, batch_idx):
    self.log("val/loss", self.own(batch), prog_bar=True)


def logs_dict(self, batch, batch_idx):
    self.log_dict({"my_loss": self.own(batch), "accuracy": 0.5})


def returns_dict(self, batch, batch_idx):
    return {"loss": self.own(batch), "other": 1}


def second_loader(self, batch, batch_idx, dataloader_idx):
    return self.own(batch) + dataloader_idx


@pytest.mark.parametrize("step", [logs, logs_dict, returns_dict, second_loader], ids=lambda step: step.__name__)
def test_validation_loss_is_what_the_step_returns_or_logs(step):
    module = with_step(step)
    assert torch.equal(validation_loss(module, (X, LABELS)), module.own((X, LABELS)))


def test_validation_loss_prefers_the_usual_name_of_several():
    module = with_step(lambda self, batch, batch_idx: self.log_dict({"aux_loss": 1.0, "val_loss": 2.0}))
    assert validation_loss(module, (X, LABELS)).item() == 2.0


def test_of_several_losses_the_first_is_taken_and_said():
    module = with_step(lambda self, batch, batch_idx: self.log_dict({"a_loss": 1.0, "b_loss": 2.0}))
    loss = step_loss(module, BATCH, "validation_step")
    assert (loss.value.item(), loss.name, loss.others) == (1.0, "log:a_loss", ("b_loss",))
    assert loss.words == ", logged as a_loss; the first of several losses: b_loss is left out"


def test_a_step_without_a_loss_says_what_it_logs():
    module = with_step(lambda self, batch, batch_idx: self.log("val_acc", 0.5))
    with pytest.raises(ProbeError, match=r"returns no loss and logs no loss \(it logs val_acc\); pass probe_step="):
        validation_loss(module)


def test_validation_loss_refuses_one_value_per_example():
    module = with_step(lambda self, batch, batch_idx: F.cross_entropy(self(batch[0]), batch[1], reduction="none"))
    with pytest.raises(ProbeError, match=r"a loss of shape \(4,\), expected a scalar"):
        validation_loss(module, (X, LABELS))


def test_validation_loss_wraps_what_the_step_raises():
    def broken(self, batch, batch_idx):
        raise KeyError("x")

    with pytest.raises(ProbeError, match=r"validation_step failed on the probe \(KeyError: 'x'\)"):
        validation_loss(with_step(broken), (X, LABELS))


def returns_the_accuracy(self, batch, batch_idx):
    accuracy = (self(batch[0]).argmax(1) == batch[1]).float().mean()
    self.log_dict({"val_acc": accuracy, "val_nll": self.own(batch)})
    return accuracy


def returns_scores(self, batch, batch_idx):
    self.log("valLoss", self.own(batch))
    return self(batch[0])


def returns_loss_and_scores(self, batch, batch_idx):
    return self.own(batch), self(batch[0])


def returns_two_numbers_and_logs_one(self, batch, batch_idx):
    self.log("val_loss", self.own(batch))
    return torch.tensor(0.5), self.own(batch)


def logs_the_best_so_far(self, batch, batch_idx):
    self.log_dict({"best_val_loss": 0.1, "loss_weight": 2.0, "val_ce": self.own(batch)})


def returns_an_object(self, batch, batch_idx):
    return SimpleNamespace(loss=self.own(batch), logits=self(batch[0]))


def returns_under_another_name(self, batch, batch_idx):
    return {"accuracy": torch.tensor(0.5), "val_ce": self.own(batch)}


@pytest.mark.parametrize(
    "step",
    [
        returns_the_accuracy,
        returns_scores,
        returns_loss_and_scores,
        returns_an_object,
        returns_under_another_name,
        returns_two_numbers_and_logs_one,
        logs_the_best_so_far,
    ],
    ids=lambda step: step.__name__,
)
def test_a_loss_is_found_under_any_sensible_name(step):
    module = with_step(step)
    assert torch.equal(validation_loss(module), module.own(BATCH))


def test_a_metric_object_gives_its_value_of_this_batch_alone():
    class Measured(Lit):
        def __init__(self) -> None:
            super().__init__()
            self.val_loss = torchmetrics.MeanMetric()

        def validation_step(self, batch, batch_idx) -> None:
            self.val_loss(self.own(batch))
            self.log("val/loss", self.val_loss, on_epoch=True)

    module = Measured().eval()
    first, second = (X[:2], LABELS[:2]), (X[2:], LABELS[2:])
    given = [validation_loss(module, batch) for batch in (first, second)]
    assert given == [pytest.approx(module.own(batch).item()) for batch in (first, second)]


def test_a_metric_that_was_only_updated_does_not_remember_earlier_batches():
    class Updated(Lit):
        def __init__(self) -> None:
            super().__init__()
            self.val_loss = torchmetrics.MeanMetric()

        def validation_step(self, batch, batch_idx) -> None:
            self.val_loss.update(self.own(batch))
            self.log("val/loss", self.val_loss)

    module = Updated().eval()
    validation_loss(module, (X[:2], LABELS[:2]))
    assert validation_loss(module, (X[2:], LABELS[2:])).item() == pytest.approx(module.own((X[2:], LABELS[2:])).item())


class CollectsForTheEpoch(Lit):
    """Logs at the end of a validation, of what its steps have collected."""

    def __init__(self) -> None:
        super().__init__()
        self.collected: list[torch.Tensor] = []

    def validation_step(self, batch, batch_idx) -> None:
        self.collected.append(self.own(batch))

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", torch.stack(self.collected).mean())
        self.collected.clear()


class StartsAnew(CollectsForTheEpoch):
    """Empties what it collects when a validation begins, not when it ends."""

    def on_validation_epoch_start(self) -> None:
        self.collected = []

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", torch.stack(self.collected).mean())


class NeverEmpties(CollectsForTheEpoch):
    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", torch.stack(self.collected).sum())


@pytest.mark.parametrize("kind", [CollectsForTheEpoch, StartsAnew])
def test_a_loss_logged_at_the_end_of_a_validation_is_found(kind):
    module = kind().eval()
    module.collected = [torch.tensor(9.0)] if kind is StartsAnew else []  # of the sanity check
    with working_apart():
        route, loss = found(module)
    assert (route.name, route.loss["name"]) == ("validation_step", "epoch:val_loss")
    assert torch.equal(loss, module.own(ODD))
    assert "logged as val_loss at the end of an epoch" in route.note


def test_a_loss_that_depends_on_what_was_validated_before_is_none():
    with working_apart(), pytest.raises(ProbeError, match="val_loss of a batch depends on what was validated before it"):
        found(NeverEmpties().eval())


def test_the_end_of_a_validation_is_not_run_where_a_training_may_save_its_files():
    with pytest.raises(ProbeError, match='which is run beside background="process" alone'):
        found(CollectsForTheEpoch().eval())


@pytest.mark.parametrize("step", ["validation", "training"])
def test_what_a_module_saves_on_the_way_meets_no_file_of_the_user(step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.pt").write_text("of the training")

    def save(self) -> None:
        Path("best.pt").write_text("of a replica")

    class Saves(CollectsForTheEpoch):
        def on_validation_epoch_end(self) -> None:
            save(self)
            super().on_validation_epoch_end()

    def training_step(self, batch, batch_idx):
        save(self)
        return self.own(batch)

    module = Saves().eval() if step == "validation" else with_methods(training_step=training_step)
    with working_apart():
        found(module)
    assert Path("best.pt").read_text() == "of the training"
    assert Path.cwd() == tmp_path


def test_an_accuracy_that_is_returned_and_logged_is_no_loss():
    def accuracy(self, batch, batch_idx):
        value = torch.tensor(0.375)
        self.log("val_acc", value)
        return value

    assert found(with_step(accuracy), BATCH)[0].name == "pair"


def test_a_number_without_a_name_does_not_outdo_a_guess_that_the_training_step_confirms():
    module = with_methods(
        validation_step=lambda self, batch, batch_idx: torch.tensor(0.375),
        training_step=lambda self, batch, batch_idx: self.own(batch),
    )
    assert found(module, BATCH)[0].name == "pair"


def test_parts_of_a_loss_that_add_up_to_it_are_added_up():
    # A step that weights each batch by its share of the examples, so that the sum over batches is the loss.
    module = with_step(lambda self, batch, batch_idx: {"partial_val_loss": self.own(batch) * len(batch["answers"]) / 40})
    route, loss = found(module)
    assert route.loss == {"name": "return:partial_val_loss", "reduction": "share", "place": "1"}
    assert loss.item() == pytest.approx(module.own(ODD).item() * 4 / 40)  # outside a split the batch is all there is


def test_a_sum_over_the_batch_is_divided_by_its_examples():
    module = with_step(
        lambda self, batch, batch_idx: 4 * self.own(batch) if len(batch["answers"]) == 4 else 2 * self.own(batch)
    )
    route, loss = found(module)
    assert route.loss["reduction"] == "sum"
    assert loss.item() == pytest.approx(module.own(ODD).item())
    assert "it is a sum over the batch" in route.note


def test_a_share_of_a_loss_gives_way_to_the_mean_that_the_training_step_has():
    module = with_methods(
        validation_step=lambda self, batch, batch_idx: {"partial_val_loss": self.own(batch) * len(batch["answers"]) / 40},
        training_step=lambda self, batch, batch_idx: {"loss": self.own(batch), "partial_train_loss": self.own(batch) / 10},
    )
    route, loss = found(module)
    assert (route.name, route.loss["name"]) == ("training_step", "return:loss")
    assert torch.equal(loss, module.own(ODD))


def test_a_step_that_draws_pictures_of_the_first_batch_draws_none():
    drawn = []
    module = with_step(lambda self, batch, batch_idx: drawn.append(batch) if batch_idx % 50 == 0 else self.own(batch))
    found(module)
    assert drawn == []


def test_a_step_that_makes_what_it_needs_at_the_first_batch_is_told_that_it_is_the_first():
    def counts(self, batch, batch_idx):
        if batch_idx == 0:
            self.seconds = 0.0
        self.seconds += 1.0
        return self.own(batch)

    module = with_methods(training_step=counts)
    route, loss = found(module)
    assert torch.equal(loss, module.own(ODD))
    assert route.loss["place"] == "0"  # so that it is not tried in vain on every batch


def test_a_training_step_may_read_its_optimizers_and_schedules():
    class Reads(Lit):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.5)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}]

        def training_step(self, batch, batch_idx):
            rates = [self.optimizers().param_groups[0]["lr"], *self.trainer.lr_scheduler_configs[0].scheduler.get_last_lr()]
            return self.own(batch) * sum(rates) * len(self.trainer.optimizers)

    module = Reads().eval()
    assert torch.equal(found(module)[1], module.own(ODD))


def contrastive(self, batch, batch_idx):
    """A loss in which every example meets all others of its batch."""
    z = F.normalize(self(batch["inputs"]), dim=1)
    return F.cross_entropy(z @ z.T / 0.1, torch.arange(len(z)))


def test_a_loss_of_pairs_within_the_batch_stays_as_it_is():
    module = with_step(contrastive)
    route, loss = found(module)
    assert route.loss["reduction"] == "mean"
    assert torch.equal(loss, contrastive(module, ODD, 0))


def test_a_module_without_validation_gives_the_loss_of_its_training_step():
    module = with_methods(training_step=lambda self, batch, batch_idx: self.own(batch))
    route, loss = found(module)
    assert (route.name, route.note) == ("training_step", "loss by the module's training_step")
    assert torch.equal(loss, module.own(ODD))


def test_a_validation_step_that_logs_accuracy_alone_leaves_the_loss_to_the_training_step():
    module = with_methods(
        validation_step=lambda self, batch, batch_idx: self.log("val_acc", 0.5),
        training_step=lambda self, batch, batch_idx: self.own(batch),
    )
    assert found(module)[0].name == "training_step"


class MovesAnAverage(Lit):
    """Its training step moves the weights of a teacher and a queue, as momentum methods do, and draws noise."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(3, 2).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(2))
        self.draws = 0

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            for mine, theirs in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                mine.data = 0.5 * mine.data + 0.5 * theirs.data
            self.queue.add_(1)
        noisy = batch["inputs"] + torch.randn_like(batch["inputs"])
        return F.mse_loss(self(noisy), self.teacher(noisy)) + 0 * self.queue.sum()


def test_what_a_training_step_changes_is_forgotten_and_its_noise_is_the_same_each_time():
    module = MovesAnAverage().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    route, first = found(module)
    again = evaluate(route.call, module, ODD).loss
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(first, again)


def test_a_training_step_stays_differentiable_in_the_weights_of_the_replica():
    module = MovesAnAverage().eval()
    attach_stand_in(module, step=0, epoch=0)
    step_loss(module, ODD, "training_step").value.backward()
    assert module.net.weight.grad.abs().sum() > 0


class Adversaries(Lit):
    """Two optimizers that the step drives itself: each of its losses is logged, none returned."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.judge = nn.Linear(2, 1)

    def configure_optimizers(self):
        makers, judges = (torch.optim.Adam(part.parameters(), 0.1) for part in (self.net, self.judge))
        return [makers, judges], []

    def training_step(self, batch, batch_idx):
        makers, judges = self.optimizers()
        for optimizer, name, sign in ((makers, "g_loss", 1), (judges, "d_loss", -1)):
            self.toggle_optimizer(optimizer)
            loss = F.softplus(sign * self.judge(self(batch["inputs"]))).mean()
            self.log(name, loss, prog_bar=True)
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=0.5)
            optimizer.step()
            self.untoggle_optimizer(optimizer)


def test_of_two_optimizers_the_first_loss_is_taken_and_no_weight_moves():
    module = Adversaries().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    route, loss = found(module)
    assert loss.item() == pytest.approx(F.softplus(module.judge(module(X))).mean().item())
    assert route.note == (
        "loss by the module's training_step, logged as g_loss; the first of several losses: d_loss is left out"
    )
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_step_with_a_closure_is_asked_for_its_loss():
    class Closure(Adversaries):
        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()[0]

            def closure():
                loss = self.own(batch)
                self.manual_backward(loss)
                return loss

            self.log("train_loss", optimizer.step(closure=closure))
            optimizer.param_groups[0]["lr"]
            self.lr_schedulers()

    module = Closure().eval()
    assert found(module)[1].item() == pytest.approx(module.own(ODD).item())


def test_the_loss_keeps_its_name_for_the_run():
    module = with_step(lambda self, batch, batch_idx: self.log_dict({"a_loss": 1.0}))
    with pytest.raises(ProbeError, match="validation_step gives no b_loss at this snapshot, as it did at the first"):
        step_loss(module, BATCH, "validation_step", name="log:b_loss")
