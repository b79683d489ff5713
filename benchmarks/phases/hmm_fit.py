# SPDX-License-Identifier: Apache-2.0
"""Fit a hidden Markov model with Gaussian features to sequences, and how likely it makes one.

The package follows runs with a fitted `GaussianHMM` and fits none. Here as there, features that were not measured are NaN
and left out.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_interp.phases.gaussian_hmm import Array, GaussianHMM

LEAST_VARIANCE = 1e-3
"""Variances are kept above this, in squared units of the standardised features: no state may shrink onto one point."""
RELATIVE_GAIN = 1e-6
MOST_ROUNDS = 200


def fit_hmm(
    sequences: Sequence[Array], states: int, *, restarts: int = 5, dwell: float = 10.0, seed: int = 0
) -> GaussianHMM:
    """Expectation maximisation over several sequences, the best of several starts.

    Args:
        sequences: Each [point, feature], standardised; NaN where not measured. None empty.
        states: Number of states.
        restarts: Starts, each from random points of the sequences as means.
        dwell: Prior count of each state following itself: a state that lasts is preferred to one that flickers.
        seed: Seed of the starts.

    Returns:
        The model of greatest penalised likelihood.

    References:
        Rabiner 1989, https://doi.org/10.1109/5.18626
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    padded = np.full((len(sequences), lengths.max(), sequences[0].shape[1]), np.nan)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    draw = np.random.default_rng(seed)
    fits = (_climb(_initial(padded, lengths, states, draw), padded, lengths, dwell) for _ in range(restarts))
    return max(fits, key=lambda fit: fit[1])[0]


def log_likelihood(model: GaussianHMM, points: Array) -> float:
    """Log-likelihood of one sequence [point, feature], in nats."""
    return float(_forward(model, points[None], np.array([len(points)]))[1].sum())


def _initial(padded: Array, lengths: NDArray[np.int64], states: int, draw: np.random.Generator) -> GaussianHMM:
    """Means at random points, variances of all points, states that last."""
    inside = np.arange(padded.shape[1]) < lengths[:, None]
    points = padded[inside]
    centre, spread = np.nanmean(points, 0), np.nanvar(points, 0) + LEAST_VARIANCE
    chosen = points[draw.choice(len(points), states, replace=False)]
    means = np.where(np.isnan(chosen), centre, chosen)
    stay = 0.9
    transition = np.full((states, states), (1 - stay) / max(states - 1, 1))
    np.fill_diagonal(transition, stay if states > 1 else 1.0)
    return GaussianHMM(np.full(states, 1 / states), transition, means, np.tile(spread, (states, 1)))


def _climb(model: GaussianHMM, padded: Array, lengths: NDArray[np.int64], dwell: float) -> tuple[GaussianHMM, float]:
    """Rounds of expectation and maximisation until the penalised likelihood stands still."""
    before = -math.inf
    for _ in range(MOST_ROUNDS):
        alpha, scales = _forward(model, padded, lengths)
        with np.errstate(divide="ignore"):
            prior = dwell * float(np.log(np.diag(model.transition)).sum()) if dwell else 0.0
        now = float(scales.sum()) + prior
        if now - before < RELATIVE_GAIN * abs(now):
            break
        before = now
        model = _maximised(model, padded, lengths, alpha, dwell)
    return model, now


def _log_densities(model: GaussianHMM, padded: Array, lengths: NDArray[np.int64]) -> Array:
    """Log-densities [sequence, point, state], 0 beyond the end of a sequence."""
    logs = model.log_density(padded)
    logs[np.arange(padded.shape[1]) >= lengths[:, None]] = 0.0
    return logs


def _forward(model: GaussianHMM, padded: Array, lengths: NDArray[np.int64]) -> tuple[Array, Array]:
    """Filtered probabilities [sequence, point, state] and the log of each point's predictive density."""
    logs = _log_densities(model, padded, lengths)
    alpha, scales = np.empty_like(logs), np.empty(logs.shape[:2])
    predicted = np.broadcast_to(model.start, logs[:, 0].shape)
    for at in range(logs.shape[1]):
        with np.errstate(divide="ignore"):
            joint = np.log(predicted) + logs[:, at]
        top = joint.max(-1, keepdims=True)
        likely = np.exp(joint - top)
        total = likely.sum(-1, keepdims=True)
        alpha[:, at] = likely / total
        scales[:, at] = (np.log(total) + top)[:, 0]
        predicted = alpha[:, at] @ model.transition
    scales[np.arange(padded.shape[1]) >= lengths[:, None]] = 0.0
    return alpha, scales


def _maximised(model: GaussianHMM, padded: Array, lengths: NDArray[np.int64], alpha: Array, dwell: float) -> GaussianHMM:
    """The model that the smoothed states make most likely; they are smoothed backwards from the filtered ones."""
    gamma, follows = np.empty_like(alpha), np.zeros_like(model.transition)
    gamma[:, -1] = alpha[:, -1]
    for at in range(alpha.shape[1] - 2, -1, -1):
        inside = (at + 1 < lengths)[:, None]
        predicted = alpha[:, at] @ model.transition
        ratio = np.divide(gamma[:, at + 1], predicted, out=np.zeros_like(predicted), where=predicted > 0)
        joint = alpha[:, at, :, None] * model.transition * ratio[:, None, :]
        follows += (joint * inside[..., None]).sum(0)
        gamma[:, at] = np.where(inside, joint.sum(-1), alpha[:, at])
    gamma[np.arange(padded.shape[1]) >= lengths[:, None]] = 0.0
    follows = follows + dwell * np.eye(model.states)
    means, variances = _moments(padded, gamma, model)
    return GaussianHMM(_normal(gamma[:, 0].sum(0)), _normal(follows), means, variances)


def _moments(padded: Array, gamma: Array, model: GaussianHMM) -> tuple[Array, Array]:
    """Weighted mean and variance of each feature where it was measured; a state without points keeps its own."""
    known = ~np.isnan(padded)
    values = np.where(known, padded, 0.0)
    weight = np.einsum("stk,stf->kf", gamma, known)
    total = np.maximum(weight, 1e-12)
    means = np.einsum("stk,stf->kf", gamma, values) / total
    squares = np.einsum("stk,stf->kf", gamma, values**2) / total
    variances = np.maximum(squares - means**2, LEAST_VARIANCE)
    enough = weight > 1e-6
    return np.where(enough, means, model.means), np.where(enough, variances, model.variances)


def _normal(counts: Array) -> Array:
    return np.asarray(counts / np.maximum(counts.sum(-1, keepdims=True), 1e-300))
