# SPDX-License-Identifier: Apache-2.0
"""Similarity of models, matching of components, core consistency, and flags that compare components."""

import itertools
from dataclasses import replace

import pytest
import torch

from lightning_interp.tca import core_consistency, match_components
from lightning_interp.tca.compress import compress
from lightning_interp.tca.cp import CPFit, arranged
from lightning_interp.tca.flags import degeneracy
from lightning_interp.tca.models import Models
from lightning_interp.tca.similarity import similarities
from lightning_interp.tca.source import Data

SHAPE = (8, 9, 10)


def random_fit(rank=3, *, seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in shape]
    return arranged(torch.ones(rank, dtype=torch.float64), factors, relative_error=0.0, converged=True, n_iter=1)


def turned(fit, order, signs=((1, 1, 1), (1, 1, 1))):
    """The same model with components in another order and pairs of columns negated."""
    factors = [fit.factors[0][:, order].clone(), fit.factors[1][:, order].clone(), fit.factors[2][:, order]]
    for factor, flips in zip(factors[:2], signs, strict=True):
        factor *= torch.tensor(flips, dtype=torch.float64)
    return replace(fit, cp_weights=fit.cp_weights[order], factors=tuple(factors))


def stacked(*fits):
    """Fits of one rank as models, weights in the last mode."""
    factors = [torch.stack([fit.factors[mode].T for fit in fits]) for mode in range(len(fits[0].factors))]
    factors[-1] = factors[-1] * torch.stack([fit.cp_weights for fit in fits])[:, :, None]
    count = len(fits)
    return Models(tuple(factors), torch.full((count,), fits[0].rank), torch.arange(count))


def slow_similarity(first, second):
    best = -1.0
    for order in itertools.permutations(range(first.rank)):
        scores = []
        for r, q in enumerate(order):
            score = 1 - abs(float(first.cp_weights[r] - second.cp_weights[q])) / max(
                float(first.cp_weights[r]), float(second.cp_weights[q])
            )
            for mine, theirs in zip(first.factors, second.factors, strict=True):
                score *= abs(float(torch.dot(mine[:, r], theirs[:, q])))
            scores.append(score)
        best = max(best, sum(scores) / len(scores))
    return best


def test_match_components_of_a_model_with_itself_is_the_identity():
    match = match_components(random_fit(), random_fit())
    assert (match.first, match.second) == ((0, 1, 2), (0, 1, 2))
    assert match.congruence == pytest.approx((1, 1, 1))


def test_match_components_finds_an_order():
    match = match_components(random_fit(), turned(random_fit(), [2, 0, 1]))
    assert match.second == (1, 2, 0)


def test_match_components_keeps_signs():
    match = match_components(random_fit(), turned(random_fit(), [0, 1, 2], signs=((1, -1, 1), (1, 1, 1))))
    assert match.congruence == pytest.approx((1, -1, 1))


def test_match_components_does_not_see_pairs_of_flips():
    match = match_components(random_fit(), turned(random_fit(), [0, 1, 2], signs=((1, -1, 1), (1, -1, 1))))
    assert match.congruence == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(("first", "second"), [(2, 4), (4, 2)])
def test_match_components_pairs_as_many_as_the_smaller_rank(first, second):
    match = match_components(random_fit(first), random_fit(second, seed=1))
    assert len(match.first) == len(match.second) == len(match.congruence) == 2


def test_match_components_of_some_modes_ignores_the_others():
    other = random_fit(seed=1, shape=(8, 9, 20))
    mixed = replace(other, factors=(*random_fit().factors[:2], other.factors[2]))
    assert match_components(random_fit(), mixed, modes=(0, 1)).congruence == pytest.approx((1, 1, 1))


def test_match_components_maximizes_the_sum_of_absolute_congruences():
    first, second = random_fit(4), random_fit(4, seed=1)
    match = match_components(first, second)
    table = torch.stack([a.T @ b for a, b in zip(first.factors, second.factors, strict=True)]).prod(dim=0).abs()
    best = max(sum(float(table[r, q]) for r, q in enumerate(order)) for order in itertools.permutations(range(4)))
    assert sum(map(abs, match.congruence)) == pytest.approx(best)


def test_similarity_of_identical_models_is_one():
    assert similarities(stacked(random_fit(), random_fit()), torch.tensor([0])) == pytest.approx({3: 1})


def test_similarity_does_not_depend_on_order_and_signs():
    other = turned(random_fit(), [2, 0, 1], signs=((1, -1, -1), (-1, -1, 1)))
    assert similarities(stacked(random_fit(), other), torch.tensor([0])) == pytest.approx({3: 1})


def test_similarity_falls_with_the_difference_of_weights():
    heavier = replace(random_fit(), cp_weights=2 * random_fit().cp_weights)
    assert similarities(stacked(random_fit(), heavier), torch.tensor([1])) == pytest.approx({3: 0.5})


