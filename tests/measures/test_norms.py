# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.measures import WeightNorm, WeightNormSlope, l2_norm, log_log_slope, theil_sen_slope


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_l2_norm_equals_the_norm_of_all_entries(dtype):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 4, generator=generator).to(dtype), torch.randn(5, generator=generator).to(dtype)]
    slow = math.sqrt(sum(float(value) ** 2 for tensor in tensors for value in tensor.flatten()))
    # 17 float64 squares and sums, in another order: a few units of 1e-16.
    assert l2_norm(tensors).item() == pytest.approx(slow, rel=1e-14)


def test_l2_norm_does_not_overflow_in_half_precision():
    assert l2_norm([torch.full((4,), 6e4, dtype=torch.float16)]).item() == 2 * float(torch.tensor(6e4).half())


def test_weight_norm_counts_tied_tensors_once(fake):
    shared = torch.full((2, 2), 3.0)
    assert WeightNorm()(fake(weights={"a": shared, "b": shared}))["weight_norm"] == 6.0


def test_weight_norm_reports_matrices_but_not_vectors(fake):
    weights = {"w": torch.ones(2, 2), "bias": torch.ones(5), "conv": torch.ones(1, 1, 3, 3)}
    values = WeightNorm()(fake(weights=weights))
    assert values == {"weight_norm": math.sqrt(18), "weight_norm/w": 2.0, "weight_norm/conv": 3.0}


def test_weight_norm_ignores_integers_and_what_is_not_selected(fake):
    weights = {"w": torch.ones(4), "count": torch.tensor([9]), "other": torch.ones(9)}
    assert WeightNorm()(fake(weights=weights, selected=("w", "count"))) == {"weight_norm": 2.0}


def test_weight_norm_skips_with_the_name_of_a_tensor_that_is_not_finite(fake):
    with pytest.raises(MeasureSkipped, match="weight w is not finite"):
        WeightNorm()(fake(weights={"w": torch.tensor([1.0, float("inf")])}))


def test_weight_norm_skips_where_nothing_is_selected(fake):
    with pytest.raises(MeasureSkipped, match="pass parameters="):
        WeightNorm()(fake(weights={}))


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=8))
def test_theil_sen_slope_equals_the_median_over_pairs(values):
    x = list(range(len(values)))
    pairs = sorted((values[j] - values[i]) / (j - i) for i in x for j in x if i < j)
    middle = (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2
    slope = theil_sen_slope(torch.tensor(x).double(), torch.tensor(values).double()).item()
    # Quotients of small integers and one interpolation: rounding of order 1e-16 of values up to 200.
    assert slope == pytest.approx(middle, abs=1e-12)


def test_theil_sen_slope_ignores_one_outlier():
    x = torch.arange(8).double()
    y = 2 * x
    y[5] = 1e6
    # 21 of 28 pairs have the exact slope 2, so the median is exact.
    assert theil_sen_slope(x, y).item() == 2.0


def test_theil_sen_slope_refuses_positions_that_do_not_increase():
    with pytest.raises(ShapeError, match="increasing positions"):
        theil_sen_slope(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0]))


def test_log_log_slope_is_the_exponent_of_a_power_law():
    steps = [0, 1, 3, 7, 15]
    # Logs of order 1 carry 1e-16, divided by log distances of at least 0.69.
    assert log_log_slope(steps, [5 * (s + 1) ** -0.4 for s in steps]).item() == pytest.approx(-0.4, abs=1e-14)


def slope_observation(fake, past, *, step=31, norm=1.0):
    return fake(step=step, weights={"w": torch.tensor([norm])}, past={"weight_norm": past})


def test_weight_norm_slope_joins_history_and_present(fake):
    past = ([0, 1, 3, 7, 15], [32.0, 16.0, 8.0, 4.0, 2.0])
    # norm = 32 / (step + 1), exponent -1; logs carry 1e-16.
    assert WeightNormSlope()(slope_observation(fake, past))["weight_norm_slope"] == pytest.approx(-1, abs=1e-14)


def test_weight_norm_slope_uses_the_last_eight_points_only(fake):
    steps = [2**k - 1 for k in range(12)]
    norms = [1e6] * 5 + [2.0**-k for k in range(5, 12)]
    observation = slope_observation(fake, (steps, norms), step=2**12 - 1, norm=2.0**-12)
    assert WeightNormSlope()(observation)["weight_norm_slope"] == pytest.approx(-1, abs=1e-14)


def test_weight_norm_slope_ignores_points_of_later_steps(fake):
    past = ([0, 1, 3, 100], [8.0, 4.0, 2.0, 77.0])
    value = WeightNormSlope()(slope_observation(fake, past, step=7))["weight_norm_slope"]
    assert value == pytest.approx(-1, abs=1e-14)


def test_weight_norm_slope_skips_under_three_points(fake):
    with pytest.raises(MeasureSkipped, match="needs 3 snapshots with a weight norm, so far 2"):
        WeightNormSlope()(slope_observation(fake, ([0], [1.0])))
