# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import ProbeOutputs
from lightning_interp.measures import (
    HeldoutAccuracy,
    HeldoutLoss,
    LossGap,
    TrainAccuracy,
    TrainLoss,
    accuracy,
    cross_entropy,
)
from lightning_interp.measures import losses as losses_module


@pytest.fixture
def observation(fake, build):
    generator = torch.Generator().manual_seed(0)
    parts = {
        split: build["classified"](torch.randn(n, 5, generator=generator), torch.randint(5, (n,), generator=generator))
        for split, n in (("train", 20), ("heldout", 30))
    }
    return fake(split_outputs=parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_equals_the_definition_written_out(dtype):
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    targets = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    slow = [math.log(sum(math.exp(v) for v in row)) - row[t] for row, t in zip(logits.tolist(), targets, strict=True)]
    # Both sides are a few float64 operations on numbers of order 1: rounding of order 1e-16 each.
    torch.testing.assert_close(cross_entropy(logits, targets), torch.tensor(slow, dtype=torch.float64), rtol=0, atol=1e-14)


def test_cross_entropy_resolves_losses_float32_cannot(build):
    logits = torch.tensor([[30.0, 0.0]])
    # ln(1 + e^-30) = 9.36e-14; float64 log-softmax rounds 1 + x at 1.1e-16, so the error is under 2.3e-16.
    assert cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(math.log1p(math.exp(-30)), abs=2.3e-16)


def test_cross_entropy_of_equal_logits_is_log_classes():
    # ln 113 = 4.73 rounds at 9e-16.
    assert cross_entropy(torch.zeros(3, 113), torch.tensor([0, 50, 112])).tolist() == pytest.approx(
        [math.log(113)] * 3, abs=2e-15
    )


def test_cross_entropy_does_not_depend_on_chunks(monkeypatch):
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(2))
    targets = torch.arange(10) % 3
    whole = cross_entropy(logits, targets)
    monkeypatch.setattr(losses_module, "CHUNK_ELEMENTS", 7)
    assert torch.equal(cross_entropy(logits, targets), whole)


def test_cross_entropy_accepts_bfloat16():
    assert cross_entropy(torch.zeros(1, 2, dtype=torch.bfloat16), torch.tensor([1])).dtype == torch.float64


def test_cross_entropy_names_targets_out_of_range():
    with pytest.raises(ShapeError, match=r"`targets` must lie in 0 \.\. 2, got -100 \.\. 1.*ignored"):
        cross_entropy(torch.zeros(2, 3), torch.tensor([-100, 1]))


def test_accuracy_is_the_share_of_correct_rows():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])).item() == 0.75


def test_accuracy_of_no_examples_is_refused():
    with pytest.raises(ShapeError, match="one example or more"):
        accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


def test_loss_measures_are_means_over_their_split(observation):
    for measure, split in ((TrainLoss(), "train"), (HeldoutLoss(), "heldout")):
        assert measure(observation) == {f"{split}_loss": observation.losses(split).mean().item()}


def test_loss_gap_is_heldout_minus_train(observation):
    gap = observation.losses("heldout").mean() - observation.losses("train").mean()
    assert LossGap()(observation)["loss_gap"] == gap.item()


def test_accuracy_measures_equal_the_argmax_share(observation):
    for measure, split in ((TrainAccuracy(), "train"), (HeldoutAccuracy(), "heldout")):
        outputs = observation.outputs(split)
        right = sum(int(row.argmax()) == int(t) for row, t in zip(outputs.logits, outputs.targets, strict=True))
        assert measure(observation) == {f"{split}_accuracy": right / len(outputs.targets)}


def test_losses_work_without_logits(fake):
    loss = torch.tensor([1.0, 3.0])
    assert TrainLoss()(fake(split_outputs={"train": ProbeOutputs(loss=loss)})) == {"train_loss": 2.0}


def test_heldout_loss_skips_without_heldout_data(fake):
    with pytest.raises(MeasureSkipped, match="no heldout examples: give the trainer a validation loader"):
        HeldoutLoss()(fake(split_outputs={"train": ProbeOutputs(loss=torch.ones(2))}))


def test_accuracy_skips_without_logits(fake):
    with pytest.raises(MeasureSkipped, match="no class scores"):
        TrainAccuracy()(fake(split_outputs={"train": ProbeOutputs(loss=torch.ones(2))}))


def test_train_loss_skips_where_it_is_not_finite(fake):
    with pytest.raises(MeasureSkipped, match="train loss is not finite"):
        TrainLoss()(fake(split_outputs={"train": ProbeOutputs(loss=torch.tensor([1.0, float("nan")]))}))


def test_accuracy_skips_where_the_data_mark_ignored_examples(fake):
    outputs = ProbeOutputs(loss=torch.ones(2), logits=torch.zeros(2, 3), targets=torch.tensor([1, -100]))
    with pytest.raises(MeasureSkipped, match=r"train targets lie in -100 \.\. 1.*leave out ignored examples"):
        TrainAccuracy()(fake(split_outputs={"train": outputs}))


def test_accuracy_skips_where_logits_are_not_finite(fake):
    outputs = ProbeOutputs(loss=torch.ones(1), logits=torch.tensor([[float("inf"), 0.0]]), targets=torch.tensor([1]))
    with pytest.raises(MeasureSkipped, match="some train logits are not finite"):
        TrainAccuracy()(fake(split_outputs={"train": outputs}))
