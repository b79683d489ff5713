# SPDX-License-Identifier: Apache-2.0
"""The hidden Markov model against hmmlearn, and where hmmlearn has no answer against what must hold."""

import warnings

import numpy as np
import pytest

from lightning_interp.phases.gaussian_hmm import GaussianHMM, fit_hmm

MODEL = GaussianHMM(
    start=np.array([0.6, 0.3, 0.1]),
    transition=np.array([[0.95, 0.05, 0.0], [0.0, 0.9, 0.1], [0.05, 0.0, 0.95]]),
    means=np.array([[0.0, 0.0, 0.0, 0.0], [3.0, 1.0, -1.0, 0.0], [-2.0, 2.0, 1.0, 1.0]]),
    variances=np.array([[1.0, 0.25, 1.0, 1.0]] * 3),
)


def sample(length, seed):
    """Points and states of one sequence drawn from the model."""
    draw = np.random.default_rng(seed)
    state = draw.choice(3, p=MODEL.start)
    points, states = [], []
    for _ in range(length):
        points.append(MODEL.means[state] + np.sqrt(MODEL.variances[state]) * draw.normal(size=4))
        states.append(state)
        state = draw.choice(3, p=MODEL.transition[state])
    return np.array(points), np.array(states)


SEQUENCES = [sample(length, seed)[0] for seed, length in enumerate((80, 120, 60, 100))]


def oracle(model):
    from hmmlearn.hmm import GaussianHMM as Oracle

    other = Oracle(model.states, covariance_type="diag")
    other.startprob_, other.transmat_, other.means_ = model.start, model.transition, model.means
    other.covars_ = model.variances
    return other


@pytest.mark.parametrize("points", SEQUENCES)
def test_the_likelihood_equals_hmmlearn_s(points):
    # Sums of some 400 logarithms of order 1: rounding of order 1e-12.
    assert MODEL.log_likelihood(points) == pytest.approx(oracle(MODEL).score(points), abs=1e-10)


@pytest.mark.parametrize("points", SEQUENCES)
def test_the_most_likely_path_equals_hmmlearn_s(points):
    assert MODEL.most_likely_path(points).tolist() == oracle(MODEL).decode(points)[1].tolist()


@pytest.mark.parametrize("points", SEQUENCES)
def test_the_filter_at_the_end_equals_hmmlearn_s_smoother_there(points):
    for end in (1, 2, 30, len(points)):
        smoothed = oracle(MODEL).predict_proba(points[:end])[-1]
        assert MODEL.filtered(points[:end])[-1] == pytest.approx(smoothed, abs=1e-10)


def test_the_filter_does_not_see_the_future():
    points = SEQUENCES[0]
    assert np.array_equal(MODEL.filtered(points)[:30], MODEL.filtered(points[:30]))


def test_a_fit_without_prior_is_as_likely_as_hmmlearn_s():
    from hmmlearn.hmm import GaussianHMM as Oracle

    ours = fit_hmm(SEQUENCES, 3, dwell=0.0)
    other = Oracle(3, n_iter=500, tol=1e-8, covars_prior=0, covars_weight=0, random_state=0)
    lengths = [len(points) for points in SEQUENCES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.fit(np.concatenate(SEQUENCES), lengths)
    total = sum(ours.log_likelihood(points) for points in SEQUENCES)
    # Both climb the same hill and stop within 1e-6 of its top, relative to some 1,900 nats.
    assert total >= other.score(np.concatenate(SEQUENCES), lengths) - 0.01


def test_a_fit_finds_the_states_that_the_sequences_came_from():
    found = fit_hmm(SEQUENCES, 3)
    order = [int(np.square(found.means - mean).sum(1).argmin()) for mean in MODEL.means]
    # 360 points, at least 80 a state: means are known to .11 of their deviation, four of that for the worst of twelve.
    assert sorted(order) == [0, 1, 2]
    assert found.means[order] == pytest.approx(MODEL.means, abs=0.45)


def test_features_that_were_not_measured_are_left_out():
    points = SEQUENCES[0].copy()
    points[:, 3] = np.nan
    without = GaussianHMM(MODEL.start, MODEL.transition, MODEL.means[:, :3], MODEL.variances[:, :3])
    assert MODEL.log_likelihood(points) == pytest.approx(without.log_likelihood(points[:, :3]), abs=1e-10)


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


def test_far_points_do_not_underflow():
    """Only state 0 leads to 1 and 1 to 2, and each is 500 nats away from a unit off its mean."""
    model = GaussianHMM(
        np.array([1.0, 0.0, 0.0]),
        np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]]),
        np.array([[0.0], [2.0], [4.0]]),
        np.full((3, 1), 1e-3),
    )
    points = np.array([[0.0], [0.0], [4.0], [2.0], [2.0]])
    # The point at 4 is 2 off state 1 and 4 off state 0: state 1 is the only one left to believe in.
    assert model.filtered(points)[2] == pytest.approx([0, 1, 0], abs=1e-12)
    assert model.log_likelihood(points) == pytest.approx(oracle(model).score(points), abs=1e-8)
