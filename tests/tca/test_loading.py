# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp import measures
from lightning_interp.core.errors import ShapeError
from lightning_interp.tca.loading import carriers, class_loadings, gini, split_loadings, strongest

REPETITIONS = 400
# Each repetition raises a false alarm with probability .05 (99 permutations: exactly 5 of 100 ranks count). The standard
# error of the rate over 400 is .011; 3.5 of them on either side.
NOMINAL = pytest.approx(0.05, abs=0.038)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def classes_of(loadings, labels, heldout=None, *, permutations=99, seed=0):
    return class_loadings(loadings, labels, heldout, permutations=permutations, generator=seeded(seed))


def splits_of(loadings, heldout, labels=None, *, permutations=99, seed=0):
    return split_loadings(loadings, labels, heldout, permutations=permutations, generator=seeded(seed))


def rate(alarms):
    return sum(bool(alarm) for alarm in alarms) / REPETITIONS


def test_gini_equals_that_of_measures():
    amounts = normal(30, 4).square()
    # Sums of 30 terms.
    assert gini(amounts).tolist() == pytest.approx([measures.gini(column).item() for column in amounts.T], abs=1e-14)


@given(st.floats(1e-100, 1e100))
def test_gini_is_scale_and_permutation_invariant(scale):
    amounts = normal(20, 2).abs()
    assert gini(scale * amounts.flip(0)).tolist() == pytest.approx(gini(amounts).tolist(), abs=1e-14)


def test_gini_of_one_holder_is_one_minus_one_over_n_and_of_nothing_zero():
    assert gini(torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [7.0, 0.0]])).tolist() == [0.75, 0.0]


def test_gini_refuses_negative_amounts():
    with pytest.raises(ShapeError, match=r"gini: `amounts` needs one or more rows of finite amounts >= 0"):
        gini(torch.tensor([[1.0], [-1.0]]))


@pytest.mark.parametrize(
    ("amounts", "count"), [([1.0] * 10, 9), ([100.0] + [1.0] * 9, 1), ([4.0, 5.0, 1.0], 2), ([0.0, 0.0], 0), ([3.0], 1)]
)
def test_carriers_counts_the_fewest_entries_that_hold_the_share(amounts, count):
    assert carriers(torch.tensor(amounts)[:, None], 0.9).tolist() == [count]


def test_strongest_orders_by_magnitude_and_leaves_zeros_out():
    loadings = torch.tensor([[0.1, 0.0], [-0.5, 0.0], [0.3, 0.0], [0.0, -1.0]])
    assert strongest(loadings, 2) == [(1, 2), (3,)]


def test_class_loadings_family_false_alarm_rate_is_nominal():
    labels = torch.arange(48) % 6
    alarms = [any(classes_of(normal(48, 3, seed=seed), labels, seed=seed)) for seed in range(REPETITIONS)]
    assert rate(alarms) == NOMINAL


def test_class_loadings_false_alarm_rate_is_nominal_where_the_split_matters():
    # Held-out stimuli load three times as much, and class 0 is common among them: classes differ only through the split.
    heldout = torch.arange(60) >= 40
    labels = torch.where(torch.arange(60) % 4 == 0, 1, torch.where(heldout, 0, 2))
    labels[:6] = 0
    size = 1 + 2 * heldout.double()[:, None]
    stratified = [classes_of(size * normal(60, 2, seed=seed), labels, heldout, seed=seed) for seed in range(REPETITIONS)]
    assert rate(any(found) for found in stratified) == NOMINAL
    naive = [classes_of(size * normal(60, 2, seed=seed), labels, seed=seed) for seed in range(50)]
    assert sum(any(found) for found in naive) > 40  # the effect that stratifying takes away was there


def test_split_loadings_false_alarm_rate_is_nominal_where_classes_matter():
    # Class 0 loads three times as much and is common among held-out stimuli.
    labels = (torch.arange(60) % 3 > 0).long()
    heldout = (torch.arange(60) % 5 == 0) | ((labels == 0) & (torch.arange(60) % 2 == 0))
    size = 1 + 2 * (labels == 0).double()[:, None]

    def alarm(seed, labels):
        found = splits_of(size * normal(60, 2, seed=seed), heldout, labels, seed=seed)
        return any(split["p_value"] <= 0.05 for split in found)

    assert rate(alarm(seed, labels) for seed in range(REPETITIONS)) == NOMINAL
    assert sum(alarm(seed, None) for seed in range(50)) > 15


