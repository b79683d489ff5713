# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch.nn import functional as F

from lightning_interp.measures import (
    ShuffledLoss,
    cross_entropy,
    exchanged_cross_entropy,
    null_of_binary_labels,
    null_of_classes,
    null_of_squared_error,
)
from lightning_interp.measures import null_loss as module


def random_case(examples=40, classes=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(examples, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes - 1, (examples,), generator=generator)  # the last class is no answer


def test_null_of_classes_at_99_to_1_is_a_fifth_of_a_tenth_of_a_bit():
    found = null_of_classes(torch.tensor([0] * 99 + [1]))
    assert found.loss == pytest.approx(-0.99 * math.log(0.99) - 0.01 * math.log(0.01), rel=1e-13)
    assert (found.error, found.heldout_examples) == (pytest.approx(0.01, rel=1e-13), 100)


def test_null_of_classes_is_what_the_best_constant_scores_get():
    _, targets = random_case()
    scores = torch.bincount(targets, minlength=6).double().log().clamp(min=-1e3).expand(40, 6)
    assert null_of_classes(targets).loss == pytest.approx(cross_entropy(scores, targets).mean().item(), rel=1e-13)


def test_null_of_squared_error_is_the_variance_about_the_train_mean_whatever_the_unit():
    train, heldout = torch.tensor([[1.0, 10.0], [3.0, 10.0]]), torch.tensor([[4.0, 10.0], [0.0, 16.0]])
    assert null_of_squared_error(train, heldout).loss == (4 + 0 + 4 + 36) / 4
    assert null_of_squared_error(1000 * train, 1000 * heldout).loss == 11e6


def test_null_of_binary_labels_is_the_cross_entropy_of_train_rates():
    train, heldout = torch.tensor([[1, 0], [1, 0], [0, 0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    rates = torch.tensor([2.5 / 4, 0.5 / 4]).expand(2, 2).double()
    expected = F.binary_cross_entropy(rates, heldout.double()).item()
    assert null_of_binary_labels(train, heldout).loss == pytest.approx(expected, rel=1e-13)


def test_exchanged_cross_entropy_is_the_mean_over_all_pairs_of_prediction_and_answer(monkeypatch):
    logits, targets = random_case()
    pairs = [F.cross_entropy(row, answer).item() for row in logits for answer in targets]
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 30)
    # 1,600 terms of order 3: rounding of order 1e-14.
    assert exchanged_cross_entropy(logits, targets).item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0, -5.0])
def test_exchanged_cross_entropy_is_never_under_the_null(strength):
    logits, targets = random_case()
    logits += strength * F.one_hot(targets, 6)
    assert exchanged_cross_entropy(logits, targets) >= null_of_classes(targets).loss - 1e-13


def test_exchanged_cross_entropy_of_the_best_constant_scores_is_the_null():
    _, targets = random_case()
    scores = torch.bincount(targets, minlength=6).double().log().expand(40, 6)  # minus infinity for what never occurs
    assert exchanged_cross_entropy(scores, targets).item() == pytest.approx(null_of_classes(targets).loss, rel=1e-13)


def test_the_measure_gives_what_the_observation_has(fake, build):
    outputs = build["classified"](*random_case())
    expected = exchanged_cross_entropy(*random_case()).item()
    assert ShuffledLoss()(fake(split_outputs={"heldout": outputs})) == {"shuffled_loss": expected}
