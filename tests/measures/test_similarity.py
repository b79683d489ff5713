# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.measures.similarity import linear_cka, procrustes_distance

FUNCTIONS = [linear_cka, procrustes_distance]


def gaussian(stimuli, units, *, seed=0, dtype=torch.float64):
    return torch.randn(stimuli, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rotation(units, *, seed=9):
    return torch.linalg.qr(gaussian(units, units, seed=seed)).Q


def slow_hsic(x, y, *, debiased):
    """Song et al. 2012, equation 5, and tr(K H L H), written out with n x n matrices."""
    kernel, other = (side.double().numpy() @ side.double().numpy().T for side in (x, y))
    n = len(kernel)
    ones = np.ones(n)
    if not debiased:
        centring = np.eye(n) - np.outer(ones, ones) / n
        return np.trace(kernel @ centring @ other @ centring) / (n - 1) ** 2
    k, l = kernel - np.diag(np.diag(kernel)), other - np.diag(np.diag(other))  # noqa: E741
    first = np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return (first - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def slow_cka(x, y, *, debiased):
    norm = math.sqrt(slow_hsic(x, x, debiased=debiased) * slow_hsic(y, y, debiased=debiased))
    return slow_hsic(x, y, debiased=debiased) / norm


def slow_procrustes(x, y):
    """Residual after scipy has found the best rotation, with units of zero where there are fewer."""
    width = max(x.shape[1], y.shape[1])
    sides = []
    for side in (x, y):
        rest = side.double().numpy() - side.double().numpy().mean(axis=0)
        rest = np.pad(rest, ((0, 0), (0, width - rest.shape[1])))
        sides.append(rest / np.linalg.norm(rest))
    turned, _ = scipy.linalg.orthogonal_procrustes(*sides)
    return np.linalg.norm(sides[0] @ turned - sides[1]) ** 2 / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("shape", [(30, 5, 7), (9, 40, 60), (4, 3, 3), (12, 1, 30)])
def test_linear_cka_equals_the_formula_written_out(shape, debiased, dtype):
    stimuli, units, others = shape
    x = gaussian(stimuli, units, dtype=dtype) + 3
    y = x[:, :1] * 0.5 + gaussian(stimuli, others, seed=1, dtype=dtype)
    # Float64 sums of numbers of order 10 whose difference is of order 1 or less: some 1e-13 relative.
    expected = slow_cka(x, y, debiased=debiased)
    assert linear_cka(x, y, debiased=debiased).item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(30, 5, 7), (9, 40, 60), (9, 40, 3), (2, 4, 4)])
def test_procrustes_distance_equals_what_scipy_leaves(shape, dtype):
    stimuli, units, others = shape
    x, y = gaussian(stimuli, units, dtype=dtype) + 3, gaussian(stimuli, others, seed=1, dtype=dtype)
    # The slow form squares a difference of numbers of order 1: absolute error of some 1e-15.
    assert procrustes_distance(x, y).item() == pytest.approx(slow_procrustes(x, y), abs=1e-12)


@pytest.mark.parametrize("units", [3, 40])
def test_both_do_not_change_under_rotation_shift_and_scale(units):
    x, y = gaussian(20, units), gaussian(20, 6, seed=1)
    turned = 7 * x @ rotation(units) - 2
    for similarity in FUNCTIONS:
        assert similarity(turned, y).item() == pytest.approx(similarity(x, y).item(), abs=1e-12)


@pytest.mark.parametrize("units", [3, 40])
def test_the_same_up_to_rotation_is_1_and_0(units):
    x = gaussian(20, units)
    turned = 0.1 * x @ rotation(units) + 5
    assert linear_cka(x, turned).item() == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, turned, debiased=False).item() == pytest.approx(1, abs=1e-12)
    assert procrustes_distance(x, turned).item() == pytest.approx(0, abs=1e-12)


def test_units_of_zero_change_nothing():
    x, y = gaussian(20, 4), gaussian(20, 6, seed=1)
    padded = torch.cat([x, torch.zeros(20, 2, dtype=torch.float64)], dim=1)
    for similarity in FUNCTIONS:
        assert similarity(padded, y).item() == pytest.approx(similarity(x, y).item(), abs=1e-12)


