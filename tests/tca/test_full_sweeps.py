# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.tca import source
from lightning_interp.tca.full_sweeps import _FullSweep, residual_errors
from lightning_interp.tca.full_sweeps import finish as finish_from
from lightning_interp.tca.models import random_models
from lightning_interp.tca.source import Data
from lightning_interp.tca.updates import hals, least_squares

SHAPES = [(6, 7, 8), (4, 5, 6, 3), (1, 5, 6), (5, 1, 2)]


def starts(shape, ranks=(2, 3), restarts=2, *, nonnegative=False, dtype=torch.float64, seed=0):
    return random_models(ranks, restarts, shape, seed=seed, nonnegative=nonnegative, dtype=dtype)


def finish(data, models, **settings):
    """From models of which nothing is known."""
    return finish_from(data, models, torch.full((len(models),), torch.inf, dtype=torch.float64), **settings)


def slow_sweep(tensor, factors, update):
    """One sweep of one model by unfoldings, einsum and float64: factors [size, component], columns scaled as in `finish`."""
    factors = [factor.clone() for factor in factors]
    letters = "abcd"[: tensor.ndim]
    for mode in range(tensor.ndim):
        others = [n for n in range(tensor.ndim) if n != mode]
        parts = ",".join(f"{letters[n]}r" for n in others)
        mttkrp = torch.einsum(f"{letters},{parts}->{letters[mode]}r", tensor, *[factors[n] for n in others])
        grams = torch.ones(factors[0].shape[1], factors[0].shape[1], dtype=torch.float64)
        for n in others:
            grams = grams * (factors[n].T @ factors[n])
        factors[mode] = update(factors[mode], mttkrp, grams)
        if mode < tensor.ndim - 1:
            factors[mode] = factors[mode] / factors[mode].norm(dim=0)
    return factors


def slow_least_squares(old, mttkrp, grams):
    return torch.linalg.lstsq(grams, mttkrp.T).solution.T


def slow_hals(old, mttkrp, grams):
    new = old.clone()
    for r in range(old.shape[1]):
        rest = sum(new[:, q] * grams[q, r] for q in range(old.shape[1]) if q != r)
        new[:, r] = ((mttkrp[:, r] - rest) / grams[r, r]).clamp_min(0)
    return new


