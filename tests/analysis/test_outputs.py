# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis.guessed_outputs import class_axis, pair_outputs
from lightning_interp.analysis.outputs import evaluate, find_loss_source, route_by_name
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import ProbeOutputs

X = torch.linspace(-1, 1, 12).view(4, 3)
LABELS = torch.tensor([0, 1, 1, 0])


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Lit(L.LightningModule):
    """A Lightning module whose validation step returns the cross-entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def own(self, batch) -> torch.Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.own(batch)


class Returns(nn.Module):
    """Gives back what it was made with."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.value


def constant(loss: float):
    """A function for `probe_step` with a loss of its own."""
    return lambda module, batch: ProbeOutputs(torch.tensor(loss))


def with_step(step) -> L.LightningModule:
    """A Lightning module with this validation step."""
    return type("WithStep", (Lit,), {"validation_step": step, "__module__": __name__})().eval()


def chosen(module: nn.Module, batch: object = (X, LABELS), probe_step=None):
    return find_loss_source(module.eval(), batch, probe_step=probe_step)


def refused(module: nn.Module, batch: object) -> str:
    with pytest.raises(ProbeError) as caught:
        chosen(module, batch)
    return str(caught.value)


def test_find_route_prefers_the_probe_step_argument():
    module = Plain()
    module.probe_step = lambda batch: ProbeOutputs(torch.tensor(1.0))
    route = chosen(module, probe_step=constant(7.0))
    assert (route.name, evaluate(route.call, module, (X, LABELS)).loss.item()) == ("argument", 7.0)


def test_find_route_prefers_the_modules_probe_step_to_a_guess():
    class Own(Plain):
        def probe_step(self, batch) -> ProbeOutputs:
            return ProbeOutputs(torch.tensor(5.0))

    module = Own()
    route = chosen(module)
    assert (route.name, evaluate(route.call, module, (X, LABELS)).loss.item()) == ("probe_step", 5.0)


def test_find_route_takes_pairs():
    module = Plain()
    route = chosen(module)
    outputs = evaluate(route.call, module, (X, LABELS))
    expected = F.cross_entropy(module(X).double(), LABELS, reduction="none")
    assert route.name == "pair"
    assert torch.equal(outputs.loss, expected)
    assert outputs.logits.shape == (4, 2)
    assert torch.equal(outputs.targets, LABELS)


def test_find_route_takes_dict_batches_with_a_loss():
    logits = torch.zeros(4, 2)
    module = Returns(SimpleNamespace(loss=torch.tensor(2.0), logits=logits))
    route = chosen(module, {"input_ids": X, "labels": LABELS})
    outputs = evaluate(route.call, module, {"input_ids": X, "labels": LABELS})
    assert (route.name, outputs.loss.item()) == ("mapping", 2.0)
    assert torch.equal(outputs.targets, LABELS)


def test_find_route_takes_a_dict_returned_for_a_dict_batch():
    assert chosen(Returns({"loss": torch.tensor(2.0)}), {"x": X}).name == "mapping"


def test_find_route_takes_dict_batches_with_any_key():
    assert chosen(Returns({"loss": torch.tensor(2.0)}), {"replica": X, "self_": X}).name == "mapping"


def test_find_route_keeps_no_logits_of_a_language_model():
    module = Returns(SimpleNamespace(loss=torch.tensor(2.0), logits=torch.zeros(4, 3, 5)))
    batch = {"labels": torch.zeros(4, 3, dtype=torch.long)}
    assert evaluate(chosen(module, batch).call, module, batch).logits is None


def test_find_route_falls_back_to_the_validation_step():
    class Odd(Lit):
        def validation_step(self, batch, batch_idx):
            return self.own((batch["x"], batch["y"]))

    module, batch = Odd(), {"x": X, "y": LABELS}
    route = chosen(module, batch)
    outputs = evaluate(route.call, module, batch)
    assert (route.name, outputs.logits) == ("validation_step", None)
    assert torch.equal(outputs.loss, module.own((X, LABELS)))


def test_find_route_keeps_a_guess_the_validation_step_agrees_with():
    assert chosen(Lit()).name == "pair"


def test_find_route_prefers_the_modules_own_loss_to_a_guess_that_differs():
    route = chosen(with_step(lambda self, batch, batch_idx: 2 * self.own(batch)))
    assert route.name == "validation_step"
    assert "its own loss is used, and no accuracy is reported" in route.note


def test_find_route_lists_every_way_it_tried():
    message = refused(Plain(), "text")
    assert "pair: the batch is no (x, y) pair but a str" in message
    assert "mapping: the batch is no dict but a str" in message
    assert "validation_step: the module has no validation_step" in message
    assert "Pass probe_step=fn" in message


def test_find_route_says_why_forward_failed():
    message = refused(Plain(), (torch.ones(4, 7), LABELS))
    assert "pair: forward cannot be called on the batch (RuntimeError: mat1 and mat2 shapes cannot be multiplied" in message


def test_find_route_says_when_the_users_function_failed():
    def broken(module, batch):
        raise KeyError("label")

    with pytest.raises(ProbeError, match=r"argument failed on the probe \(KeyError: 'label'\)"):
        chosen(Plain(), probe_step=broken)


