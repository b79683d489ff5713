# SPDX-License-Identifier: Apache-2.0
"""Models, updates, contractions, and the sweeps on a compressed tensor."""

import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.cp_tensor import CPTensor
from tensorly.decomposition import non_negative_parafac_hals, parafac

from lightning_interp.tca.compress import compress
from lightning_interp.tca.contraction import CoreProducts
from lightning_interp.tca.models import Models, joined, random_models
from lightning_interp.tca.source import Data
from lightning_interp.tca.sweeps import CHECK_EVERY, _State, gram, normalized_, sweep_until_converged
from lightning_interp.tca.updates import hals, least_squares

SHAPE = (8, 9, 10)
LETTERS = "abcd"


def draws(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def whole(tensor):
    """A compression to full size, and its models' coordinates are turned by the bases."""
    return compress(Data(tensor, device="cpu"), tuple(tensor.shape), exact=True)


def inside(models, compressed):
    factors = tuple(factor @ basis for factor, basis in zip(models.factors, compressed.bases, strict=True))
    return Models(factors, models.ranks, models.numbers)


def starts(ranks=(2, 3), restarts=2, shape=SHAPE, *, nonnegative=False, seed=0):
    return random_models(ranks, restarts, shape, seed=seed, nonnegative=nonnegative, dtype=torch.float64)


def swept(tensor, models, *, nonnegative=False, tol=1e-6, max_iter=500):
    compressed = whole(tensor)
    given = models if nonnegative else inside(models, compressed)
    return sweep_until_converged(compressed, given, nonnegative=nonnegative, tol=tol, max_iter=max_iter)


# models


def test_random_models_do_not_depend_on_the_rest_of_the_batch():
    together, alone = starts((2, 3, 4), 3), starts((3,), 3)
    rows = torch.nonzero(together.ranks == 3)[:, 0]
    for many, one in zip(together.factors, alone.factors, strict=True):
        torch.testing.assert_close(many[rows, :3], one, rtol=0, atol=0)


def test_random_models_are_all_different():
    models = starts((2, 3, 4), 4)
    assert len({tuple(row[0].tolist()) for row in models.factors[0]}) == len(models)


def test_random_models_differ_between_seeds():
    assert not torch.equal(starts(seed=0).factors[0], starts(seed=1).factors[0])


@pytest.mark.parametrize("nonnegative", [False, True])
def test_random_models_have_unit_columns_and_zero_padding(nonnegative):
    models = starts((1, 4), nonnegative=nonnegative)
    for factor in models.factors:
        torch.testing.assert_close(factor.norm(dim=2), models.mask().double())
    assert not nonnegative or all(bool((factor >= 0).all()) for factor in models.factors)


def test_select_leaves_no_more_room_than_needed():
    chosen = starts((2, 5)).select(torch.tensor([0, 1]))
    assert (chosen.width, chosen.ranks.tolist(), chosen.numbers.tolist()) == (2, [2, 2], [0, 1])


def test_replaced_clears_what_narrower_models_leave():
    models = starts((2, 5))
    for factor in models.factors:
        factor[:, :] = 7
    narrow = starts((2,), 1)
    changed = models.replaced(torch.tensor([0]), narrow)
    torch.testing.assert_close(changed.factors[1][0, :2], narrow.factors[1][0])
    assert not bool(changed.factors[1][0, 2:].any())
    assert float(models.factors[1][0, 0, 0]) == 7


def test_resized_adds_zero_coordinates():
    wider = starts().resized((9, 9, 12))
    assert [factor.shape[2] for factor in wider.factors] == [9, 9, 12]
    assert not bool(wider.factors[2][:, :, 10:].any())


def test_joined_numbers_anew_and_pads():
    both = joined([starts((2,), 1), starts((4,), 2)])
    assert (both.ranks.tolist(), both.numbers.tolist(), both.width) == ([2, 4, 4], [0, 1, 2], 4)


# updates


def test_least_squares_is_lstsq():
    factor, data = draws(50, 3), draws(50, 7, seed=1)
    mttkrp, grams = (factor.T @ data)[None], (factor.T @ factor)[None]
    # a ridge of 1e-12 of the mean diagonal, and normal equations of a well conditioned matrix
    torch.testing.assert_close(
        least_squares(mttkrp, mttkrp, grams)[0], torch.linalg.lstsq(factor, data).solution, rtol=1e-10, atol=1e-10
    )


def test_least_squares_leaves_padding_zero():
    grams = torch.zeros(1, 3, 3, dtype=torch.float64)
    grams[0, :2, :2] = torch.eye(2)
    mttkrp = torch.zeros(1, 3, 4, dtype=torch.float64)
    mttkrp[0, :2] = 1
    torch.testing.assert_close(least_squares(mttkrp, mttkrp, grams), mttkrp, rtol=1e-11, atol=0)  # a ridge of 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_least_squares_of_cancelling_components_is_finite(dtype):
    row = draws(1, 10, dtype=dtype)
    factor = torch.cat([row, -row, draws(1, 10, seed=1, dtype=dtype)])
    grams = (factor @ factor.T)[None]
    assert bool(torch.isfinite(least_squares(factor[None], factor[None], grams)).all())


@pytest.mark.parametrize("scale", [1e-150, 1e-12, 1.0, 1e12, 1e150])
def test_least_squares_does_not_depend_on_scale(scale):
    factor, data = draws(50, 3), draws(50, 7, seed=1)
    mttkrp, grams = (scale * factor.T @ data)[None], (scale * factor.T @ factor)[None]
    expected = torch.linalg.lstsq(factor, data).solution
    torch.testing.assert_close(least_squares(mttkrp, mttkrp, grams)[0], expected, rtol=1e-9, atol=1e-9)


def test_hals_is_the_loop_over_components():
    factor, old = draws(2, 4, 12).abs(), draws(2, 4, 6, seed=1).abs()
    mttkrp, grams = draws(2, 4, 6, seed=2), factor @ factor.mT
    slow = old.clone()
    for model in range(2):
        for r in range(4):
            for entry in range(6):
                rest = sum(float(grams[model, r, q] * slow[model, q, entry]) for q in range(4) if q != r)
                slow[model, r, entry] = max(0.0, (float(mttkrp[model, r, entry]) - rest) / float(grams[model, r, r]))
    torch.testing.assert_close(hals(old, mttkrp, grams), slow, rtol=1e-12, atol=1e-12)


def test_hals_leaves_padding_and_its_argument_alone():
    old = draws(1, 3, 4).abs()
    old[0, 2] = 0
    before = old.clone()
    grams = torch.zeros(1, 3, 3, dtype=torch.float64)
    grams[0, :2, :2] = torch.eye(2)
    new = hals(old, grams @ old, grams)
    assert not bool(new[0, 2].any())
    torch.testing.assert_close(old, before, rtol=0, atol=0)


def test_hals_does_not_raise_the_squared_error():
    data, others = draws(6, 50).abs(), draws(4, 50, seed=1).abs()
    old = draws(4, 6, seed=2).abs()
    new = hals(old[None], (others @ data.T)[None], (others @ others.T)[None])[0]
    assert float((data - new.T @ others).norm()) < float((data - old.T @ others).norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalized_leaves_zeros_and_scales_the_rest(dtype):
    factor = draws(1, 2, 5, dtype=dtype)
    factor[0, 1] = 0
    result = normalized_(factor)
    assert float(result[0, 0].norm()) == pytest.approx(1, rel=1e-6)
    assert not bool(result[0, 1].any())


# contraction


def reference_mttkrp(core, factors, mode):
    """X_(mode) times the Khatri-Rao product of the other factors, by einsum, for one model: [component, size]."""
    axes = LETTERS[: core.ndim]
    others = [n for n in range(core.ndim) if n != mode]
    parts = ",".join(f"r{axes[n]}" for n in others)
    return torch.einsum(f"{axes},{parts}->r{axes[mode]}", core, *[factors[n] for n in others])


@pytest.mark.parametrize("shape", [(5, 6, 7), (6, 6, 6), (3, 4, 5, 6), (2, 1, 4)])
@pytest.mark.parametrize("through_bases", [False, True])
def test_mttkrp_is_einsum_for_every_mode(shape, through_bases):
    models, rank = 3, 2
    sizes = [size + 3 for size in shape] if through_bases else list(shape)
    core = draws(*shape)
    factors = [draws(models, rank, size, seed=n + 1) for n, size in enumerate(sizes)]
    bases = tuple(draws(wide, size, seed=9) for wide, size in zip(sizes, shape, strict=True)) if through_bases else None
    products = CoreProducts(core, bases)
    rows = [products.coordinates(mode, factor) for mode, factor in enumerate(factors)]
    tensor = core if bases is None else torch.einsum(_expansion(core.ndim), core, *bases)
    last = core.ndim - 1
    for mode in range(core.ndim):
        partial = products.with_first(rows[0]) if mode == last else products.with_last(rows[last])
        left = range(1, core.ndim) if mode == last else range(last)
        found = products.mttkrp(partial, {n: rows[n] for n in left if n != mode}, mode, models)
        for model in range(models):
            expected = reference_mttkrp(tensor, [factor[model] for factor in factors], mode)
            torch.testing.assert_close(found[model], expected, rtol=1e-11, atol=1e-11)


def _expansion(ndim):
    core, wide = LETTERS[:ndim], LETTERS[:ndim].upper()
    return f"{core},{','.join(w + c for w, c in zip(wide, core, strict=True))}->{wide}"


def test_with_last_and_with_first_contract_one_mode():
    core = draws(4, 5, 6)
    products = CoreProducts(core)
    torch.testing.assert_close(products.with_last(draws(3, 6)), torch.einsum("abc,rc->rab", core, draws(3, 6)))
    torch.testing.assert_close(products.with_first(draws(3, 4)), torch.einsum("abc,ra->rbc", core, draws(3, 4)))


def test_products_of_fewer_models_are_right_after_those_of_many():
    core = draws(4, 5, 6)
    products = CoreProducts(core)
    products.with_last(draws(8, 6))
    torch.testing.assert_close(products.with_last(draws(3, 6)), torch.einsum("abc,rc->rab", core, draws(3, 6)))


# sweeps


def tensorly_start(models):
    return CPTensor((None, [factor[0].T.numpy().copy() for factor in models.factors]))


def relative(tensor, cp):
    return float((tensor - torch.as_tensor(tensorly.cp_to_tensor(cp))).norm() / tensor.norm())


def test_first_sweep_is_a_sweep_of_tensorly(planted):
    tensor = planted.planted(SHAPE, 3).tensor
    models = starts((3,), 1)
    once = swept(tensor, models, max_iter=1)
    theirs = parafac(tensor.numpy(), 3, init=tensorly_start(models), n_iter_max=1, tol=0)
    # the same three least-squares solutions; ours in turned coordinates
    assert float(once.errors[0]) == pytest.approx(relative(tensor, theirs), rel=1e-10)


@pytest.mark.parametrize("family", ["plain", "one_mode_collinear", "all_modes_collinear", "sparse"])
def test_sweeps_converge_to_the_error_of_tensorly_parafac_from_the_same_start(planted, family):
    tensor = planted.planted(SHAPE, 3, seed=1, family=family).tensor
    models = starts((3,), 1, seed=2)
    ours = swept(tensor, models, tol=1e-10, max_iter=3000)
    theirs = parafac(tensor.numpy(), 3, init=tensorly_start(models), n_iter_max=2000, tol=1e-12)
    assert float(ours.errors[0]) == pytest.approx(relative(tensor, theirs), abs=1e-5)


@pytest.mark.parametrize("family", ["plain", "one_mode_collinear", "all_modes_collinear", "sparse"])
def test_sweeps_converge_to_the_error_of_tensorly_hals_from_the_same_start(planted, family):
    tensor = planted.planted(SHAPE, 3, seed=1, family=family, nonnegative=True).tensor
    models = starts((3,), 1, nonnegative=True, seed=2)
    ours = swept(tensor, models, nonnegative=True, tol=1e-10, max_iter=5000)
    start = tensorly_start(models)
    theirs = non_negative_parafac_hals(tensor.numpy(), 3, init=start, n_iter_max=2000, tol=1e-12)
    assert float(ours.errors[0]) == pytest.approx(relative(tensor, theirs), abs=1e-5)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_sweeps_report_the_error_of_the_models_they_return(planted, nonnegative):
    tensor = planted.planted(SHAPE, 3, nonnegative=nonnegative).tensor
    compressed = compress(Data(tensor, device="cpu"), (4, 5, 6))  # truncated: factors in its spans, or not
    models = starts((2, 3), 2, nonnegative=nonnegative)
    given = models if nonnegative else inside(models, compressed)
    result = sweep_until_converged(compressed, given, nonnegative=nonnegative, tol=1e-6, max_iter=100)
    for row, rank in enumerate(result.models.ranks.tolist()):
        factors = [factor[row, :rank].T for factor in result.models.factors]
        if nonnegative:  # the error of the projected tensor plus what the projection left
            core = compressed.core
            projected = torch.einsum("abc,ia,jb,kc->ijk", core, *compressed.bases)
            lost = compressed.norm2 - float(core.square().sum())
            squares = float((projected - planted.full(torch.ones(rank), factors)).square().sum()) + lost
        else:
            factors = [basis @ factor for basis, factor in zip(compressed.bases, factors, strict=True)]
            squares = float((tensor - planted.full(torch.ones(rank), factors)).square().sum())
        assert float(result.errors[row]) == pytest.approx((squares / compressed.norm2) ** 0.5, abs=1e-9)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("nonnegative", [False, True])
def test_sweeps_of_a_batch_are_those_of_each_model_alone(planted, nonnegative):
    tensor = planted.planted(SHAPE, 3, nonnegative=nonnegative).tensor
    models = starts((2, 3, 4), 2, nonnegative=nonnegative)
    together = swept(tensor, models, nonnegative=nonnegative)
    for row in range(len(models)):
        alone = swept(tensor, models.select(torch.tensor([row])), nonnegative=nonnegative)
        assert int(alone.n_iter[0]) == int(together.n_iter[row])
        # products of other sizes round differently; a few hundred sweeps pass that on
        assert float(alone.errors[0]) == pytest.approx(float(together.errors[row]), rel=1e-8)


@pytest.mark.parametrize("nonnegative", [False, True])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), family=st.sampled_from(["plain", "one_mode_collinear", "all_modes_collinear", "sparse"]))
def test_error_does_not_rise_from_check_to_check(planted, nonnegative, seed, family):
    tensor = planted.planted((6, 7, 8), 3, seed=seed, family=family, nonnegative=nonnegative, noise=0.3).tensor
    compressed = whole(tensor)
    models = starts((2, 4), 2, (6, 7, 8), nonnegative=nonnegative, seed=seed)
    state = _State.start(compressed, models if nonnegative else inside(models, compressed), nonnegative=nonnegative)
    before = state.checked
    for _ in range(12):
        for index in range(CHECK_EVERY):
            state.sweep(plain=index == CHECK_EVERY - 1)
        state.check(1e-9)
        assert bool((state.checked <= before).all())
        before = state.checked