def data_tensor(planted, shape, nonnegative):
    rank = 2 if min(shape) > 1 else 1
    return planted.planted(shape, rank, seed=1, nonnegative=nonnegative, noise=0.3).tensor


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 2**28])
def test_finish_is_the_slow_sweep(planted, shape, nonnegative, chunk_bytes, monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", chunk_bytes)
    tensor = data_tensor(planted, shape, nonnegative)
    models = starts(shape, (1, 2), nonnegative=nonnegative)
    done = finish(Data(tensor, device="cpu"), models, nonnegative=nonnegative, sweeps=1)
    for row, rank in enumerate(models.ranks.tolist()):
        old = [factor[row, :rank].T for factor in models.factors]
        slow = slow_sweep(tensor, old, slow_hals if nonnegative else slow_least_squares)
        found = [factor[row, :rank].T for factor in done.models.factors]
        # one set of normal equations a mode, condition below 1e4
        torch.testing.assert_close(
            planted.full(torch.ones(rank), found), planted.full(torch.ones(rank), slow), rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_finish_reports_the_residual_of_its_models(planted, shape, dtype, nonnegative):
    tensor = data_tensor(planted, shape, nonnegative).to(dtype)
    done = finish(
        Data(tensor, device="cpu"), starts(shape, nonnegative=nonnegative, dtype=dtype), nonnegative=nonnegative, sweeps=2
    )
    for row, rank in enumerate(done.models.ranks.tolist()):
        model = planted.full(torch.ones(rank), [factor[row, :rank].T for factor in done.models.factors])
        direct = float((tensor.double() - model).norm() / tensor.double().norm())
        # A squared error is a difference of sums of the order of 1, in the data's precision: some ten roundings in float32.
        rounding = max(16 * torch.finfo(dtype).eps, 1e-12)
        assert float(done.errors[row]) ** 2 == pytest.approx(direct**2, abs=rounding)


@pytest.mark.parametrize("noise", [0.1, 0.03, 0.011])
def test_finish_reports_the_residual_of_a_large_float32_tensor(planted, noise):
    # snapshots of 2^19 entries: sums in float32 are right to 4e-7, relative errors of .03 then to 7e-6
    case = planted.planted((4, 512, 1024), 2, noise=noise, dtype=torch.float32, nonnegative=True)
    models = starts((4, 512, 1024), (2,), 1, nonnegative=True, dtype=torch.float32)
    for factor, known in zip(models.factors, case.factors, strict=True):
        factor[0] = known.T.float()
    models.factors[-1][0] *= case.weights[:, None].float()
    done = finish(Data(case.tensor, device="cpu"), models, nonnegative=True, sweeps=2)
    model = planted.full(torch.ones(2), [factor[0].T for factor in done.models.factors])
    direct = float((case.tensor.double() - model).norm() / case.tensor.double().norm())
    assert float(done.errors[0]) == pytest.approx(direct, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residual_errors_are_those_of_the_residual(planted, dtype):
    tensor = data_tensor(planted, (6, 7, 8), False).to(dtype)
    models = starts((6, 7, 8), dtype=dtype)
    found = residual_errors(Data(tensor, device="cpu"), models)
    for row, rank in enumerate(models.ranks.tolist()):
        model = planted.full(torch.ones(rank), [factor[row, :rank].T for factor in models.factors])
        direct = float((tensor.double() - model).norm() / tensor.double().norm())
        assert float(found[row]) == pytest.approx(direct, rel=1e-6)


@pytest.mark.parametrize("shape", [(6, 7, 8), (4, 5, 6, 3)])
def test_full_sweeps_sum_the_mttkrp_of_every_mode(planted, shape):
    """The normal equations of a mode whose update is the identity on its MTTKRP are the MTTKRP themselves."""
    tensor = data_tensor(planted, shape, False)
    models = starts(shape, (3,), 1)
    seen = []

    def noting(old, mttkrp, grams):
        seen.append((old, mttkrp.clone(), grams.clone()))
        return least_squares(old, mttkrp, grams)

    work = _FullSweep(Data(tensor, device="cpu"), models, noting)
    inner = work._update_first()
    letters = "abcd"[: len(shape)]
    for mode in range(1, len(shape) - 1):
        others = [n for n in range(len(shape)) if n != mode]
        parts = ",".join(f"r{letters[n]}" for n in others)
        current = [factor[0] for factor in work._factors]
        expected = torch.einsum(f"{letters},{parts}->r{letters[mode]}", tensor, *[current[n] for n in others])
        work._update_inner(mode, inner)
        torch.testing.assert_close(seen[-1][1][0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("nonnegative", [False, True])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), family=st.sampled_from(["plain", "one_mode_collinear", "all_modes_collinear", "sparse"]))
def test_error_does_not_rise_from_sweep_to_sweep(planted, nonnegative, seed, family):
    case = planted.planted((6, 7, 8), 3, seed=seed, family=family, nonnegative=nonnegative, noise=0.3)
    models = starts((6, 7, 8), (2, 3, 4), nonnegative=nonnegative, seed=seed)
    work = _FullSweep(Data(case.tensor, device="cpu"), models, hals if nonnegative else least_squares)
    before = work.sweep()
    for _ in range(15):
        after = work.sweep()
        assert bool((after <= before * (1 + 1e-12)).all())  # rounding of sums of squares
        before = after


@pytest.mark.parametrize("nonnegative", [False, True])
def test_finish_of_a_source_is_that_of_its_tensor(planted, monkeypatch, nonnegative):
    monkeypatch.setattr(source, "CHUNK_BYTES", 1)
    tensor = data_tensor(planted, (6, 7, 8), nonnegative)
    models = starts((6, 7, 8), nonnegative=nonnegative)
    streamed = finish(Data(planted.CountingSource(tensor), device="cpu"), models, nonnegative=nonnegative, sweeps=3)
    resident = finish(Data(tensor, device="cpu"), models, nonnegative=nonnegative, sweeps=3)
    torch.testing.assert_close(streamed.errors, resident.errors, rtol=1e-12, atol=0)


def test_finish_takes_two_passes_a_sweep(planted):
    counting = planted.CountingSource(data_tensor(planted, (6, 7, 8), False))
    data = Data(counting, device="cpu")
    counting.reads.clear()
    finish(data, starts((6, 7, 8)), nonnegative=False, sweeps=1)
    assert counting.passes == 2


def test_finish_stops_once_errors_settle(planted):
    tensor = data_tensor(planted, (6, 7, 8), False)
    data = Data(tensor, device="cpu")
    settled = finish(data, starts((6, 7, 8)), nonnegative=False, sweeps=300)
    assert settled.sweeps < 300
    assert finish(data, settled.models, nonnegative=False, sweeps=300).sweeps <= 2


def test_finish_of_no_sweeps_leaves_the_models(planted):
    models = starts((6, 7, 8))
    done = finish(Data(data_tensor(planted, (6, 7, 8), False), device="cpu"), models, nonnegative=False, sweeps=0)
    torch.testing.assert_close(done.models.factors, models.factors, rtol=0, atol=0)


def test_finish_does_not_change_the_models_it_was_given(planted):
    models = starts((6, 7, 8))
    before = [factor.clone() for factor in models.factors]
    finish(Data(data_tensor(planted, (6, 7, 8), False), device="cpu"), models, nonnegative=False, sweeps=2)
    torch.testing.assert_close(list(models.factors), before, rtol=0, atol=0)


def test_finish_keeps_padding_zero(planted):
    models = starts((6, 7, 8), (1, 4))
    done = finish(Data(data_tensor(planted, (6, 7, 8), False), device="cpu"), models, nonnegative=False, sweeps=2)
    for factor in done.models.factors:
        assert not bool(factor[~models.mask()].any())
