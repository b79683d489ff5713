# SPDX-License-Identifier: Apache-2.0
"""The fit of hidden Markov models against hmmlearn, and what must hold of it."""

import warnings

import numpy as np
import pytest
from hmm_fit import fit_hmm, log_likelihood
from state_sequences import FAR_APART, FAR_POINTS, MODEL, SEQUENCES, oracle


@pytest.mark.parametrize("points", SEQUENCES)
def test_log_likelihood_equals_hmmlearn_s(points):
    # Sums of some 400 logarithms of order 1: rounding of order 1e-12.
    assert log_likelihood(MODEL, points) == pytest.approx(oracle(MODEL).score(points), abs=1e-10)


def test_a_fit_without_prior_is_as_likely_as_hmmlearn_s():
    from hmmlearn.hmm import GaussianHMM as Oracle

    ours = fit_hmm(SEQUENCES, 3, dwell=0.0)
    other = Oracle(3, n_iter=500, tol=1e-8, covars_prior=0, covars_weight=0, random_state=0)
    lengths = [len(points) for points in SEQUENCES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.fit(np.concatenate(SEQUENCES), lengths)
    total = sum(log_likelihood(ours, points) for points in SEQUENCES)
    # Both climb the same hill and stop within 1e-6 of its top, relative to some 1,900 nats.
    assert total >= other.score(np.concatenate(SEQUENCES), lengths) - 0.01


def test_a_fit_finds_the_states_that_the_sequences_came_from():
    found = fit_hmm(SEQUENCES, 3)
    order = [int(np.square(found.means - mean).sum(1).argmin()) for mean in MODEL.means]
    # 360 points, at least 80 a state: means are known to .11 of their deviation, four of that for the worst of twelve.
    assert sorted(order) == [0, 1, 2]
    assert found.means[order] == pytest.approx(MODEL.means, abs=0.45)


def test_a_fit_does_with_gaps():
    draw = np.random.default_rng(5)
    gappy = [np.where(draw.random(points.shape) < 0.2, np.nan, points) for points in SEQUENCES]
    found = fit_hmm(gappy, 3)
    order = [int(np.square(found.means - mean).sum(1).argmin()) for mean in MODEL.means]
    assert found.means[order] == pytest.approx(MODEL.means, abs=0.5)


def test_a_prior_on_dwelling_makes_states_last():
    noise = [np.random.default_rng(seed).normal(size=(60, 2)) for seed in range(3)]
    loose, sticky = (fit_hmm(noise, 3, dwell=dwell) for dwell in (0.0, 200.0))
    assert np.diag(sticky.transition).min() > np.diag(loose.transition).min()


def test_the_same_seed_gives_the_same_fit():
    first, second = (fit_hmm(SEQUENCES, 2, seed=3) for _ in range(2))
    assert np.array_equal(first.means, second.means)


def test_log_likelihood_of_far_points_does_not_underflow():
    # Some 2,000 nats: rounding of order 1e-12.
    assert log_likelihood(FAR_APART, FAR_POINTS) == pytest.approx(oracle(FAR_APART).score(FAR_POINTS), abs=1e-8)
