# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca import fit_cp, select_rank
from lightning_interp.tca.missing import one_snapshot

pytestmark = pytest.mark.usefixtures("unchecked_fits")

SHAPE = (12, 14, 16)
UNSEEN = (math.nan, math.inf, -1e30, 7.0)
KINDS = [("random", torch.float64), ("blocks", torch.float32)]


def observed(kind, seed=0, shape=SHAPE):
    """A fifth missing at random, or two blocks (one of whole fibres) missing."""
    if kind == "random":
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.2
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:5, :6, :8] = False
    mask[:, 12:, 13:] = False
    return mask


def spoiled(tensor, mask, value=math.nan):
    return torch.where(mask, tensor, value)


@pytest.fixture(scope="module", params=KINDS, ids=["random", "blocks"])
def behind(request, planted, unchecked_fits):
    """What was planted, with noise of 1 %, where it was observed, and its fit."""
    kind, dtype = request.param
    case, mask = planted.planted(SHAPE, 2, seed=1, noise=0.01, dtype=dtype), observed(kind)
    return case, mask, fit_cp(spoiled(case.tensor, mask).requires_grad_(), 2, mask=mask, restarts=2)


@pytest.fixture(scope="module")
def selected(planted, unchecked_fits):
    """`select_rank` behind a mask, and what it told of its progress."""
    told = []
    tensor, mask = planted.planted(SHAPE, 2).tensor, observed("random")
    found = select_rank(
        spoiled(tensor, mask), [1, 2], mask=mask, restarts=3, on_progress=lambda *counts: told.append(counts)
    )
    return found, told


@pytest.mark.parametrize("kind", ["random", "blocks"])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_recovers_planted_components_behind_a_mask(planted, kind, nonnegative):
    case, mask = planted.planted(SHAPE, 3, seed=2, nonnegative=nonnegative), observed(kind)
    fit = fit_cp(spoiled(case.tensor, mask), 3, nonnegative=nonnegative, mask=mask, restarts=2)
    assert float(planted.congruences(fit, case.factors).min()) > 0.99


def test_fit_cp_predicts_what_is_missing(behind):
    case, mask, fit = behind
    missing = case.tensor[~mask]
    # noise of 1 %, and factors known to about as much
    assert float((fit.full()[~mask] - missing).norm() / missing.norm()) < 0.03


def test_relative_error_with_a_mask_is_over_observed_entries(planted, behind):
    case, mask, fit = behind
    wide = case.tensor.double()
    direct = (wide - planted.full(fit.cp_weights, fit.factors))[mask].norm() / wide[mask].norm()
    assert fit.relative_error == pytest.approx(float(direct), abs=1e-10 if case.tensor.dtype == torch.float64 else 1e-6)


def test_fit_cp_with_a_mask_of_a_tensor_that_needs_gradients_gives_a_plain_fit(behind):
    _, _, fit = behind
    assert not any(tensor.requires_grad for tensor in (fit.cp_weights, *fit.factors))


