# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.tca import heldout
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.ensemble import Request
from lightning_interp.tca.fitting import fit_data
from lightning_interp.tca.heldout import FOLDS, SIDE, heldout_errors
from lightning_interp.tca.source import Data

pytestmark = pytest.mark.usefixtures("unchecked_fits")

SHAPE = (18, 20, 22)


def fitted(tensor, ranks, *, nonnegative=False):
    data = Data(tensor, device="cpu")
    return data, fit_data(data, Request(tuple(ranks), 5, nonnegative, 0, 1e-6, 500)).fits


def errors_of(data, fits, *, nonnegative=False, seed=0):
    return heldout_errors(data, fits, nonnegative=nonnegative, seed=seed, max_iter=500)


def cold(ranks, shape, *, nonnegative, seed):
    """Models that have seen nothing, in place of fits."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand if nonnegative else torch.randn
    return {
        r: CPFit(
            torch.ones(r, dtype=torch.float64),
            tuple(draw(size, r, generator=generator, dtype=torch.float64) for size in shape),
            math.nan,
            True,
            0,
        )
        for r in ranks
    }


@pytest.mark.parametrize("nonnegative", [False, True])
def test_heldout_errors_are_lowest_at_the_planted_rank_or_as_low(planted, nonnegative):
    tensor = planted.planted(SHAPE, 3, nonnegative=nonnegative).tensor
    data, fits = fitted(tensor, range(1, 6), nonnegative=nonnegative)
    mean = errors_of(data, fits, nonnegative=nonnegative).mean
    assert mean[3] <= 1.02 * min(mean.values())
    assert mean[2] > 1.2 * mean[3]


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_heldout_error_at_the_planted_rank_is_the_noise(planted, noise):
    data, fits = fitted(planted.planted((24, 26, 28), 2, seed=1, noise=noise).tensor, [2])
    # noise relative to data, but on blocks with more or less signal than others
    assert errors_of(data, fits).mean[2] == pytest.approx(noise, rel=0.4)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_heldout_error_does_not_fall_as_noise_is_fitted(planted, nonnegative):
    data, fits = fitted(
        planted.planted(SHAPE, 2, noise=0.5, nonnegative=nonnegative).tensor, [2, 6, 10], nonnegative=nonnegative
    )
    assert fits[10].relative_error < 0.97 * fits[2].relative_error  # the fits themselves do follow the noise
    mean = errors_of(data, fits, nonnegative=nonnegative).mean
    # by chance a component of noise helps a little: less than a tenth of a percent, where the fit gained thirty times that
    assert mean[2] < 1.001 * min(mean[6], mean[10])


def test_heldout_errors_of_pure_noise_are_not_below_one():
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data, fits = fitted(noise, [1, 3, 6])
    # leading components of noise predict noise by chance: to 1e-3 of 7920 entries
    assert min(errors_of(data, fits).mean.values()) > 0.995


@pytest.mark.parametrize("nonnegative", [False, True])
def test_heldout_errors_from_the_full_fit_are_those_from_cold_starts(planted, nonnegative):
    """The start has seen the held-out block; were that still to be felt, errors would be lower than from cold starts."""
    ranks = (2, 4, 6)
    data, fits = fitted(planted.planted(SHAPE, 2, noise=0.4, nonnegative=nonnegative).tensor, ranks, nonnegative=nonnegative)
    warm = errors_of(data, fits, nonnegative=nonnegative).mean
    tries = [
        errors_of(data, cold(ranks, SHAPE, nonnegative=nonnegative, seed=seed), nonnegative=nonnegative).mean
        for seed in range(3)
    ]
    for rank in ranks:
        # median of three starts; ranks above the planted one have many minima, within 2 % of each other
        assert warm[rank] == pytest.approx(sorted(each[rank] for each in tries)[1], rel=0.02)


def test_heldout_errors_do_not_depend_on_the_entries_held_out(planted):
    """What is predicted does not change when the held-out block does: only its distance to the block."""
    predicted = []

    def noting(block, factors):
        predicted.append(planted.full(torch.ones(factors[0].shape[1]), factors))
        return torch.linalg.vector_norm(block)

    tensor = planted.planted(SHAPE, 2, noise=0.3).tensor
    start = cold([2], SHAPE, nonnegative=False, seed=0)
    models = heldout._as_models({2: list(start[2].factors)}, start)
    cut = heldout.Cut((0, 1), torch.arange(4, 8), torch.tensor([1, 5, 9]))
    spoiled = tensor.clone()
    spoiled[4:8, [1, 5, 9]] += 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heldout, "_relative_error", noting)
        for each in (tensor, spoiled):
            heldout._fold(each, models, cut, nonnegative=False, max_iter=100)
    torch.testing.assert_close(predicted[0], predicted[1], rtol=0, atol=0)


def test_heldout_errors_have_a_value_for_every_fold(planted):
    data, fits = fitted(planted.planted(SHAPE, 2).tensor, [1, 2])
    found = errors_of(data, fits)
    assert {rank: len(folds) for rank, folds in found.folds.items()} == {1: 2 * FOLDS, 2: 2 * FOLDS}
    assert found.mean[2] == pytest.approx(sum(found.folds[2]) / (2 * FOLDS))


def test_standard_error_of_the_best_rank_is_zero(planted):
    data, fits = fitted(planted.planted(SHAPE, 2).tensor, [1, 2])
    found = errors_of(data, fits)
    assert found.standard_error[min(found.mean, key=found.mean.get)] == 0


def test_heldout_errors_are_the_same_for_the_same_seed(planted):
    data, fits = fitted(planted.planted(SHAPE, 2).tensor, [1, 2])
    assert errors_of(data, fits, seed=3) == errors_of(data, fits, seed=3)
    assert errors_of(data, fits, seed=3) != errors_of(data, fits, seed=4)


@pytest.mark.usefixtures("checked_types")
def test_heldout_errors_of_four_axes(planted):
    data, fits = fitted(planted.planted((8, 9, 7, 10), 2).tensor, [1, 2, 3])
    mean = errors_of(data, fits).mean
    assert mean[2] <= 1.02 * min(mean.values())


@pytest.mark.usefixtures("checked_types")
def test_heldout_errors_look_at_a_subset_of_wide_modes(planted):
    data, fits = fitted(planted.planted((10, SIDE + 20, SIDE + 4), 2).tensor, [2])
    assert errors_of(data, fits).mean[2] == pytest.approx(0.1, rel=0.4)


def test_heldout_errors_of_a_block_of_zeros_stay_below_one(planted):
    """A block where nothing happens, predicted as nearly nothing, is no reason to distrust a rank."""
    case = planted.planted((12, 6, 6), 2, noise=0.0, nonnegative=True)
    tensor = case.tensor.clone()
    tensor[:, :3, 3:] = 0
    tensor[:, 3:, :3] = 0
    data, fits = fitted(tensor, [1, 2, 3], nonnegative=True)
    for seed in range(8):
        for error in errors_of(data, fits, nonnegative=True, seed=seed).mean.values():
            assert error < 10
