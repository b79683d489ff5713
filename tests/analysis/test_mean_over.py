# SPDX-License-Identifier: Apache-2.0
"""Losses of token models: the loss of a split is what the module gives for it as one batch."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis.mean_over import MeanOver, find_mean_over, weighted_mean
from lightning_interp.analysis.observation import SnapshotObservation, Watched, find_loss_weights
from lightning_interp.analysis.outputs import LossSource
from lightning_interp.core.records import Probe, ProbeOutputs, ProbeSplit, Snapshot

LENGTH, WORDS = 8, 11


def tokens(examples: int, seed: int, *, ignored: int = -100):
    """(ids, mask, labels) of sequences of 2 to 8 tokens; what is beyond has no label, and neither has every third token."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, WORDS, (examples, LENGTH), generator=generator)
    lengths = torch.randint(2, LENGTH + 1, (examples,), generator=generator)
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    asked = (mask == 1) & (torch.rand(ids.shape, generator=generator) < 0.6)
    asked[:, 1] = True
    return ids * mask, mask, torch.where(asked, ids.roll(-1, 1), ignored)


class Reader(nn.Module):
    """Predicts a word at each place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(WORDS, 16), nn.Linear(16, WORDS)

    def each(self, ids, labels, ignored=-100):
        scores = self.head(self.embed(ids)).transpose(1, 2)
        return F.cross_entropy(scores, labels, ignore_index=ignored, reduction="none")


def ignoring(module, batch):
    ids, _, labels = batch
    return F.cross_entropy(module.head(module.embed(ids)).transpose(1, 2), labels)


def predicting_next(module, batch):
    ids, _, labels = batch
    return F.cross_entropy(module.head(module.embed(ids))[:, :-1].transpose(1, 2), labels[:, 1:])


def masked(module, batch):
    ids, mask, _ = batch
    return (module.each(ids, ids.roll(-1, 1)) * mask).sum() / mask.sum()


def of_each_then_mean(module, batch):
    ids, _, labels = batch
    return (module.each(ids, labels).sum(1) / (labels != -100).sum(1)).mean()


def summed(module, batch):
    return module.each(batch[0], batch[2]).sum()


LOSSES = {
    "ignored targets": (ignoring, "2:-100:0"),
    "the next token": (predicting_next, "2:-100:1"),
    "a mask": (masked, "1:None:0"),
    "examples": (of_each_then_mean, "examples"),
    "a sum": (summed, "examples"),
}
BATCHES = (tokens(6, 1), tokens(6, 2), tokens(3, 3))


def route(loss):
    return LossSource("validation_step", lambda module, batch: ProbeOutputs(loss(module, batch)), "")


def observed(loss, batches, mean_over):
    module = Reader()
    probe = Probe(ProbeSplit(batches))
    observation = SnapshotObservation(
        Snapshot(0, 0, module.state_dict()), Watched((), ()), {}, probe=probe, replica=module, route=route(loss)
    )
    observation.mean_over = mean_over
    return observation, module


@pytest.mark.parametrize("kind", LOSSES)
def test_what_a_mean_loss_is_over_is_told_by_a_test(kind):
    loss, name = LOSSES[kind]
    found = find_loss_weights(Reader(), route(loss), ProbeSplit(BATCHES))
    assert found.name == name
    assert MeanOver.of(found.name) == found


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind != "a sum"])
def test_the_loss_of_a_split_is_that_of_it_as_one_batch(kind):
    loss, _ = LOSSES[kind]
    found = find_loss_weights(Reader(), route(loss), ProbeSplit(BATCHES))
    observation, module = observed(loss, BATCHES, found)
    whole = tuple(torch.cat(parts) for parts in zip(*BATCHES, strict=True))
    # float32 losses of three batches and of all at once: a few roundings of 6e-8 each
    assert observation.losses("train").item() == pytest.approx(loss(module, whole).item(), rel=1e-6)
    own = copy.deepcopy(module)
    loss(own, whole).backward()
    torch.testing.assert_close(observation.gradients("train")["head.weight"], own.head.weight.grad, rtol=1e-4, atol=1e-7)


def test_padding_by_another_number_is_found():
    batches = tuple(tokens(6, seed, ignored=0) for seed in (1, 2))
    found = find_mean_over(batches, lambda batch: Reader().each(*batch[::2], 0).sum().item() / (batch[2] != 0).sum().item())
    assert found == MeanOver(2, 0)


def test_lengths_count():
    lengths = torch.tensor([1, 4, 2, 8])
    found = find_mean_over(
        ((torch.rand(4, 8), lengths),), lambda batch: (batch[0].sum(1) * batch[1]).sum().item() / batch[1].sum().item()
    )
    assert found == MeanOver(1)


def test_a_batch_without_targets_that_count_does_not_count():
    ids, mask, labels = BATCHES[0]
    batches = (BATCHES[0], (ids, mask, torch.full_like(labels, -100)))
    observation, module = observed(ignoring, batches, MeanOver(2, -100))
    assert observation.losses("train").item() == pytest.approx(ignoring(module, BATCHES[0]).item(), rel=1e-6)


def test_where_examples_are_all_alike_nothing_is_asked():
    def never(batch):
        raise AssertionError

    assert find_mean_over(((torch.rand(4, 3), torch.rand(4)), torch.rand(4, 3)), never) == MeanOver()


def test_equal_losses_tell_nothing_yet():
    assert find_mean_over(BATCHES, lambda _: 2.5) is None


def test_losses_of_each_example_need_no_test():
    by_example = LossSource("probe_step", lambda module, batch: ProbeOutputs(batch[0].double().mean(1)), "")
    assert find_loss_weights(Reader(), by_example, ProbeSplit(BATCHES)) == MeanOver()


def test_weighted_mean_is_over_what_counts():
    assert weighted_mean(torch.tensor([1.0, 4.0, float("nan")]).double(), [1.0, 2.0, 0.0]).item() == 3.0


def test_what_losses_of_low_precision_are_over_is_found():
    lengths = torch.tensor([1, 4, 2, 8])
    batch = (torch.tensor([[1.0], [9.0], [2.0], [30.1]]), lengths)

    def loss(module, batch):
        return ((batch[0].sum(1) * batch[1]).sum() / batch[1].sum()).bfloat16()

    assert find_loss_weights(Reader(), route(loss), ProbeSplit((batch,))) == MeanOver(1)


def test_losses_that_are_means_over_nothing_known_are_told_apart():
    found = find_mean_over(BATCHES, lambda batch: float(batch[0].sum()) ** 2)
    assert found == MeanOver()
    assert not found.fits
