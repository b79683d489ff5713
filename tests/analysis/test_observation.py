# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis import observation as under_test
from lightning_interp.analysis.module_pickle import pack_module, unpack_module
from lightning_interp.analysis.observation import SnapshotObservation, Watched
from lightning_interp.analysis.outputs import find_loss_source
from lightning_interp.analysis.replica import FactorySource, make_replica, swapped_weights
from lightning_interp.core.errors import MeasureSkipped, ProbeError
from lightning_interp.core.records import Probe, ProbeOutputs, ProbeSplit, Snapshot
from lightning_interp.measures import HeldoutAccuracy, HeldoutLoss, ScoreMargin, WeightNorm, score_margin


class Net(nn.Module):
    """A small classifier that counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)
        self.forwards = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        return self.last(self.act(self.first(x)))


def split(*sizes: int, seed: int) -> ProbeSplit:
    generator = torch.Generator().manual_seed(seed)
    return ProbeSplit(
        tuple((torch.randn(n, 3, generator=generator), torch.randint(2, (n,), generator=generator)) for n in sizes)
    )


PROBE = Probe(split(5, 2, seed=1), split(4, seed=2))


@pytest.fixture
def live() -> Net:
    torch.manual_seed(0)
    return Net()


def observe(live: nn.Module, *, probe: Probe | None = PROBE, layers: tuple[str, ...] = ("act",)):
    weights = {name: tensor.clone() for name, tensor in live.state_dict().items()}
    replica = unpack_module(pack_module(live), weights).eval()
    route = find_loss_source(replica, PROBE.train.batches[0], probe_step=None)
    watched = Watched(layers, tuple(weights))
    observation = SnapshotObservation(Snapshot(3, 0, weights), watched, {}, probe=probe, replica=replica, route=route)
    replica.forwards = 0
    return observation, replica


def whole(split_: ProbeSplit) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([x for x, _ in split_.batches]), torch.cat([y for _, y in split_.batches])


def test_observation_runs_no_forward_for_weights(live):
    observation, replica = observe(live)
    WeightNorm()(observation)
    assert replica.forwards == 0


def test_observation_runs_each_split_once(live):
    observation, replica = observe(live)
    for _ in range(3):
        observation.losses("train"), observation.outputs("train"), observation.activations("act", "train")
    assert replica.forwards == len(PROBE.train.batches)


def test_observation_joins_the_batches_of_a_split(live):
    observation, _ = observe(live)
    x, y = whole(PROBE.train)
    outputs = observation.outputs("train")
    # Logits of 5 + 2 rows and of 7 rows at once: the matrix product may sum its 4 terms in another order, a few float32
    # roundings (6e-8) of numbers of order 1.
    torch.testing.assert_close(outputs.logits, live(x).detach(), rtol=0, atol=1e-6)
    assert torch.equal(outputs.targets, y)
    assert torch.equal(observation.inputs("train"), x)


def test_observation_gives_losses_in_float64(live):
    observation, _ = observe(live)
    logits = observation.outputs("train").logits.double()
    assert torch.equal(observation.losses("train"), F.cross_entropy(logits, whole(PROBE.train)[1], reduction="none"))


def test_observation_gives_activations_of_a_layer(live):
    observation, _ = observe(live)
    x, _ = whole(PROBE.heldout)
    assert torch.equal(observation.activations("act", "heldout"), live.act(live.first(x)).detach())


def test_stored_activations_hold_train_before_heldout(live):
    observation, _ = observe(live)
    stored = observation.stored_activations["act"]
    parts = [observation.activations("act", name) for name in ("train", "heldout")]
    assert torch.equal(stored, torch.cat(parts))


def test_stored_activations_leave_out_layers_that_were_not_called(live):
    live.unused = nn.Linear(2, 2)
    observation, _ = observe(live, layers=("act", "unused"))
    assert list(observation.stored_activations) == ["act"]
    with pytest.raises(MeasureSkipped, match="layer `unused` gave no output per example"):
        observation.activations("unused", "train")


def test_gradients_equal_autograd_on_the_live_module(live):
    observation, _ = observe(live)
    x, y = whole(PROBE.train)
    F.cross_entropy(live(x).double(), y).backward()
    found = observation.gradients("train")
    assert set(found) == {name for name, _ in live.named_parameters()}
    for name, parameter in live.named_parameters():
        # Sums over 7 examples of products of order 1, in two batches and in one: under ten float32 roundings (6e-8).
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_gradients_weigh_batches_by_the_losses_that_count(live):
    (x, y), (x2, y2) = PROBE.train.batches
    ignoring = (x, torch.where(torch.arange(5) < 4, -100, y))
    observation, _ = observe(live, probe=Probe(ProbeSplit((ignoring, (x2, y2)))))
    F.cross_entropy(live(torch.cat([x[4:], x2])).double(), torch.cat([y[4:], y2])).backward()
    # As above: three examples, float32.
    torch.testing.assert_close(observation.gradients("train")["first.weight"], live.first.weight.grad, rtol=1e-5, atol=1e-6)


def test_gradients_leave_none_behind(live):
    observation, replica = observe(live)
    observation.gradients("train")
    assert all(parameter.grad is None for parameter in replica.parameters())


def test_loss_at_replaces_weights_and_puts_them_back(live):
    observation, replica = observe(live)
    before = {name: tensor.clone() for name, tensor in replica.state_dict().items()}
    zeroed = {"last.weight": torch.zeros(2, 4), "last.bias": torch.zeros(2)}
    # Equal logits: ln 2, one float64 rounding.
    assert observation.loss_at(zeroed, "train").item() == pytest.approx(0.6931471805599453, abs=2e-16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in replica.state_dict().items())


def test_loss_at_without_changes_is_the_loss(live):
    observation, _ = observe(live)
    assert observation.loss_at({}, "train") == observation.losses("train").mean()


def test_swapped_weights_puts_weights_back_after_an_error(live):
    before = live.first.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), swapped_weights(live, {"first.weight": torch.zeros(4, 3)}):
        raise ZeroDivisionError
    assert torch.equal(live.first.weight, before)


def test_swapped_weights_names_a_weight_that_is_not_there(live):
    with pytest.raises(KeyError, match="no weight named 'nothing'"), swapped_weights(live, {"nothing": torch.zeros(1)}):
        pass


def test_observation_of_a_replica_leaves_the_live_module_in_training_mode(live):
    live.drop = nn.Dropout(0.5)
    before = copy.deepcopy(live.state_dict())
    observation, replica = observe(live.train())
    observation.gradients("train")
    assert live.training
    assert not replica.training
    assert all(parameter.grad is None for parameter in live.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in live.state_dict().items())


class Drawing(Net):
    """Draws random numbers in evaluation, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + torch.randn_like(x))


