# SPDX-License-Identifier: Apache-2.0
"""A hidden Markov model with Gaussian features of diagonal covariance: filter and most likely path.

Features that were not measured are NaN and left out of the density of that point, which is exact for diagonal covariances.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianHMM:
    """States with their chances to begin and to follow each other, and the features they show.

    Attributes:
        start: Probability of each state at the first point, [state].
        transition: Probability of the next state, [state, next state].
        means: [state, feature].
        variances: The same, of each feature alone.
    """

    start: Array
    transition: Array
    means: Array
    variances: Array

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.start)

    def log_density(self, points: Array) -> Array:
        """Log-density of each point in each state, [..., state], from points [..., feature]; NaN features left out."""
        apart = points[..., None, :] - self.means
        terms = -0.5 * (apart**2 / self.variances + np.log(2 * np.pi * self.variances))
        return np.asarray(np.where(np.isnan(terms), 0.0, terms).sum(-1))

    def step(self, posterior: Array | None, point: Array) -> Array:
        """Filtered probability of each state after one more point.

        Args:
            posterior: The one before it, None at the first point.
            point: [feature].
        """
        predicted = self.start if posterior is None else posterior @ self.transition
        with np.errstate(divide="ignore"):
            joint = np.log(predicted) + self.log_density(point)  # in logarithms: densities of far points are all zero
        likely = np.exp(joint - joint.max())
        return np.asarray(likely / likely.sum())

    def filtered(self, points: Array) -> Array:
        """Probability of each state at each point given the points up to it, [point, state]: `step` folded over them."""
        posterior, found = None, []
        for point in points:
            posterior = self.step(posterior, point)
            found.append(posterior)
        return np.stack(found) if found else np.empty((0, self.states))

    def most_likely_path(self, points: Array) -> NDArray[np.int64]:
        """States of the single most likely path, one for each point; uses the whole sequence.

        References:
            Viterbi 1967, https://doi.org/10.1109/TIT.1967.1054010
        """
        with np.errstate(divide="ignore"):
            start, transition = np.log(self.start), np.log(self.transition)
        density = self.log_density(points)
        best, came_from = start + density[0], np.zeros((len(points), self.states), dtype=np.int64)
        for at in range(1, len(points)):
            through = best[:, None] + transition
            came_from[at] = through.argmax(0)
            best = through.max(0) + density[at]
        path = [int(best.argmax())]
        for at in range(len(points) - 1, 0, -1):
            path.append(int(came_from[at, path[-1]]))
        return np.array(path[::-1])
