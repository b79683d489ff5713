# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.measures import ActivationSparsity, gini, hoyer, near_zero_share

amounts = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


@given(amounts)
def test_gini_equals_half_the_relative_mean_absolute_difference(values):
    total = math.fsum(values)
    gaps = math.fsum(abs(x - y) for x in values for y in values)
    slow = gaps / (2 * len(values) * total) if total > 1e-200 else None
    if slow is not None:
        # Signed sums of at most 30 terms, each at most 30 times the total: 1e-13 covers the rounding.
        assert gini(tensor(values)).item() == pytest.approx(slow, abs=1e-13)


@given(amounts, st.floats(1e-3, 1e3))
def test_gini_is_scale_invariant(values, scale):
    # Rounding of the products moves each entry by 1e-16 relative; subnormal numbers are excluded by the shift.
    shifted = tensor(values) + 1e-3
    assert gini(shifted * scale).item() == pytest.approx(gini(shifted).item(), abs=1e-12)


@given(amounts.flatmap(lambda values: st.tuples(st.just(values), st.permutations(values))))
def test_gini_is_permutation_invariant(both):
    assert gini(tensor(both[0])).item() == gini(tensor(both[1])).item()


def test_gini_of_one_holder_is_one_minus_one_over_n():
    assert gini(tensor([0.0, 0.0, 0.0, 0.0, 7.0])).item() == pytest.approx(0.8, abs=1e-15)


@pytest.mark.parametrize("level", [0.0, 2.0])
def test_gini_of_equal_amounts_is_zero(level):
    assert gini(torch.full((9,), level)).item() == 0


def test_gini_of_float32_is_computed_in_float64():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert gini(values).item() == gini(values.double()).item()


def test_gini_refuses_negative_amounts():
    with pytest.raises(ShapeError, match=r"finite amounts >= 0, got \[1\.0, -2\.0\]"):
        gini(torch.tensor([1.0, -2.0]))


def test_hoyer_equals_the_definition_written_out():
    row = [3.0, -4.0, 0.0, 0.0]
    # |x|_1 = 7, |x|_2 = 5, n = 4: (2 - 7/5) / (2 - 1) = 0.6.
    assert hoyer(tensor([row])).tolist() == pytest.approx([0.6], abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hoyer_runs_from_zero_for_equal_units_to_one_for_one_active(dtype):
    # Ratios of square roots: rounding of order 1e-15.
    rows = torch.tensor([[5.0] * 9, [0.0] * 8 + [-2.0]], dtype=dtype)
    assert hoyer(rows).tolist() == pytest.approx([0, 1], abs=1e-14)


@given(st.floats(1e-150, 1e150))
def test_hoyer_is_scale_invariant_without_overflow(scale):
    row = tensor([[1.0, 2.0, -3.0]])
    assert hoyer(scale * row).item() == pytest.approx(hoyer(row).item(), abs=1e-14)


def test_hoyer_leaves_out_silent_stimuli():
    assert len(hoyer(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))) == 1


def test_hoyer_refuses_a_single_unit():
    with pytest.raises(ShapeError, match="two or more units"):
        hoyer(torch.ones(3, 1))


def test_near_zero_share_counts_entries_under_a_thousandth_of_the_rms():
    # rms = 0.5 for one 1 among three zeros-ish: threshold 5e-4; 4e-4 is under, 6e-4 over.
    assert near_zero_share(torch.tensor([[1.0, 4e-4], [6e-4, 0.0]])).item() == 0.5


def test_near_zero_share_of_a_dead_layer_is_one():
    assert near_zero_share(torch.zeros(2, 3)).item() == 1


def test_activation_sparsity_means_are_over_layers(fake):
    layers = {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[1.0, 1.0]])}
    values = ActivationSparsity()(fake(layer_values=layers))
    assert values["hoyer"] == pytest.approx(0.5, abs=1e-14)
    assert (values["near_zero_share/a"], values["near_zero_share/b"], values["near_zero_share"]) == (0.5, 0.0, 0.25)


def test_activation_sparsity_gives_no_hoyer_of_a_silent_layer(fake):
    values = ActivationSparsity()(fake(layer_values={"dead": torch.zeros(3, 4)}))
    assert values == {"near_zero_share": 1.0, "near_zero_share/dead": 1.0}


def test_activation_sparsity_skips_a_layer_that_is_not_finite(fake):
    with pytest.raises(MeasureSkipped, match="activations of mlp are not finite"):
        ActivationSparsity()(fake(layer_values={"mlp": torch.tensor([[float("nan"), 1.0]])}))
