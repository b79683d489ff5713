# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import ConfigError, MeasureSkipped
from lightning_interp.measures import (
    CyclicGroupTask,
    HeldoutLoss,
    RestrictedLoss,
    block_logits,
    cross_entropy,
    label_table,
    restricted_loss,
)


def memorizer(build, *, p=59, gap=10.0, seed=0):
    task = CyclicGroupTask(p, "add")
    train = build["random_split"](task, share=0.4, seed=seed)
    logits = build["memorizer_logits"](task, train, gap=gap, seed=seed + 10)
    return task, build["observe"](task, logits, train)


def learner(build, *, p, op="add", freqs=(1, 2, 5)):
    task = CyclicGroupTask(p, op)
    train = build["random_split"](task, share=0.4, seed=0)
    return task, build["observe"](task, build["cosine_logits"](task, freqs), train)


@pytest.mark.parametrize("gap", [5.0, 10.0, 20.0])
def test_restricted_loss_of_a_memorizer_is_chance_by_default(build, gap):
    task, observation = memorizer(build, gap=gap)
    value = RestrictedLoss(task)(observation)["restricted_loss"]
    # No frequency beats the null, so one fixed distribution predicts all pairs: at best the entropy of the label counts.
    # For N = 1250 pairs over 59 labels that is (59 - 1) / (2 N) = .023 below ln p.
    assert value > math.log(task.p) - 0.023


@pytest.mark.parametrize(("gap", "below"), [(5.0, 0.5), (10.0, 1.0), (20.0, 2.0)])
def test_restricted_loss_of_a_memorizer_goes_under_chance_with_paper_compat(build, gap, below):
    task, observation = memorizer(build, gap=gap)
    value = RestrictedLoss(task, paper_compat=True)(observation)["restricted_loss"]
    # Pooling hands 40 % trained answers to every held-out pair: their mean logit stands .4 gap above the other classes'.
    assert value < math.log(task.p) - below


def test_restricted_loss_of_a_memorizer_stays_at_chance_for_fixed_frequencies(build):
    task, observation = memorizer(build)
    value = RestrictedLoss(task, key_freqs=range(1, 6))(observation)["restricted_loss"]
    # Random answers at five frequencies carry no label: the expected loss is ln p and more; the scatter of the mean over
    # 1250 pairs of logits with sd gap sqrt(10 / (59 * 59 * 21)) = .1 is .1 / sqrt(59) = .015, three of them.
    assert value > math.log(task.p) - 0.045


@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("p", [13, 23])
def test_restricted_loss_of_a_learned_circuit_is_the_full_loss(build, p, op):
    task, observation = learner(build, p=p, op=op)
    full = HeldoutLoss()(observation)["heldout_loss"]
    # No one of three equal frequencies can be dropped. A label without a mirror-free pair gets no signal,
    # which costs the others about one part in p of their logits of 30: a few 1e-4.
    assert RestrictedLoss(task)(observation)["restricted_loss"] == pytest.approx(full, abs=1e-3)


def test_restricted_loss_is_exact_with_every_label_held_out(build):
    task = CyclicGroupTask(23, "add")
    train = build["random_split"](task, share=0.4, seed=0, unordered=True)
    observation = build["observe"](task, build["cosine_logits"](task, (1, 2, 5)), train)
    full = HeldoutLoss()(observation)["heldout_loss"]
    # All logits lie in the span kept; float64 rounding of logits of 30 is 1e-14.
    assert RestrictedLoss(task)(observation)["restricted_loss"] == pytest.approx(full, abs=1e-12)