def test_observation_of_a_module_that_draws_is_repeatable_and_moves_no_stream():
    torch.manual_seed(0)
    live = Drawing()
    before = torch.get_rng_state()
    one, other = (observe(live)[0] for _ in range(2))
    torch.set_rng_state(before)
    assert torch.equal(one.losses("train"), other.losses("train"))
    assert torch.equal(one.gradients("train")["last.weight"], other.gradients("train")["last.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_observation_skips_what_needs_a_split_that_is_not_there(live):
    observation, _ = observe(live, probe=Probe(PROBE.train))
    assert not observation.has_split("heldout")
    with pytest.raises(MeasureSkipped, match="no held-out data"):
        observation.losses("heldout")


def test_observation_skips_what_needs_a_replica():
    observation = SnapshotObservation(Snapshot(0, 0, {}), Watched((), ()), {}, probe=PROBE)
    with pytest.raises(MeasureSkipped, match=r"needs a replica of the module.*weights only"):
        observation.losses("train")


def test_factory_source_loads_the_snapshots_weights(live):
    weights = dict(live.state_dict())
    replica = make_replica(FactorySource(Net), Snapshot(0, 0, weights), device=torch.device("cpu"))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in replica.state_dict().items())
    assert not replica.training


def test_factory_source_loads_under_wrapper_prefixes(live):
    source = FactorySource(lambda: nn.ModuleDict({"module": Net()}))
    replica = source(Snapshot(0, 0, dict(live.state_dict())))
    assert torch.equal(replica["module"].first.weight, live.first.weight)


def test_replicas_of_a_factory_keep_their_weights_when_the_next_one_is_made():
    source = FactorySource(lambda: nn.Linear(600, 600, dtype=torch.float64))  # large enough for memory to be used again
    draws = [{"weight": torch.randn(600, 600).double(), "bias": torch.randn(600).double()} for _ in range(4)]
    replicas = [source(Snapshot(step, 0, weights)) for step, weights in enumerate(draws)]
    assert all(torch.equal(made.weight, drawn["weight"]) for made, drawn in zip(replicas, draws, strict=True))


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2), lambda: 1 / 0], ids=["other module", "failing"])
def test_factory_source_says_when_the_factory_does_not_fit(live, build):
    with pytest.raises(ProbeError, match="module=: the factory's module does not take the snapshot"):
        FactorySource(build)(Snapshot(0, 0, dict(live.state_dict())))