@pytest.mark.parametrize("nonnegative", [False, True])
def test_error_of_plain_sweeps_does_not_rise(planted, nonnegative):
    tensor = planted.planted(SHAPE, 3, nonnegative=nonnegative, noise=0.3).tensor
    compressed = whole(tensor)
    models = starts((2, 3, 4), 3, nonnegative=nonnegative)
    state = _State.start(compressed, models if nonnegative else inside(models, compressed), nonnegative=nonnegative)
    before = torch.full((len(models),), torch.inf, dtype=torch.float64)
    for _ in range(40):
        state.sweep(plain=True)
        assert bool((state.last <= before * (1 + 1e-12)).all())  # rounding of a sum of squares
        before = state.last


def test_models_that_converge_leave_and_come_back_in_their_places(planted):
    tensor = planted.planted(SHAPE, 2).tensor
    models = starts((1, 2, 4), 2)
    result = swept(tensor, models)
    assert result.models.ranks.tolist() == models.ranks.tolist()
    assert len(set(result.n_iter.tolist())) > 1  # they did leave at different sweeps
    for row, rank in enumerate(models.ranks.tolist()):
        assert bool(result.models.factors[0][row, :rank].any(dim=1).all())
        assert not bool(result.models.factors[0][row, rank:].any())


@pytest.mark.parametrize("max_iter", [1, 7, 10, 23])
def test_sweeps_stop_at_max_iter(planted, max_iter):
    result = swept(planted.planted(SHAPE, 3).tensor, starts((5,), 1), tol=1e-15, max_iter=max_iter)
    assert (result.n_iter.tolist(), result.converged.tolist()) == ([max_iter], [False])