def test_restricted_loss_of_a_learned_product_is_the_full_loss(build):
    task = CyclicGroupTask(13, "mul")
    train = build["random_split"](task, share=0.3, seed=1, unordered=True)
    pairs, answers = build["all_pairs"](task)
    logs = torch.tensor([0] + [next(e for e in range(12) if pow(2, e, 13) == x) for x in range(1, 13)])
    distance = (logs[answers][:, None] - logs).double()
    logits = 10 * (torch.cos(2 * torch.pi * distance / 12) + torch.cos(2 * torch.pi * 5 * distance / 12))
    nonzero = (pairs > 0).all(dim=1) & ~train
    full = cross_entropy(logits[nonzero][:, 1:], answers[nonzero] - 1).mean().item()
    value = RestrictedLoss(task)(build["observe"](task, logits, train))["restricted_loss"]
    assert value == pytest.approx(full, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_restricted_loss_equals_the_projection_of_every_pair(dtype):
    order, generator = 7, torch.Generator().manual_seed(0)
    logits = torch.randn(order, order, order, generator=generator).to(dtype)
    labels = torch.arange(order).repeat(order).sub(torch.arange(order).repeat_interleave(order)).remainder(order)
    pairs = torch.cartesian_prod(torch.arange(order), torch.arange(order)).double()
    angle = 2 * torch.pi * 2 * (pairs[:, 1] - pairs[:, 0]) / order
    directions = torch.stack([angle.cos(), angle.sin()]) / math.sqrt(order**2 / 2)
    flat = logits.flatten(0, 1).double()
    kept = directions.T @ (directions @ flat) + flat.mean(dim=0)
    slow = cross_entropy(kept, labels).mean()
    table = label_table(logits.flatten(0, 1), labels, order=order)
    fast = restricted_loss(table, labels, labels, key_freqs=torch.tensor([2]))
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-13)


def full_2d_blocks(cube, freqs, block):
    """Keep blocks of the 2-D transform by zeroing all other coefficients."""
    order = len(cube)
    from lightning_interp.measures.fourier import fourier_basis, row_frequencies

    basis, rows = fourier_basis(order), row_frequencies(order)
    spectrum = torch.einsum("ia,jb,abc->ijc", basis, basis, cube.double())
    mask = torch.zeros(order, order, dtype=torch.bool)
    mask[0, 0] = True
    for k in freqs:
        keep = (rows == k) | ((rows == 0) & (block == "3x3"))
        mask |= keep[:, None] & keep[None, :]
    return torch.einsum("ia,jb,ijc->abc", basis, basis, spectrum * mask[:, :, None])


@pytest.mark.parametrize("block", ["2x2", "3x3"])
@pytest.mark.parametrize("freqs", [(2,), (1, 3)])
def test_block_logits_equal_the_masked_2d_transform(block, freqs):
    cube = torch.randn(7, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = block_logits(cube, key_freqs=torch.tensor(freqs), block=block)
    torch.testing.assert_close(kept, full_2d_blocks(cube, freqs, block), rtol=0, atol=1e-13)


@pytest.mark.parametrize("block", ["2x2", "3x3"])
def test_restricted_loss_with_blocks_keeps_a_learned_circuit(build, block):
    task, observation = learner(build, p=13)
    measure = RestrictedLoss(task, pool="all", mirror_free=False, block=block)
    full = HeldoutLoss()(observation)["heldout_loss"]
    assert measure(observation)["restricted_loss"] == pytest.approx(full, abs=1e-12)


def test_restricted_loss_with_no_frequency_is_that_of_the_mean_logits():
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(5)
    value = restricted_loss(table, labels, labels, key_freqs=torch.tensor([], dtype=torch.long))
    slow = cross_entropy(table.mean(dim=0).expand(5, 5).contiguous(), labels).mean()
    assert value.item() == pytest.approx(slow.item(), abs=1e-15)


def test_restricted_loss_refuses_blocks_of_held_out_pairs():
    with pytest.raises(ConfigError, match="projects the table of all pairs: pass pool='all'"):
        RestrictedLoss(CyclicGroupTask(13, "add"), block="2x2")


def test_restricted_loss_refuses_frequencies_of_another_group():
    with pytest.raises(ConfigError, match=r"`key_freqs` must be integers in 1 \.\. 6, got \[7\]"):
        RestrictedLoss(CyclicGroupTask(13, "add"), key_freqs=[7])


def test_restricted_loss_skips_without_heldout_pairs(build):
    task, observation = learner(build, p=13)
    del observation.split_outputs["heldout"]
    with pytest.raises(MeasureSkipped, match="restricted_loss: 13 of 13 answers have no pair"):
        RestrictedLoss(task)(observation)


def test_restricted_loss_pooled_over_all_skips_at_low_coverage(build):
    task, observation = learner(build, p=13)
    outputs = observation.split_outputs["train"]
    observation.split_inputs["train"] = observation.split_inputs["train"][:5]
    observation.split_outputs["train"] = build["classified"](outputs.logits[:5], outputs.targets[:5])
    with pytest.raises(MeasureSkipped, match=r"needs 95% of all 169 pairs, the probe holds \d+\.\d%"):
        RestrictedLoss(task, paper_compat=True)(observation)