@pytest.mark.parametrize("value", [torch.tensor(1.0), None, (1, 2)])
def test_find_route_refuses_a_probe_step_that_gives_something_else(value):
    with pytest.raises(ProbeError, match=r"argument returned .*expected ProbeOutputs"):
        chosen(Plain(), probe_step=lambda module, batch: value)


def test_find_route_lets_memory_run_out_where_the_analyzer_can_move():
    class Hungry(Plain):
        def forward(self, x):
            raise torch.OutOfMemoryError("no memory left")

    with pytest.raises(torch.OutOfMemoryError):
        chosen(Hungry())


def test_route_by_name_needs_the_argument_again():
    assert route_by_name("argument", probe_step=constant(1.0)).name == "argument"
    with pytest.raises(ProbeError, match="come from its argument, which is not given now; pass the same probe_step="):
        route_by_name("argument", probe_step=None)


@pytest.mark.parametrize("name", ["pair", "mapping", "validation_step", "training_step", "probe_step"])
def test_route_by_name_finds_every_route(name):
    assert route_by_name(name, probe_step=None).name == name


@pytest.mark.parametrize(
    ("outputs", "targets", "axis"),
    [
        ((8, 5), (8,), 1),
        ((8, 5, 7), (8, 7), 1),
        ((8, 7, 5), (8, 7), 2),
        ((8, 5, 2, 3), (8, 2, 3), 1),
        ((5,), (), 0),
        ((5, 5), (5,), 1),
    ],
    ids=["[B, C]", "[B, C, T]", "[B, T, C]", "[B, C, H, W]", "[C]", "as many examples as classes"],
)
def test_class_axis_is_the_one_whose_removal_gives_the_targets(outputs, targets, axis):
    assert class_axis(outputs, targets) == axis


def test_class_axis_refuses_an_ambiguous_shape():
    with pytest.raises(ProbeError, match=r"more than one axis of the outputs \(8, 5, 5\)"):
        class_axis((8, 5, 5), (8, 5))


def test_class_axis_refuses_shapes_that_do_not_fit():
    with pytest.raises(ProbeError, match="no axis of the outputs"):
        class_axis((8, 5), (9,))


@pytest.mark.parametrize("axis", [1, 2])
def test_pair_outputs_flattens_positions_whatever_the_class_axis(axis):
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2], [3, 4, 0]])
    outputs = pair_outputs(Returns(logits.movedim(-1, axis)), (X, targets))
    assert torch.equal(outputs.logits, logits.reshape(6, 5))
    assert torch.equal(outputs.targets, targets.reshape(6))


def test_pair_outputs_leaves_ignored_targets_out():
    outputs = pair_outputs(Returns(torch.zeros(3, 2)), (X, torch.tensor([0, -100, 1])))
    assert outputs.targets.tolist() == [0, 1]


def test_pair_outputs_computes_cross_entropy_in_float64():
    outputs = pair_outputs(Returns(torch.tensor([[30.0, 0.0]])), (X, torch.tensor([0])))
    # ln(1 + e^-30) = 9.4e-14, which float32 rounds to 0; float64 rounds 1 + e^-30 at 1.1e-16.
    assert outputs.loss.item() == pytest.approx(9.358e-14, abs=3e-16)


def test_pair_outputs_stays_differentiable_over_chunks(monkeypatch):
    monkeypatch.setattr("lightning_interp.measures.losses.CHUNK_ELEMENTS", 4)  # two rows of two classes
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0, 1])
    (found,) = torch.autograd.grad(pair_outputs(Returns(logits), (X, labels)).loss.mean(), logits)
    (expected,) = torch.autograd.grad(F.cross_entropy(logits.double(), labels), logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("targets", [torch.tensor([0, 2]), torch.tensor([-1, 0]), torch.tensor([-100, -100])])
def test_pair_outputs_refuses_targets_that_are_no_classes(targets):
    with pytest.raises(ProbeError, match="targets are no class indices for 2 classes"):
        pair_outputs(Returns(torch.zeros(2, 2)), (X, targets))


def test_pair_outputs_refuses_real_targets_of_zero_and_one():
    with pytest.raises(ProbeError, match="all 0 or 1 may mean several losses"):
        pair_outputs(Returns(torch.zeros(4)), (X, torch.tensor([0.0, 1.0, 1.0, 0.0])))


def test_pair_outputs_takes_squared_errors_for_real_targets():
    outputs = pair_outputs(Returns(torch.zeros(2, 2)), (X, torch.tensor([[1.0, 2.0], [3.0, 0.0]])))
    assert outputs.loss.tolist() == [2.5, 4.5]
    assert outputs.logits is None


def test_pair_outputs_drops_a_last_axis_of_one():
    assert pair_outputs(Returns(torch.zeros(2, 1)), (X, torch.tensor([2.0, 3.0]))).loss.tolist() == [4.0, 9.0]


def test_pair_outputs_refuses_outputs_that_would_broadcast():
    with pytest.raises(ProbeError, match="differ in shape"):
        pair_outputs(Returns(torch.zeros(4, 3)), (X, torch.tensor([2.0, 3.0, 4.0, 5.0])))


def test_pair_outputs_refuses_a_module_that_gives_no_tensor():
    with pytest.raises(ProbeError, match=r"module\(x\) gives a dict, expected a tensor"):
        pair_outputs(Returns({"a": X}), (X, LABELS))