def test_class_loadings_finds_a_planted_class_of_either_sign():
    labels = torch.arange(80) % 8
    signs = torch.where(torch.arange(80) % 16 < 8, 1.0, -1.0).double()[:, None]
    hits = 0
    for seed in range(50):
        # Mean magnitude .8 elsewhere, 2.5 in class 3: with ten stimuli and deviations of .6 and 1, five deviations apart.
        loadings = normal(80, 2, seed=seed)
        loadings[:, :1] += torch.where(labels[:, None] == 3, 2.5 * signs, 0)
        first, second = classes_of(loadings, labels, seed=seed)
        hits += [entry["label"] for entry in first] == [3] and not second
    assert hits >= 42  # power near one, and false alarms beside it in at most one case of twenty


def test_class_loadings_finds_more_tests_than_plain_holm_could():
    # 30 classes and 4 components are 120 tests: Holm on counted p-values could report nothing with 199 permutations.
    labels = torch.arange(240) % 30
    loadings = normal(240, 4)
    loadings[labels == 7, 2] += 6
    found = classes_of(loadings, labels, permutations=199)
    assert [[entry["label"] for entry in classes] for classes in found] == [[], [], [7], []]
    assert found[2][0]["p_value"] == 1 / 200


def test_class_loadings_keep_the_users_labels_and_are_sorted_by_loading():
    labels = torch.tensor([-5, 11, 900, 3, 4, 5, 6, 7, 8, 9]).repeat(6)
    loadings = 0.01 * normal(60, 1)
    loadings[labels == 900, 0] -= 2
    loadings[labels == -5, 0] += 3
    (found,) = classes_of(loadings, labels)
    assert [entry["label"] for entry in found] == [-5, 900]
    assert found[0]["loading"] == pytest.approx(loadings[labels == -5].abs().mean().item())


def test_class_loadings_do_not_depend_on_the_scale_of_a_component():
    labels = torch.arange(60) % 4
    loadings = normal(60, 2)
    loadings[labels == 1] *= 3
    one, other = classes_of(loadings, labels), classes_of(loadings * torch.tensor([1e-8, 1e8]), labels)
    for before, after in zip(one, other, strict=True):
        assert [(entry["label"], entry["p_value"]) for entry in before] == [(e["label"], e["p_value"]) for e in after]


def test_class_loadings_z_does_not_depend_on_the_order_of_stimuli():
    labels, loadings = torch.arange(60) % 4, normal(60, 1)
    loadings[labels == 1] *= 4
    order = torch.randperm(60, generator=seeded(1))
    ((one,),), ((other,),) = classes_of(loadings, labels), classes_of(loadings[order], labels[order])
    # Sums in another order.
    assert one["z"] == pytest.approx(other["z"], rel=1e-12)
    assert (one["loading"], one["label"]) == (pytest.approx(other["loading"], rel=1e-12), other["label"])


def test_class_loadings_of_a_class_of_one_stimulus_can_stand_out():
    labels = torch.cat([torch.zeros(99, dtype=torch.long), torch.tensor([1])])
    loadings = 0.1 * normal(100, 1)
    loadings[-1] = 5
    (found,) = classes_of(loadings, labels)
    assert [entry["label"] for entry in found] == [1]
    # It is the largest of a hundred in one permutation out of a hundred, itself among them.
    assert found[0]["p_value"] <= 0.05


@pytest.mark.parametrize("loadings", [torch.zeros(12, 1), torch.full((12, 1), 1 / math.sqrt(12))])
def test_class_loadings_of_constant_loadings_are_none(loadings):
    assert classes_of(loadings.double(), torch.arange(12) % 3) == [()]


def test_class_loadings_of_one_class_are_none():
    assert classes_of(normal(12, 2), torch.zeros(12, dtype=torch.long)) == [(), ()]


def test_class_loadings_of_a_class_that_is_its_split_are_none():
    heldout = torch.arange(12) >= 6
    assert classes_of(normal(12, 1) + 9 * heldout.double()[:, None], heldout.long(), heldout) == [()]


@pytest.mark.parametrize("more", [True, False])
def test_split_loadings_finds_a_split_of_either_direction(more):
    heldout = torch.arange(80) % 3 == 0
    loadings = normal(80, 1) * torch.where(heldout == more, 3.0, 1.0)[:, None]
    (split,) = splits_of(loadings, heldout, torch.arange(80) % 4)
    assert split["p_value"] == 0.01
    assert (split["heldout"] > split["train"]) == more
    assert split["train"] == pytest.approx(loadings[~heldout].abs().mean().item())


@pytest.mark.parametrize("value", [True, False])
def test_split_loadings_of_one_split_are_none(value):
    assert splits_of(normal(9, 2), torch.full((9,), value)) == [None, None]


def test_split_loadings_where_every_class_lies_in_one_split_tell_nothing():
    heldout = torch.arange(12) >= 6
    (split,) = splits_of(normal(12, 1) + 9 * heldout.double()[:, None], heldout, heldout.long())
    assert split["p_value"] == 1
