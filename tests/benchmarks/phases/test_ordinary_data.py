# SPDX-License-Identifier: Apache-2.0
"""Data of ordinary trainings, and what the best constant answer to it gets."""

import math
from dataclasses import replace

import pytest
import torch
from ordinary.examples import split
from ordinary.families import all_ordinary
from ordinary.made import subjects
from ordinary.nulls import null_error, null_loss
from ordinary.training import losses, make_split

SPECS = {spec.name: spec for spec in all_ordinary()}


def made(name, **changes):
    spec = replace(SPECS[name], **changes)
    return spec, make_split(spec)


@pytest.mark.parametrize(
    "name", ["gaussian_overlap-s1-s0", "friedman_units-shifted-s0", "multilabel_rules-few-s0", "imbalanced_rule-p01-s0"]
)
def test_no_constant_answer_beats_the_null(name):
    spec, data = made(name)
    answers, classes = data.heldout.answers, data.heldout.classes
    null = null_loss(answers, classes, spec.loss)
    constant = torch.zeros(classes or answers.shape[1], dtype=torch.float64, requires_grad=True)
    if not classes:
        with torch.no_grad():
            constant += answers.double().mean(0) + answers.double().std(0)
    optimizer = torch.optim.LBFGS([constant], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = losses(constant.expand(len(answers), -1), answers, spec.loss).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    # a minimum that a search came to lies over the closed form by no more than its tolerance
    found = closure().item()
    assert null <= found * (1 + 1e-9) and found == pytest.approx(null, rel=1e-3)


def test_null_of_classes_and_of_their_one_hot_squared_error():
    answers = torch.tensor([0, 0, 0, 1])
    assert null_loss(answers, 2, "cross_entropy") == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert null_loss(answers, 2, "mse_one_hot") == pytest.approx(0.75 * 0.25)
    assert null_error(answers, 2) == 0.25 and null_error(answers.float(), None) is None


def test_flipped_labels_are_counted_and_change_one_side_alone():
    _, plain = made("digits_noise_train-p4-s0", flip_train=0.0)
    _, flipped = made("digits_noise_train-p4-s0")
    assert (flipped.flipped_train, flipped.flipped_heldout) == (pytest.approx(0.4), 0.0)
    assert torch.equal(plain.heldout.answers, flipped.heldout.answers)
    assert torch.equal(plain.train.inputs, flipped.train.inputs)


def test_permuted_answers_keep_their_shares():
    _, plain = made("random_labels_digits-decay0-s0", shuffled=False)
    _, mixed = made("random_labels_digits-decay0-s0")
    assert torch.equal(plain.train.answers.bincount(), mixed.train.answers.bincount())
    assert mixed.flipped_train > 0.8


def test_a_target_in_another_unit_is_the_same_task():
    _, unit = made("friedman_units-unit-s0")
    _, shifted = made("friedman_units-shifted-s0")
    assert torch.equal(unit.train.inputs, shifted.train.inputs)
    assert torch.allclose(shifted.train.answers, 30 * unit.train.answers + 100, atol=1e-3)


def test_the_examples_of_a_person_lie_on_one_side():
    examples = subjects(seed=0)
    data = split(examples, SPECS["subjects_by_lot-each20-s0"])
    assert not set(data.train.groups.tolist()) & set(data.heldout.groups.tolist())


def test_sides_share_no_example():
    _, data = made("digits_mlp-w32-s0")
    rows = {tuple(row) for row in data.train.inputs.flatten(1).tolist()}
    assert not any(tuple(row) in rows for row in data.heldout.inputs.flatten(1).tolist())


def test_more_examples_than_there_are_cannot_be_asked_for():
    with pytest.raises(ValueError, match="has 178 examples, 300 are asked for"):
        made("wine_small-mlp-s0", train=200, heldout=100)
