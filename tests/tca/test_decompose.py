# SPDX-License-Identifier: Apache-2.0
"""`fit_cp` and `select_rank` from outside: what they recover, what they keep under changes of the data, what they refuse."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca import fit_cp, match_components, select_rank, source

pytestmark = pytest.mark.usefixtures("unchecked_fits")

SMALL = (10, 12, 14)
FAMILIES = ("plain", "one_mode_collinear", "all_modes_collinear", "sparse")
PROBLEMS = [(rank, family) for rank in range(2, 7) for family in FAMILIES]


def assert_finite(fit):
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (fit.cp_weights, *fit.factors))
    assert math.isfinite(fit.relative_error)


def assert_same_fit(first, second, *, congruence=0.9999):
    """Equal errors and components: two runs to a tolerance of 1e-6 a sweep may still differ by about 1e-4 in cosine."""
    assert first.relative_error == pytest.approx(second.relative_error, rel=1e-4)
    assert min(map(abs, match_components(first, second).congruence)) > congruence


# recovery


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("rank", "family"), PROBLEMS)
def test_fit_cp_recovers_planted_components(planted, rank, family, nonnegative):
    case = planted.planted(
        (30, 40, 50), rank, seed=10 * rank + FAMILIES.index(family), family=family, nonnegative=nonnegative
    )
    fit = fit_cp(case.tensor, rank, nonnegative=nonnegative)
    assert float(planted.congruences(fit, case.factors).min()) > 0.99


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_recovers_planted_components_from_float32(planted, nonnegative):
    case = planted.planted((30, 40, 50), 4, nonnegative=nonnegative, dtype=torch.float32)
    fit = fit_cp(case.tensor, 4, nonnegative=nonnegative)
    assert float(planted.congruences(fit, case.factors).min()) > 0.99


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize(("shape", "rank"), [((8, 9, 10, 7), 3), ((6, 5, 4, 5, 6), 2)])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_recovers_planted_components_of_more_axes(planted, shape, rank, nonnegative):
    case = planted.planted(shape, rank, nonnegative=nonnegative)
    fit = fit_cp(case.tensor, rank, nonnegative=nonnegative)
    assert float(planted.congruences(fit, case.factors).min()) > 0.99


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_of_noise_free_float64_is_exact(planted, family, nonnegative):
    case = planted.planted((20, 24, 28), 3, seed=5, noise=0, family=family, nonnegative=nonnegative)
    fit = fit_cp(case.tensor, 3, nonnegative=nonnegative)
    assert max(fit.relative_error, planted.residual(case.tensor, fit)) < 1e-6


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("nonnegative", "reached"), [(False, 3e-5), (True, 3e-4)])
def test_fit_cp_of_noise_free_float32_is_exact_to_its_precision(planted, family, nonnegative, reached, seed):
    case = planted.planted((20, 24, 28), 3, seed=seed, noise=0, family=family, nonnegative=nonnegative, dtype=torch.float32)
    # entries are rounded to 6e-8, and normal equations of condition 100 and more amplify it; non-negative sweeps compute in
    # float32 and see squared errors to 1e-7 of the tensor's energy
    assert planted.residual(case.tensor, fit_cp(case.tensor, 3, nonnegative=nonnegative)) < reached


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-4, 1e-5])
def test_fit_cp_of_float32_reaches_the_error_of_float64(planted, noise):
    case = planted.planted((20, 24, 28), 3, seed=5, noise=noise, family="one_mode_collinear")
    reached = fit_cp(case.tensor.float(), 3).relative_error
    assert reached == pytest.approx(fit_cp(case.tensor, 3).relative_error, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", [0.3, 0.003])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_reports_the_error_of_the_residual(planted, dtype, noise, nonnegative):
    tensor = planted.planted((20, 24, 28), 3, noise=noise, nonnegative=nonnegative, dtype=dtype).tensor
    fit = fit_cp(tensor, 3, nonnegative=nonnegative)
    assert fit.relative_error == pytest.approx(planted.residual(tensor, fit), abs=1e-6)


def test_fit_cp_reports_a_small_error_of_float64_to_a_percent(planted):
    tensor = planted.planted((20, 24, 28), 3, noise=1e-7).tensor
    fit = fit_cp(tensor, 3)
    assert fit.relative_error == pytest.approx(planted.residual(tensor, fit), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fit_cp_gives_factors_in_the_precision_of_the_tensor(planted, dtype):
    fit = fit_cp(planted.planted(SMALL, 2, dtype=dtype).tensor, 2)
    assert {tensor.dtype for tensor in (fit.cp_weights, *fit.factors)} == {dtype}


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_follows_the_conventions_of_cpfit(planted, nonnegative):
    fit = fit_cp(planted.planted(SMALL, 3, nonnegative=nonnegative).tensor, 3, nonnegative=nonnegative)
    for factor in fit.factors:
        torch.testing.assert_close(factor.norm(dim=0), torch.ones(3, dtype=torch.float64))
    assert bool((fit.cp_weights > 0).all())
    assert bool((fit.cp_weights.diff() <= 0).all())
    for axis in (0, 2):
        assert bool((fit.factors[axis].pow(3).sum(dim=0) >= 0).all())


def test_fit_cp_of_non_negative_factors_has_no_negative_entry(planted):
    fit = fit_cp(planted.planted(SMALL, 4, nonnegative=True).tensor, 4, nonnegative=True)
    assert min(float(factor.min()) for factor in fit.factors) >= 0


def test_fit_cp_leaves_the_tensor_as_it_was(planted):
    tensor = planted.planted(SMALL, 2).tensor
    before = tensor.clone()
    fit_cp(tensor, 2)
    torch.testing.assert_close(tensor, before, rtol=0, atol=0)


# what must not matter


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("axis", range(3))
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_fit_cp_permutes_with_the_entries_of_an_axis(planted, axis, nonnegative, seed):
    tensor = planted.planted(SMALL, 2, seed=seed, nonnegative=nonnegative).tensor
    order = torch.randperm(SMALL[axis], generator=torch.Generator().manual_seed(seed))
    plain, permuted = (fit_cp(each, 2, nonnegative=nonnegative) for each in (tensor, tensor.index_select(axis, order)))
    factors = list(permuted.factors)
    factors[axis] = factors[axis][torch.argsort(order)]
    back = type(plain)(permuted.cp_weights, tuple(factors), permuted.relative_error, True, 0)
    assert_same_fit(plain, back)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_follows_an_exchange_of_axes(planted, nonnegative):
    tensor = planted.planted(SMALL, 3, nonnegative=nonnegative).tensor
    plain, turned = (fit_cp(each, 3, nonnegative=nonnegative) for each in (tensor, tensor.permute(2, 0, 1)))
    back = type(plain)(
        turned.cp_weights, (turned.factors[1], turned.factors[2], turned.factors[0]), turned.relative_error, True, 0
    )
    assert_same_fit(plain, back)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fit_cp_scales_with_the_tensor(planted, scale, nonnegative, dtype):
    tensor = planted.planted(SMALL, 3, nonnegative=nonnegative, dtype=dtype).tensor
    plain, scaled = (fit_cp(each, 3, nonnegative=nonnegative) for each in (tensor, scale * tensor))
    # 1680 entries do not hold overlapping float32 components to more than that
    assert_same_fit(plain, scaled, congruence=0.9999 if dtype == torch.float64 else 0.999)
    # weights follow the components, and change first where components overlap
    torch.testing.assert_close(
        scaled.cp_weights, scale * plain.cp_weights, rtol=1e-3 if dtype == torch.float64 else 0.05, atol=0
    )


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("nonnegative", [False, True])
def test_select_rank_fits_each_rank_as_if_alone(planted, nonnegative):
    tensor = planted.planted((30, 40, 50), 3, nonnegative=nonnegative).tensor
    together = select_rank(tensor, [2, 3, 4], nonnegative=nonnegative, heldout=False)
    for rank in (2, 3, 4):
        alone, fit = fit_cp(tensor, rank, nonnegative=nonnegative), together.fits[rank]
        # ranks share the widest core that one of them needs, chosen so that widening changes no error by a thousandth
        assert fit.relative_error == pytest.approx(alone.relative_error, rel=1e-3)
        for ours, theirs in zip(fit.factors, alone.factors, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3 if nonnegative else 1e-5)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_select_rank_beside_a_much_larger_rank_finds_the_same_minimum(planted, nonnegative):
    tensor = planted.planted((30, 40, 50), 3, nonnegative=nonnegative).tensor
    together = select_rank(tensor, [3, 14], nonnegative=nonnegative, heldout=False, restarts=2)
    assert_same_fit(together.fits[3], fit_cp(tensor, 3, nonnegative=nonnegative, restarts=2), congruence=0.999)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_is_the_same_for_the_same_seed(planted, nonnegative):
    tensor = planted.planted(SMALL, 3, nonnegative=nonnegative).tensor
    first, second = (fit_cp(tensor, 5, nonnegative=nonnegative, seed=3) for _ in range(2))
    torch.testing.assert_close(list(first.factors), list(second.factors), rtol=0, atol=0)


def test_fit_cp_of_another_seed_starts_elsewhere(planted):
    tensor = planted.planted(SMALL, 3).tensor
    fits = [fit_cp(tensor, 8, seed=seed, restarts=1, max_iter=5) for seed in range(2)]
    assert fits[0].relative_error != fits[1].relative_error


def test_fits_touch_no_global_random_stream():
    script = """
