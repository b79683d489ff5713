# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.measures import (
    CyclicGroupTask,
    ExcludedLoss,
    ExcludedLossMax,
    TrainLoss,
    excluded_loss,
    excluded_loss_by_frequency,
    label_table,
)


def learner(build, *, p=23, op="add", freqs=(1, 2, 5)):
    task = CyclicGroupTask(p, op)
    train = build["random_split"](task, share=0.4, seed=0)
    return task, build["observe"](task, build["cosine_logits"](task, freqs), train)


def random_case(*, order=9, scale=3.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(order * order, order, generator=generator)).to(dtype)
    labels = torch.cartesian_prod(torch.arange(order), torch.arange(order)).sum(dim=1).remainder(order)
    train = torch.rand(order * order, generator=generator) < 0.5
    targets = torch.randint(order, labels.shape, generator=generator)
    return logits[train], labels[train], targets[train], label_table(logits, labels, order=order)


@pytest.mark.parametrize("p", [13, 23])
@pytest.mark.parametrize("op", ["add", "sub"])
def test_excluded_loss_of_a_learned_circuit_is_chance(build, p, op):
    task, observation = learner(build, p=p, op=op)
    # Removing all three frequencies leaves logits of exactly zero, up to rounding of numbers of 30.
    assert ExcludedLoss(task)(observation)["excluded_loss"] == pytest.approx(math.log(p), abs=1e-12)


def test_excluded_loss_of_a_lookup_table_is_its_training_loss(build):
    task = CyclicGroupTask(59, "add")
    train = build["random_split"](task, share=0.4, seed=0)
    observation = build["observe"](task, build["memorizer_logits"](task, train, gap=10, seed=1), train)
    # No held-out frequency beats the null, so nothing is removed.
    assert ExcludedLoss(task)(observation)["excluded_loss"] == TrainLoss()(observation)["train_loss"]


def test_excluded_loss_max_of_a_learned_circuit_exceeds_the_training_loss(build):
    task, observation = learner(build)
    # One of three equal frequencies gone: the loss of a circuit with the other two.
    _, two = learner(build, freqs=(1, 2))
    _, others = learner(build, freqs=(1, 5))
    _, last = learner(build, freqs=(2, 5))
    expected = max(TrainLoss()(o)["train_loss"] for o in (two, others, last))
    assert ExcludedLossMax(task)(observation)["excluded_loss_max"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 30.0, 2000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_excluded_loss_by_frequency_equals_one_at_a_time(scale, dtype):
    logits, labels, targets, table = random_case(scale=scale, dtype=dtype)
    slow = [excluded_loss(logits, labels, targets, table=table, key_freqs=torch.tensor([k])).item() for k in range(1, 5)]
    fast = excluded_loss_by_frequency(logits, labels, targets, table=table)
    # Logs of sums and differences of numbers of order `scale`: 1e-16 of it per step; scale 2000 takes the path without sums.
    assert fast.tolist() == pytest.approx(slow, rel=1e-12)


def test_excluded_loss_by_frequency_covers_the_top_frequency_of_even_orders():
    logits, labels, targets, table = random_case(order=8)
    assert len(excluded_loss_by_frequency(logits, labels, targets, table=table)) == 4


def test_excluded_loss_of_no_frequency_is_the_plain_loss():
    logits, labels, targets, table = random_case()
    plain = torch.nn.functional.cross_entropy(logits, targets)
    value = excluded_loss(logits, labels, targets, table=table, key_freqs=torch.tensor([], dtype=torch.long))
    assert value.item() == pytest.approx(plain.item(), abs=1e-13)


def test_excluded_loss_with_fixed_frequencies_needs_no_heldout_selection(build):
    task, observation = learner(build)
    value = ExcludedLoss(task, key_freqs=[1, 2, 5])(observation)["excluded_loss"]
    assert value == pytest.approx(math.log(23), abs=1e-12)


@pytest.mark.parametrize("measure", [ExcludedLoss, ExcludedLossMax])
def test_excluded_losses_skip_where_the_probe_lacks_pairs(build, measure):
    task, observation = learner(build)
    del observation.split_outputs["heldout"]
    with pytest.raises(MeasureSkipped, match=r"needs 95% of all 529 pairs, the probe holds"):
        measure(task)(observation)


@pytest.mark.parametrize("measure", [ExcludedLoss, ExcludedLossMax])
def test_excluded_losses_skip_without_training_pairs(build, measure):
    task, observation = learner(build)
    del observation.split_outputs["train"]
    with pytest.raises(MeasureSkipped, match="no training pair of the task"):
        measure(task)(observation)
