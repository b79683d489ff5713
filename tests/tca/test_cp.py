# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import tensorly
import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.tca import CPFit, fit_cp
from lightning_interp.tca.cp import arranged, khatri_rao

SHAPE = (5, 6, 7)


def random_fit(shape=SHAPE, rank=3, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, rank, generator=generator, dtype=dtype) for size in shape]
    weights = torch.randn(rank, generator=generator, dtype=dtype)
    return arranged(weights, factors, relative_error=0.1, converged=True, n_iter=7, flags=("degenerate",)), weights, factors


@pytest.fixture(params=["numpy", "pytorch"])
def backend(request):
    before = tensorly.get_backend()
    tensorly.set_backend(request.param)
    yield request.param
    tensorly.set_backend(before)


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 2), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arranged_keeps_the_model(planted, shape, dtype):
    fit, weights, factors = random_fit(shape, dtype=dtype)
    # a few roundings of each factor
    torch.testing.assert_close(fit.full().double(), planted.full(weights, factors), rtol=1e-5, atol=1e-5)


def test_arranged_makes_columns_of_unit_norm():
    fit, _, _ = random_fit()
    for factor in fit.factors:
        torch.testing.assert_close(factor.norm(dim=0), torch.ones(3, dtype=torch.float64))


def test_arranged_orders_by_descending_non_negative_weight():
    fit, weights, factors = random_fit()
    size = weights.abs() * torch.stack([factor.norm(dim=0) for factor in factors]).prod(dim=0)
    torch.testing.assert_close(fit.cp_weights, size.sort(descending=True).values)


@pytest.mark.parametrize("seed", range(5))
def test_arranged_leaves_sums_of_cubes_non_negative_but_for_axis_1(seed):
    fit, _, _ = random_fit((5, 6, 7, 4), rank=6, seed=seed)
    for axis in (0, 2, 3):
        assert bool((fit.factors[axis].pow(3).sum(dim=0) >= 0).all())


def test_arranged_leaves_a_column_of_zeros_finite_and_its_weight_zero():
    _, weights, factors = random_fit()
    factors[1][:, 2] = 0
    fit = arranged(weights, factors, relative_error=0.0, converged=True, n_iter=0)
    assert float(fit.cp_weights[-1]) == 0
    assert all(bool(torch.isfinite(factor).all()) for factor in fit.factors)


def test_arranged_of_a_zero_weight_does_not_lose_the_column():
    _, weights, factors = random_fit()
    weights[0] = 0
    fit = arranged(weights, factors, relative_error=0.0, converged=True, n_iter=0)
    torch.testing.assert_close(fit.factors[1][:, -1].norm(), torch.tensor(1.0, dtype=torch.float64))


def test_arranged_keeps_what_is_known_of_the_fit():
    fit, _, _ = random_fit()
    assert (fit.relative_error, fit.converged, fit.n_iter, fit.flags) == (0.1, True, 7, ("degenerate",))


@pytest.mark.parametrize("columns", [(3, 3, 2), (2, 2, 2)])
def test_arranged_refuses_factors_of_another_rank(columns):
    factors = [torch.ones(4, count) for count in columns]
    with pytest.raises(ShapeError, match=r"expected matrices with 3 columns, one per axis, got shapes \[\(4, "):
        arranged(torch.ones(3), factors, relative_error=0.0, converged=True, n_iter=0)


def test_shape_and_rank_are_those_of_the_tensor():
    fit, _, _ = random_fit()
    assert (fit.shape, fit.rank) == (SHAPE, 3)


def test_khatri_rao_lets_the_first_factor_vary_slowest():
    _, _, (a, b, c) = random_fit()
    rows = [[a[i, r] * b[j, r] * c[k, r] for r in range(3)] for i in range(5) for j in range(6) for k in range(7)]
    torch.testing.assert_close(khatri_rao([a, b, c]), torch.tensor(rows, dtype=torch.float64))


def test_variance_shares_are_squared_weights_and_add_up_to_one():
    fit, _, _ = random_fit()
    expected = fit.cp_weights.square() / fit.cp_weights.square().sum()
    torch.testing.assert_close(fit.variance_shares(), expected)
    assert float(fit.variance_shares().sum()) == pytest.approx(1)


def test_variance_shares_of_nothing_are_zero_and_finite():
    fit = CPFit(torch.zeros(2), tuple(torch.zeros(n, 2) for n in SHAPE), 1.0, True, 0)
    assert fit.variance_shares().tolist() == [0, 0]


def test_to_moves_every_tensor():
    fit, _, _ = random_fit()
    moved = fit.to("meta")
    assert {tensor.device.type for tensor in (moved.cp_weights, *moved.factors)} == {"meta"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_to_tensorly_is_the_same_tensor(backend, dtype):
    fit, _, _ = random_fit(dtype=dtype)
    made = tensorly.to_numpy(tensorly.cp_to_tensor(fit.to_tensorly()))
    torch.testing.assert_close(torch.as_tensor(made), fit.full(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_tensorly_gives_back_what_to_tensorly_took(backend, dtype):
    fit, _, _ = random_fit(dtype=dtype)
    back = CPFit.from_tensorly(fit.to_tensorly())
    # the columns are normalized once more: one rounding
    for new, old in zip((back.cp_weights, *back.factors), (fit.cp_weights, *fit.factors), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-6)
    assert math.isnan(back.relative_error)


def test_from_tensorly_takes_absent_weights_as_ones(planted):
    _, _, factors = random_fit()
    fit = CPFit.from_tensorly((None, [factor.numpy() for factor in factors]))
    torch.testing.assert_close(fit.full(), planted.full(torch.ones(3), factors))


def test_to_tensorly_of_a_fit_has_its_relative_error(planted, backend):
    tensor = planted.planted((8, 9, 10), 2).tensor
    fit = fit_cp(tensor, 2)
    made = torch.as_tensor(tensorly.to_numpy(tensorly.cp_to_tensor(fit.to_tensorly())))
    assert float((tensor - made).norm() / tensor.norm()) == pytest.approx(fit.relative_error, abs=1e-10)