import random
import numpy as np
import torch
from lightning_interp.tca import OnlineTCA, fit_cp, select_rank
tensor = torch.rand(8, 9, 10)
before = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())
fit_cp(tensor, 2)
fit_cp(tensor, 2, mask=torch.rand(8, 9, 10, generator=torch.Generator().manual_seed(0)) < 0.9)
select_rank(tensor, [1, 2], restarts=2, nonnegative=True)
online = OnlineTCA([1, 2])
for step in range(4):
    online.add(step, tensor[step])
online.refit()
after = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())
assert before[0] == after[0], "random"
assert before[1] == after[1], "numpy"
assert torch.equal(before[2], after[2]), "torch"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# streaming


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 2**28])
def test_fit_cp_of_a_source_is_that_of_its_tensor(planted, monkeypatch, nonnegative, chunk_bytes):
    monkeypatch.setattr(source, "CHUNK_BYTES", chunk_bytes)
    tensor = planted.planted(SMALL, 3, nonnegative=nonnegative).tensor
    streamed = fit_cp(planted.CountingSource(tensor), 3, nonnegative=nonnegative)
    assert_same_fit(streamed, fit_cp(tensor, 3, nonnegative=nonnegative))


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_passes_over_a_source_once_to_check_twice_to_compress_and_twice_a_sweep(planted, nonnegative):
    counting = planted.CountingSource(planted.planted((30, 40, 50), 3, nonnegative=nonnegative).tensor)
    fit_cp(counting, 3, nonnegative=nonnegative)
    assert 1 + 2 + 2 <= counting.passes <= 1 + 2 + 4  # two final sweeps, or one where it settles