@pytest.mark.parametrize("seed", range(1, 5))
def test_similarity_is_the_slow_formula(seed):
    first, second = random_fit(), random_fit(seed=seed)
    second = replace(second, factors=tuple(0.5 * a + b for a, b in zip(first.factors, second.factors, strict=True)))
    second = arranged(second.cp_weights, list(second.factors), relative_error=0.0, converged=True, n_iter=1)
    found = similarities(stacked(first, second), torch.tensor([0]))
    assert found[3] == pytest.approx(slow_similarity(first, second), abs=1e-12)


def test_similarity_is_the_mean_over_the_other_restarts():
    fits = [random_fit(seed=seed) for seed in range(4)]
    expected = sum(slow_similarity(fits[1], fits[other]) for other in (0, 2, 3)) / 3
    assert similarities(stacked(*fits), torch.tensor([1])) == pytest.approx({3: expected})


def test_similarity_leaves_out_ranks_of_one_restart():
    assert similarities(stacked(random_fit()), torch.tensor([0])) == {}


def test_similarity_with_components_of_zeros_is_a_number():
    empty = CPFit(torch.zeros(3).double(), tuple(torch.zeros(n, 3).double() for n in SHAPE), 0.0, True, 1)
    assert similarities(stacked(random_fit(), empty), torch.tensor([0])) == {3: 0.0}


def slow_core_consistency(tensor, fit):
    """Bro & Kiers: 100 (1 - ‖T - I‖² / R) with T the least-squares core on the vectorized tensor."""
    scaled = [fit.factors[0] * fit.cp_weights, *fit.factors[1:]]
    kronecker = torch.ones(1, 1, dtype=torch.float64)
    for factor in scaled:
        kronecker = torch.kron(kronecker, factor)
    core = torch.linalg.lstsq(kronecker, tensor.reshape(-1, 1)).solution.reshape([fit.rank] * tensor.ndim)
    ideal = torch.zeros_like(core)
    for r in range(fit.rank):
        ideal[(r,) * tensor.ndim] = 1
    return 100 * (1 - float((core - ideal).square().sum()) / fit.rank)


def whole(tensor):
    return compress(Data(tensor, device="cpu"), tuple(tensor.shape), exact=True)


@pytest.mark.parametrize("shape", [SHAPE, (5, 6, 7, 4)])
def test_core_consistency_of_a_perfect_model_is_100(planted, shape):
    fit = random_fit(shape=shape)
    assert core_consistency(fit, whole(fit.full())) == pytest.approx(100)


@pytest.mark.parametrize("shape", [SHAPE, (5, 6, 7, 4)])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_core_consistency_is_the_slow_formula(planted, shape, rank):
    tensor = planted.planted(shape, 2, noise=0.5).tensor
    fit = random_fit(rank, shape=shape, seed=3)
    assert core_consistency(fit, whole(tensor)) == pytest.approx(slow_core_consistency(tensor, fit), rel=1e-8)


def test_core_consistency_through_a_small_core_that_holds_the_factors_is_exact(planted):
    fit = random_fit(2)
    tensor = fit.full() + 0.1 * random_fit(1, seed=5).full()
    small = compress(Data(tensor, device="cpu"), (3, 3, 3), exact=True)
    assert core_consistency(fit, small) == pytest.approx(slow_core_consistency(tensor, fit), rel=1e-8)


def test_core_consistency_of_components_that_interact_is_low():
    generator = torch.Generator().manual_seed(0)
    fit = random_fit(2)
    core = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    tensor = torch.einsum("abc,ia,jb,kc->ijk", core, *fit.factors)
    assert core_consistency(fit, whole(tensor)) < 60


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_core_consistency_does_not_depend_on_scale(planted, scale):
    tensor, fit = planted.planted(SHAPE, 2).tensor, random_fit(2)
    scaled = replace(fit, cp_weights=scale * fit.cp_weights)
    assert core_consistency(scaled, whole(scale * tensor)) == pytest.approx(core_consistency(fit, whole(tensor)), rel=1e-6)


def test_degeneracy_is_the_lowest_product_of_cosines():
    fit = random_fit(3)
    pairs = itertools.combinations(range(3), 2)
    slow = min(torch.stack([torch.dot(f[:, r], f[:, q]) for f in fit.factors]).prod().item() for r, q in pairs)
    assert degeneracy(fit) == pytest.approx(slow)


def test_degeneracy_of_components_that_cancel_is_minus_one():
    fit = random_fit(2)
    opposite = tuple(torch.stack([f[:, 0], sign * f[:, 0]], dim=1) for f, sign in zip(fit.factors, (1, -1, 1), strict=True))
    assert degeneracy(replace(fit, factors=opposite)) == pytest.approx(-1)


def test_degeneracy_of_one_component_is_one():
    assert degeneracy(random_fit(1)) == 1