def test_both_are_symmetric():
    x, y = gaussian(20, 4), gaussian(20, 30, seed=1)
    for similarity in FUNCTIONS:
        assert similarity(x, y).item() == pytest.approx(similarity(y, x).item(), abs=1e-12)


def test_uncorrelated_units_are_0_and_1():
    # Centered and orthogonal columns: a plain CKA of exactly 0, and no rotation gains anything.
    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert linear_cka(x, y, debiased=False).item() == pytest.approx(0, abs=1e-15)
    assert procrustes_distance(x, y).item() == pytest.approx(1, abs=1e-15)


def test_debiased_cka_of_independent_gaussians_is_0_where_the_plain_one_is_not():
    draws = [(gaussian(20, 100, seed=2 * k), gaussian(20, 100, seed=2 * k + 1)) for k in range(100)]
    debiased = np.array([linear_cka(x, y).item() for x, y in draws])
    plain = np.array([linear_cka(x, y, debiased=False).item() for x, y in draws])
    # Four standard errors of the mean of 100 draws.
    assert abs(debiased.mean()) < 4 * debiased.std() / 10
    assert plain.min() > 0.7  # p / (p + n) = .83 for p units and n stimuli


def test_procrustes_distance_of_independent_gaussians_falls_with_units_over_stimuli():
    few, many = (procrustes_distance(gaussian(50, units), gaussian(50, units, seed=1)).item() for units in (2, 500))
    assert few > 0.75 and many < 0.3  # a reason to look at shuffled stimuli beside it


@pytest.mark.parametrize("similarity", FUNCTIONS)
def test_both_refuse_other_numbers_of_stimuli(similarity):
    with pytest.raises(ShapeError, match=r"8 stimuli in `x`, 9 in `y`\. Row i must be the same stimulus"):
        similarity(gaussian(8, 3), gaussian(9, 3))


@pytest.mark.parametrize(
    ("similarity", "options", "stimuli", "fewest"),
    [(linear_cka, {}, 3, 4), (linear_cka, {"debiased": False}, 1, 2), (procrustes_distance, {}, 1, 2)],
)
def test_both_refuse_too_few_stimuli(similarity, options, stimuli, fewest):
    with pytest.raises(ShapeError, match=f"needs {fewest} or more stimuli, got {stimuli}"):
        similarity(gaussian(stimuli, 3), gaussian(stimuli, 3), **options)


@pytest.mark.parametrize("similarity", FUNCTIONS)
def test_both_refuse_a_constant_side(similarity):
    with pytest.raises(ShapeError, match="all stimuli of `y` give the same activations"):
        similarity(gaussian(8, 3), torch.full((8, 3), 0.1))


@pytest.mark.parametrize("similarity", FUNCTIONS)
def test_both_refuse_no_units(similarity):
    with pytest.raises(ShapeError, match=r"`x` needs the axes \(stimulus, unit\), got shape \(8, 0\)"):
        similarity(torch.zeros(8, 0), gaussian(8, 3))


@pytest.mark.parametrize("similarity", FUNCTIONS)
def test_both_refuse_what_is_not_finite(similarity):
    x = gaussian(8, 3)
    x[0, 0] = math.nan
    with pytest.raises(ShapeError, match="some entries of `x` are not finite"):
        similarity(x, gaussian(8, 3))


def test_debiased_cka_refuses_a_unit_active_on_one_stimulus_alone():
    # Without the diagonal its Gram matrix is zero up to the shift by the mean, which the estimator takes out.
    x = torch.zeros(8, 3)
    x[2, 1] = 5.0
    with pytest.raises(ShapeError, match="all stimuli of `x` but one are alike"):
        linear_cka(x, gaussian(8, 3))
    assert 0 <= linear_cka(x, gaussian(8, 3), debiased=False).item() <= 1


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_both_take_any_scale(scale):
    x, y = gaussian(20, 4), gaussian(20, 30, seed=1)
    for similarity in FUNCTIONS:
        assert similarity(scale * x, y).item() == pytest.approx(similarity(x, y).item(), abs=1e-12)