def test_fit_cp_does_not_see_unobserved_entries(planted):
    tensor, mask = planted.planted(SHAPE, 2, nonnegative=True).tensor, observed("random")
    unseen = torch.tensor(UNSEEN, dtype=tensor.dtype).repeat(tensor.numel() // len(UNSEEN)).reshape(SHAPE)
    fits = [
        fit_cp(spoiled(tensor, mask, with_), 2, nonnegative=True, mask=mask, restarts=1, max_iter=30)
        for with_ in (0.0, unseen)
    ]
    torch.testing.assert_close(list(fits[0].factors), list(fits[1].factors), rtol=0, atol=0)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_with_everything_observed_is_the_plain_fit(planted, nonnegative):
    tensor = planted.planted(SHAPE, 2, nonnegative=nonnegative).tensor
    plain = fit_cp(tensor, 2, nonnegative=nonnegative)
    masked = fit_cp(tensor, 2, nonnegative=nonnegative, mask=torch.ones(SHAPE, dtype=torch.bool))
    assert masked.relative_error == pytest.approx(plain.relative_error, rel=1e-5)
    assert float(planted.congruences(masked, list(plain.factors)).min()) > 0.9999


@pytest.mark.usefixtures("checked_types")
def test_fit_cp_behind_a_mask_takes_four_axes(planted):
    case = planted.planted((8, 7, 6, 9), 2)
    mask = torch.rand(case.tensor.shape, generator=torch.Generator().manual_seed(0)) > 0.2
    fit = fit_cp(spoiled(case.tensor, mask), 2, mask=mask, restarts=2)
    assert float(planted.congruences(fit, case.factors).min()) > 0.99


def test_fit_cp_behind_a_mask_is_non_negative_and_finite_for_too_many_components(planted):
    tensor, mask = planted.planted(SHAPE, 2, nonnegative=True).tensor, observed("random")
    fit = fit_cp(spoiled(tensor, mask), 4, nonnegative=True, mask=mask, restarts=1, max_iter=20)
    assert all(bool(torch.isfinite(factor).all() and (factor >= 0).all()) for factor in fit.factors)


def test_select_rank_with_a_mask_leaves_heldout_errors_out(selected):
    found, _ = selected
    assert [row["heldout_error"] for row in found.table] == [None, None]


def test_select_rank_with_a_mask_tells_progress_in_ranks(selected):
    _, told = selected
    assert told == [(1, 2), (2, 2)]


def test_similarity_with_a_mask_is_not_higher_than_without(planted):
    """Restarts that are pulled to the best one by what it fills in agree for no reason of the data's."""
    tensor, mask = planted.planted((15, 18, 20), 3, seed=2).tensor, observed("random", shape=(15, 18, 20))
    plain, masked = (select_rank(tensor, [3, 4], mask=each, restarts=4, heldout=False) for each in (None, mask))
    assert plain.recommended == 3
    assert masked.table[1]["similarity"] < 0.95  # chains with fillings of their own; .99999 with a common one
    assert masked.recommended == 3


def test_one_snapshot_is_a_slice_of_the_model(planted):
    fit = fit_cp(planted.planted(SHAPE, 2).tensor, 2, restarts=2)
    torch.testing.assert_close(one_snapshot(fit, 3), fit.full()[3])


TENSOR = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mask", [torch.ones(SHAPE), torch.ones(SHAPE, dtype=torch.uint8)])
def test_a_mask_of_other_numbers_is_refused(mask):
    with pytest.raises(ShapeError, match=r"mask: expected booleans of the tensor's shape \(12, 14, 16\), .* got torch\."):
        fit_cp(TENSOR, 1, mask=mask)


@pytest.mark.parametrize("shape", [(12, 14), (12, 14, 1), (16, 14, 12)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ShapeError, match=r"mask: expected booleans of the tensor's shape \(12, 14, 16\)"):
        fit_cp(TENSOR, 1, mask=torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("axis", range(3))
def test_a_slice_observed_nowhere_is_refused_and_named(axis):
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask.movedim(axis, 0)[4] = False
    with pytest.raises(ConfigError, match=f"mask: entry 4 of axis {axis} is observed nowhere"):
        fit_cp(TENSOR, 1, mask=mask)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_observed_entry_that_is_not_finite_is_refused_and_named(value):
    tensor = TENSOR.clone()
    tensor[3, 2, 1] = value
    with pytest.raises(ShapeError, match=rf"tensor: entry \(3, 2, 1\) is {value} but the mask says it is observed"):
        fit_cp(tensor, 1, mask=torch.ones(SHAPE, dtype=torch.bool))


def test_a_mask_on_a_source_is_refused(planted):
    with pytest.raises(ConfigError, match="mask: works on a tensor in memory"):
        fit_cp(planted.CountingSource(TENSOR), 1, mask=torch.ones(SHAPE, dtype=torch.bool))


def test_negative_observed_entries_are_refused_where_factors_may_not_be():
    with pytest.raises(ConfigError, match="nonnegative: the tensor has negative entries"):
        fit_cp(TENSOR, 1, nonnegative=True, mask=torch.ones(SHAPE, dtype=torch.bool))
