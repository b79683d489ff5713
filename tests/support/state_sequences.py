# SPDX-License-Identifier: Apache-2.0
"""A hidden Markov model, sequences drawn from it, and the same model in hmmlearn."""

import numpy as np

from lightning_interp.phases.gaussian_hmm import GaussianHMM

MODEL = GaussianHMM(
    start=np.array([0.6, 0.3, 0.1]),
    transition=np.array([[0.95, 0.05, 0.0], [0.0, 0.9, 0.1], [0.05, 0.0, 0.95]]),
    means=np.array([[0.0, 0.0, 0.0, 0.0], [3.0, 1.0, -1.0, 0.0], [-2.0, 2.0, 1.0, 1.0]]),
    variances=np.array([[1.0, 0.25, 1.0, 1.0]] * 3),
)

FAR_APART = GaussianHMM(
    np.array([1.0, 0.0, 0.0]),
    np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]]),
    np.array([[0.0], [2.0], [4.0]]),
    np.full((3, 1), 1e-3),
)
"""Only state 0 leads to 1 and 1 to 2, and each is 500 nats away from a unit off its mean."""
FAR_POINTS = np.array([[0.0], [0.0], [4.0], [2.0], [2.0]])


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
    """The same model in hmmlearn."""
    from hmmlearn.hmm import GaussianHMM as Oracle

    other = Oracle(model.states, covariance_type="diag")
    other.startprob_, other.transmat_, other.means_ = model.start, model.transition, model.means
    other.covars_ = model.variances
    return other