def test_on_converged_is_told_of_every_model(planted):
    told = []
    compressed = whole(planted.planted(SHAPE, 3).tensor)
    sweep_until_converged(
        compressed,
        inside(starts((2, 3, 4), 3), compressed),
        nonnegative=False,
        tol=1e-6,
        max_iter=500,
        on_converged=told.append,
    )
    assert sum(told) == 9


@pytest.mark.parametrize("nonnegative", [False, True])
def test_factors_of_all_modes_but_the_last_have_unit_columns(planted, nonnegative):
    result = swept(
        planted.planted(SHAPE, 3, nonnegative=nonnegative).tensor, starts(nonnegative=nonnegative), nonnegative=nonnegative
    )
    for factor in result.models.factors[:-1]:
        torch.testing.assert_close(factor.norm(dim=2), result.models.mask().double(), rtol=1e-10, atol=1e-10)


def test_non_negative_factors_stay_so_when_extrapolated(planted):
    result = swept(planted.planted(SHAPE, 3, nonnegative=True).tensor, starts(nonnegative=True), nonnegative=True)
    assert all(bool((factor >= 0).all()) for factor in result.models.factors)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_match_scale_makes_starts_independent_of_the_datas_scale(planted, nonnegative, scale):
    tensor = planted.planted(SHAPE, 3, nonnegative=nonnegative).tensor
    models = starts(nonnegative=nonnegative)
    plain = swept(tensor, models, nonnegative=nonnegative, max_iter=30)
    scaled = swept(scale * tensor, models, nonnegative=nonnegative, max_iter=30)
    torch.testing.assert_close(plain.errors, scaled.errors, rtol=1e-9, atol=0)


def test_gram_is_the_inner_products_of_columns():
    factor = draws(2, 3, 5)
    torch.testing.assert_close(gram(factor), torch.einsum("mri,msi->mrs", factor, factor))