@pytest.mark.usefixtures("checked_types")
def test_fit_cp_holds_one_chunk_of_a_source_and_reads_in_order(planted, monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", 3 * 12 * 14 * 8)
    counting = planted.CountingSource(planted.planted(SMALL, 2).tensor)
    select_rank(counting, [1, 2], restarts=2)
    assert max(stop - start for start, stop in counting.reads) <= 3
    ends = [0, *(stop % SMALL[0] for _, stop in counting.reads)]
    assert [start for start, _ in counting.reads] == ends[:-1]


# hard cases


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("shape", [(1, 9, 10), (2, 9, 10), (8, 1, 9), (8, 9, 2), (8, 9, 1), (1, 1, 5), (1, 1, 1)])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_takes_axes_of_one_or_two(shape, nonnegative):
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_finite(fit_cp(tensor, 1, nonnegative=nonnegative))


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_cp_of_rank_one_of_a_matrix_is_its_leading_singular_pair(nonnegative):
    matrix = torch.rand(9, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    best = float(torch.linalg.svdvals(matrix)[1:].norm() / matrix.norm())
    # the leading pair of a positive matrix is non-negative (Perron and Frobenius)
    assert fit_cp(matrix[None], 1, nonnegative=nonnegative).relative_error == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fit_cp_flags_more_components_than_a_mode_has_entries(nonnegative, dtype):
    tensor = torch.rand(3, 9, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    fit = fit_cp(tensor, 6, nonnegative=nonnegative)
    assert_finite(fit)
    assert "rank_above_mode_size" in fit.flags


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fit_cp_flags_constant_slices(nonnegative, dtype):
    tensor = torch.rand(1, 9, 10, generator=torch.Generator().manual_seed(0)).to(dtype).expand(8, 9, 10)
    fit = fit_cp(tensor, 2, nonnegative=nonnegative)
    assert_finite(fit)
    assert {"constant_slices", "rank_deficient"} <= set(fit.flags)


def test_fit_cp_flags_constant_slices_beside_an_axis_of_one():
    tensor = torch.rand(1, 9, 1, generator=torch.Generator().manual_seed(0)).expand(8, 9, 1)
    assert "constant_slices" in fit_cp(tensor, 1).flags


def test_fit_cp_does_not_flag_small_changes_of_float32_as_constant(planted):
    # changes of 1e-4 are a thousand times what float32 rounds
    tensor = 1 + 1e-4 * planted.planted(SMALL, 2).tensor / planted.planted(SMALL, 2).tensor.std()
    assert "constant_slices" not in fit_cp(tensor.float(), 2).flags


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("kind", ["zero", "duplicated"])
def test_fit_cp_is_not_confused_by_zero_or_duplicated_slices(planted, nonnegative, axis, kind):
    case = planted.planted(SMALL, 2, nonnegative=nonnegative)
    added = torch.zeros_like(case.tensor) if kind == "zero" else case.tensor
    fit = fit_cp(torch.cat([case.tensor, added], dim=axis), 2, nonnegative=nonnegative)
    assert_finite(fit)
    factors = [factor[: SMALL[mode]] for mode, factor in enumerate(fit.factors)]
    halves = type(fit)(fit.cp_weights, tuple(f / f.norm(dim=0) for f in factors), fit.relative_error, True, 0)
    assert float(planted.congruences(halves, case.factors).min()) > 0.99


def border_rank_two(turned):
    """a∘a∘b + a∘b∘a + b∘a∘a: of rank 3, the limit of tensors of rank 2 (the W state)."""
    tensor = torch.zeros(2, 2, 2, dtype=torch.float64)
    tensor[0, 0, 1] = tensor[0, 1, 0] = tensor[1, 0, 0] = 1
    generator = torch.Generator().manual_seed(0)
    bases = [torch.linalg.qr(torch.randn(size, 2, generator=generator, dtype=torch.float64)).Q for size in (6, 7, 8)]
    return torch.einsum("abc,ia,jb,kc->ijk", tensor, *bases) if turned else tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_fit_cp_flags_two_factor_degeneracy(dtype, turned):
    fit = fit_cp(border_rank_two(turned).to(dtype), 2, max_iter=300, restarts=2)
    assert_finite(fit)
    assert "degenerate" in fit.flags
    assert fit.relative_error < 0.01


def test_fit_cp_of_the_right_rank_is_not_degenerate(planted):
    assert fit_cp(planted.planted((30, 40, 50), 3, family="all_modes_collinear").tensor, 3).flags == ()


def test_fit_cp_flags_components_that_carry_nothing():
    tensor = torch.zeros(8, 9, 10, dtype=torch.float64)
    tensor[2, 3, 4] = 1
    fit = fit_cp(tensor, 3, nonnegative=True)
    assert_finite(fit)
    assert "vanishing_component" in fit.flags


@pytest.mark.parametrize("rank", [3, 30])
def test_fit_cp_stopped_early_says_so(planted, rank):
    fit = fit_cp(planted.planted(SMALL, 3).tensor, rank, max_iter=1)
    assert (fit.converged, "not_converged" in fit.flags) == (False, True)
    assert_finite(fit)


def test_fit_cp_takes_the_largest_rank_a_shape_can_need():
    tensor = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fit = fit_cp(tensor, 6)
    assert_finite(fit)
    assert fit.relative_error < 1e-3


# selection


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("seed", "rank"), list(enumerate((2, 3, 4))))
def test_select_rank_recommends_the_planted_rank(planted, nonnegative, seed, rank):
    case = planted.training_like((30, 24, 32), rank, seed=seed, nonnegative=nonnegative)
    found = select_rank(case.tensor, range(1, 6), restarts=5, nonnegative=nonnegative, seed=seed)
    assert found.recommended == rank


@pytest.mark.parametrize("family", FAMILIES)
def test_select_rank_recommends_the_planted_rank_of_every_family(planted, family):
    case = planted.planted((30, 40, 50), 3, seed=1, family=family)
    assert select_rank(case.tensor, range(1, 6), restarts=5).recommended == 3


def test_select_rank_fits_ranks_once_and_in_order(planted):
    found = select_rank(planted.planted(SMALL, 2).tensor, [3, 1, 3], restarts=2)
    assert [row["rank"] for row in found.table] == list(found.fits) == [1, 3]


@pytest.mark.usefixtures("checked_types")
def test_select_rank_tells_the_five_figures_of_each_rank(planted):
    found = select_rank(planted.planted(SMALL, 2).tensor, [1, 2], restarts=2)
    keys = {"rank", "relative_error", "similarity", "core_consistency", "heldout_error"}
    assert [set(row) for row in found.table] == [keys, keys]
    assert all(isinstance(value, int | float) for row in found.table for value in row.values())


def test_select_rank_table_has_the_errors_of_the_fits(planted):
    found = select_rank(planted.planted(SMALL, 2).tensor, [1, 2, 3], restarts=2)
    assert [row["relative_error"] for row in found.table] == [found.fits[r].relative_error for r in (1, 2, 3)]


@pytest.mark.parametrize(("setting", "column"), [({"restarts": 1}, "similarity"), ({"heldout": False}, "heldout_error")])
def test_select_rank_leaves_out_what_was_not_measured(planted, setting, column):
    found = select_rank(planted.planted(SMALL, 2).tensor, [1, 2], **{"restarts": 2, **setting})
    assert [row[column] for row in found.table] == [None, None]


@pytest.mark.parametrize("shape", [(5, 12, 14), (10, 5, 14), (10, 12, 5), (1, 2, 3)])
def test_select_rank_of_axes_too_small_to_cut_has_no_heldout_error(shape):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert select_rank(tensor, [1, 2], restarts=2).table[0]["heldout_error"] is None


@pytest.mark.parametrize("noise", [0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_select_rank_tells_progress_that_rises_to_the_number_of_models(planted, noise, dtype):
    told = []
    tensor = planted.planted((20, 24, 28), 2, noise=noise, family="all_modes_collinear", dtype=dtype).tensor
    select_rank(tensor, [1, 2, 6], restarts=4, on_progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {12}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (12, 12)


@pytest.mark.usefixtures("checked_types")
def test_select_rank_works_where_only_one_stimulus_is_alive():
    tensor = torch.zeros(20, 8, 12, dtype=torch.float64)
    tensor[:, 2] = torch.randn(20, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert select_rank(tensor, [1, 2], restarts=2).recommended in (1, 2)


def test_select_rank_works_where_few_units_are_alive():
    tensor = torch.zeros(20, 12, 30, dtype=torch.float64)
    tensor[:, :, [2, 5]] = torch.randn(20, 12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for seed in range(4):
        found = select_rank(tensor, [1, 2], restarts=2, seed=seed)
        units = found.fits[2].factors[2]
        assert torch.nonzero(units.norm(dim=1) > 1e-9)[:, 0].tolist() == [2, 5]
        assert all(row["heldout_error"] is None or row["heldout_error"] > 0 for row in found.table)


# bad input

TENSOR = torch.randn(8, 9, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("rank", [0, -1, True, 1.5, "2", None])
def test_fit_cp_refuses_a_rank_that_is_no_whole_number(rank):
    with pytest.raises(ConfigError, match=r"rank: expected a whole number from 1 on, got "):
        fit_cp(TENSOR, rank)


def test_fit_cp_calls_its_rank_by_its_name():
    with pytest.raises(ConfigError, match=r"^rank: "):
        fit_cp(TENSOR, 0)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("ranks", [[], [0], [2, True], [1.5]])
def test_select_rank_refuses_ranks_that_are_no_whole_numbers(ranks):
    with pytest.raises(ConfigError, match=r"ranks: expected whole numbers from 1 on, got \["):
        select_rank(TENSOR, ranks)


@pytest.mark.usefixtures("unchecked_types")
def test_select_rank_refuses_one_number_for_ranks():
    with pytest.raises(ConfigError, match="ranks: "):
        select_rank(TENSOR, 3)


def test_fit_cp_refuses_a_rank_the_shape_cannot_carry():
    with pytest.raises(ConfigError, match=r"rank: 73 is more than a tensor of shape \(8, 9, 10\) can carry; at most 72"):
        fit_cp(TENSOR, 73)


def test_fit_cp_with_a_mask_refuses_a_rank_the_shape_cannot_carry():
    with pytest.raises(ConfigError, match="rank: 73 is more than"):
        fit_cp(TENSOR, 73, mask=torch.ones(8, 9, 10, dtype=torch.bool))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("name", "value"), [("restarts", 0), ("restarts", True), ("restarts", 2.0), ("max_iter", 0), ("seed", -1)]
)
def test_fit_cp_refuses_counts_out_of_range(name, value):
    with pytest.raises(ConfigError, match=rf"{name}: expected a whole number from [01] on, got {value!r}"):
        fit_cp(TENSOR, 2, **{name: value})


@pytest.mark.parametrize("tol", [0, -1e-3, 1, 2.0, math.nan, math.inf])
def test_fit_cp_refuses_a_tolerance_out_of_range(tol):
    with pytest.raises(ConfigError, match=f"tol: expected a number between 0 and 1, got {tol!r}"):
        fit_cp(TENSOR, 2, tol=tol)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("tol", [None, "1e-6"])
def test_fit_cp_refuses_a_tolerance_that_is_no_number(tol):
    with pytest.raises(ConfigError, match="tol: "):
        fit_cp(TENSOR, 2, tol=tol)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("nonnegative", [None, 1, "auto"])
def test_fit_cp_refuses_another_nonnegative_than_true_or_false(nonnegative):
    with pytest.raises(ConfigError, match="nonnegative: expected True or False"):
        fit_cp(TENSOR, 2, nonnegative=nonnegative)


def test_fit_cp_refuses_negative_data_where_factors_may_not_be():
    with pytest.raises(ConfigError, match="nonnegative: the tensor has negative entries"):
        fit_cp(TENSOR, 2, nonnegative=True)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("call", [lambda t: fit_cp(t, 1), lambda t: select_rank(t, [1])], ids=["fit_cp", "select_rank"])
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TENSOR[0], "tensor: expected 3 or more axes"),
        (TENSOR[:, :0], "tensor: axis 1 is empty"),
        (TENSOR.long(), "tensor: expected float32 or float64"),
        (0 * TENSOR, "tensor: all entries are zero"),
        (TENSOR / 0, r"tensor: entry \(0, 0, 0\)"),
        (TENSOR.numpy(), "tensor: expected a torch tensor"),
    ],
    ids=["axes", "empty", "integers", "zeros", "infinite", "array"],
)
def test_bad_tensors_are_refused_by_name(call, tensor, message):
    with pytest.raises(ShapeError, match=message):
        call(tensor)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_fit_cp_refuses_a_gpu_that_is_not_there():
    with pytest.raises(ConfigError, match="device: 'cuda' is not there"):
        fit_cp(TENSOR, 2, device="cuda")


def test_fit_cp_refuses_what_is_no_device():
    with pytest.raises(ConfigError, match="device: 'foo' is not a device"):
        fit_cp(TENSOR, 2, device="foo")
