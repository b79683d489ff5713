# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.tca.subset import highest_variance, stratified


def test_stratified_shares_places_in_proportion_to_split_then_class():
    labels = torch.arange(400) % 4
    heldout = torch.arange(400) >= 300
    kept = stratified(labels, heldout, count=400, most=80)
    assert len(kept) == 80
    assert heldout[kept].sum() == 20
    assert torch.bincount(labels[kept][~heldout[kept]]).tolist() == [15] * 4
    assert torch.bincount(labels[kept][heldout[kept]]).tolist() == [5] * 4


def test_stratified_gives_every_class_of_both_splits_a_place():
    labels = torch.cat([torch.zeros(990, dtype=torch.long), torch.arange(1, 11)])
    heldout = torch.arange(1000) % 2 == 0
    kept = stratified(labels, heldout, count=1000, most=20)
    assert set(labels[kept].tolist()) == set(range(11))


def test_stratified_spreads_over_more_classes_than_places_in_both_splits():
    labels = torch.arange(2000) // 2
    heldout = torch.arange(2000) % 2 == 0
    kept = stratified(labels, heldout, count=2000, most=100)
    assert heldout[kept].sum() == 50
    for split in (True, False):
        chosen = labels[kept][heldout[kept] == split]
        assert len(chosen.unique()) == 50
        # 50 of 1000 spread evenly lie 20 apart; by the three-gap theorem no gap is over 2.7 times that.
        assert chosen.sort().values.diff().max() <= 54


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8, 16, 59])
def test_stratified_without_labels_keeps_step_with_no_period(period):
    kept = stratified(None, None, count=59 * 64, most=256)
    phases = torch.bincount(kept % period, minlength=period)
    # A choice in step with the period (every 16th, say) would take some residues only. Within half of an even share,
    # and two stimuli where the share is small.
    assert (phases - 256 / period).abs().max() <= 128 / period + 2


@given(st.lists(st.tuples(st.integers(-3, 8), st.booleans()), min_size=1, max_size=60), st.integers(1, 70))
def test_stratified_keeps_distinct_stimuli_and_as_many_as_it_may(stimuli, most):
    labels, heldout = torch.tensor([label for label, _ in stimuli]), torch.tensor([out for _, out in stimuli])
    kept = stratified(labels, heldout, count=len(stimuli), most=most).tolist()
    assert len(kept) == min(most, len(stimuli))
    assert kept == sorted(set(kept))


def test_highest_variance_ignores_the_level_and_counts_scaled_snapshots():
    pattern = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    sizes = torch.tensor([[1.0, 0.0, 0.2], [0.0, 0.1, 0.2]], dtype=torch.float64)
    scales = torch.tensor([1.0, 1000.0], dtype=torch.float64)
    varying, constant = pattern * sizes[:, None, :], torch.full((2, 4, 1), 100.0, dtype=torch.float64)
    kept, share = highest_variance(torch.cat([varying, constant], dim=2) * scales[:, None, None], scales, 1)
    # Variances over both snapshots: (1 + 0) / 2, (0 + .01) / 2, .04, and 0 for the constant; .5 of .545 is kept.
    assert kept.tolist() == [0]
    assert share == pytest.approx(0.5 / 0.545, abs=1e-12)


def test_highest_variance_of_a_constant_tensor_keeps_the_first_units_and_all_variance():
    kept, share = highest_variance(torch.ones(2, 3, 4), torch.ones(2, dtype=torch.float64), 2)
    assert (kept.tolist(), share) == ([0, 1], 1.0)
