# SPDX-License-Identifier: Apache-2.0
"""Latent states of a training: which of a few typical situations its measures are in, by a hidden Markov model.

The model is fitted once on many runs and shipped; of a finished run its forward filter and the most likely path are found.
Features are relative to the run's own first record, so that they are causal and do not depend on its scale.

References:
    Hu et al. 2023, https://arxiv.org/abs/2308.09543, who fit such models to weight statistics.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_interp.phases.gaussian_hmm import Array, GaussianHMM

PER_EFOLD = 25
"""Most records that count, per e-fold of steps."""
SPENT = 1e-3
"""Share of its first value under which a loss counts as spent."""
FURTHEST = 5.0
"""Deviations beyond which a feature says no more: one outlier must not outweigh all the others."""
IN_WORDS = 3
"""Features that describe a state."""
NOTABLE = 0.5
"""Deviations from the mean of all runs from which a feature is worth a word."""


def _log_ratio(now: float, first: float) -> float:
    return math.log(now / first) if now > 0 and first > 0 else math.nan


def _log_loss(now: float, first: float) -> float:
    return math.log(max(now, 0.0) / first + SPENT) if first > 0 else math.nan


Change = Callable[[float, float], float]
FEATURES: Mapping[str, Change] = {
    "train_loss": _log_loss,
    "heldout_loss": _log_loss,
    "weight_norm": _log_ratio,
    "effective_rank": _log_ratio,
    "stable_rank": _log_ratio,
    "hoyer": operator.sub,
    "train_margin": _log_ratio,
    "heldout_margin": _log_ratio,
}
"""Record names the states are told by, and how each is compared with the run's first record."""


@dataclass(frozen=True)
class StateModel:
    """A fitted model with what standardises its features.

    Attributes:
        version: Which fit it is.
        hmm: States over the standardised features, in the order of `FEATURES`.
        mean: Mean of each feature over the runs of the fit.
        deviation: Its standard deviation.
        generalizing: By state, the share of time in it that belongs to runs which generalized late (before they did) and not
            to runs with nothing to generalize; runs of both sorts count as equally many.
    """

    version: str
    hmm: GaussianHMM
    mean: Array
    deviation: Array
    generalizing: Array

    def describe(self, state: int) -> str:
        """What stands out in a state: its leading features in words, strongest first."""
        away = self.hmm.means[state]
        names = list(FEATURES)
        leading = sorted(range(len(names)), key=lambda index: -abs(away[index]))[:IN_WORDS]
        words = [f"{names[i].replace('_', ' ')} {_word(away[i])}" for i in leading if abs(away[i]) >= NOTABLE]
        return ", ".join(words) or "nothing stands out"


@dataclass(frozen=True)
class LatentStates:
    """States of one run.

    Attributes:
        steps: Optimizer steps of the records that count.
        path: Most likely state at each, over the whole run.
        filtered: Probability of each state at each step given the records up to it, [record, state].
        descriptions: What stands out in each state, by state.
        generalizing: Share of generalizing runs among those seen in each state, by state (`StateModel`).
    """

    steps: tuple[int, ...]
    path: tuple[int, ...]
    filtered: Array
    descriptions: tuple[str, ...]
    generalizing: tuple[float, ...]

    @property
    def stretches(self) -> list[tuple[int, int, int | None]]:
        """State, first step and first step of the next stretch (None for the last), in order."""
        begins = [i for i, state in enumerate(self.path) if i == 0 or state != self.path[i - 1]]
        ends = [self.steps[i] for i in begins[1:]]
        return [(self.path[i], self.steps[i], end) for i, end in zip(begins, [*ends, None], strict=False)]


def standardised(raw: Array, mean: Array, deviation: Array) -> Array:
    """Features in deviations from a mean, cut at `FURTHEST`: the same in the fit and in use."""
    return np.asarray(np.clip((raw - mean) / deviation, -FURTHEST, FURTHEST))


class FeatureReader:
    """Features of one run, record by record, each relative to the run's first value of that name."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}

    def read(self, values: Mapping[str, float]) -> Array:
        """Features of one more record in the order of `FEATURES`; NaN where a value is missing or not finite.

        Args:
            values: Numbers by record name; names that are no feature are ignored.
        """
        return np.array([self._feature(name, values.get(name, math.nan)) for name in FEATURES])

    def _feature(self, name: str, value: float) -> float:
        if not math.isfinite(value):
            return math.nan
        if value != 0:  # nothing can be compared with a first value of zero
            self._first.setdefault(name, value)
        return FEATURES[name](value, self._first[name]) if name in self._first else math.nan


def counts(step: int, last: int | None) -> bool:
    """Whether a record is far enough from the last one that counted."""
    return last is None or math.log((step + 1) / (last + 1)) >= 1 / PER_EFOLD


def features(steps: Sequence[int], rows: Sequence[Mapping[str, float]]) -> tuple[list[int], Array]:
    """Steps that count, and the raw features there, [record, feature]; NaN where a value is missing.

    Args:
        steps: Optimizer steps, increasing.
        rows: Numbers by record name at each.
    """
    reader, kept, found = FeatureReader(), list[int](), list[Array]()
    for step, row in zip(steps, rows, strict=True):
        if counts(step, kept[-1] if kept else None):
            kept.append(step)
            found.append(reader.read(row))
    return kept, np.array(found).reshape(len(kept), len(FEATURES))


def latent_states(steps: Sequence[int], rows: Sequence[Mapping[str, float]], model: StateModel) -> LatentStates:
    """States of a finished run; steps and rows as for `features`."""
    kept, raw = features(steps, rows)
    points = standardised(raw, model.mean, model.deviation)
    path = model.hmm.most_likely_path(points) if len(points) else np.empty(0, dtype=np.int64)
    described = tuple(model.describe(state) for state in range(model.hmm.states))
    shares = tuple(model.generalizing.tolist())
    return LatentStates(tuple(kept), tuple(path.tolist()), model.hmm.filtered(points), described, shares)


def _word(deviations: float) -> str:
    much = "very " if abs(deviations) >= 1.5 else ""
    return much + ("high" if deviations > 0 else "low")