def test_logits_are_let_go_while_they_stream_once_they_pass_the_cap(live, monkeypatch):
    monkeypatch.setattr(under_test, "LOGITS_CAP", 5 * 2 * 4)  # the first batch fits: 5 examples, 2 classes, float32
    kept: list[int] = []
    take = under_test._CappedLogits.take

    def counted(self, outputs):
        found = take(self, outputs)
        kept.append(sum(part.logits is not None for part in (*self._outputs, found)))
        return found

    monkeypatch.setattr(under_test._CappedLogits, "take", counted)
    outputs = observe(live)[0].outputs("train")
    assert kept == [1, 0]
    assert (outputs.logits, outputs.targets, len(outputs.loss)) == (None, None, 7)


def scores_alone(module, batch):
    """Examples of which nobody knows the class, one of three."""
    logits = F.pad(module(batch[0]), (0, 1))
    return ProbeOutputs(torch.full((len(logits),), torch.nan), logits)


def test_examples_without_labels_have_margins_but_no_loss(live):
    weights = {name: tensor.clone() for name, tensor in live.state_dict().items()}
    route = find_loss_source(live, PROBE.train.batches[0], probe_step=scores_alone)
    watched = Watched((), tuple(weights))
    observation = SnapshotObservation(Snapshot(3, 0, weights), watched, {}, probe=PROBE, replica=live.eval(), route=route)
    x = whole(PROBE.heldout)[0]
    expected = score_margin(scores_alone(live, (x,)).logits).mean().item()
    assert ScoreMargin()(observation)["heldout_margin"] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(MeasureSkipped, match="heldout examples have no labels"):
        HeldoutLoss()(observation)
    with pytest.raises(MeasureSkipped, match="no known classes"):
        HeldoutAccuracy()(observation)


def test_a_step_that_writes_into_its_batch_finds_it_as_it_was_the_next_time(live):
    def writes(module, batch):
        batch[0].add_(1.0)
        return ProbeOutputs(F.cross_entropy(module(batch[0]), batch[1], reduction="none"))

    probe = Probe(split(5, 2, seed=1))
    replica = make_replica(FactorySource(lambda: live), Snapshot(0, 0, live.state_dict()), device=torch.device("cpu"))
    watched, route = Watched((), ()), find_loss_source(replica, probe.train.batches[0], probe_step=writes)
    losses = [
        SnapshotObservation(Snapshot(step, 0, {}), watched, {}, probe=probe, replica=replica, route=route).losses("train")
        for step in range(2)
    ]
    assert torch.equal(*losses)
