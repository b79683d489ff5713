# SPDX-License-Identifier: Apache-2.0
"""How strongly memorization, circuit formation and cleanup are under way: causal numbers in [0, 1] that may overlap."""

import math

from lightning_interp.phases.rules import Rules
from lightning_interp.phases.run_series import RunSeries

NORM_SCALE = 0.5
"""Fall of the log weight norm per e-fold of steps at which the cleanup activity is full."""


def intensities(observed: RunSeries, rules: Rules) -> tuple[float, float, float]:
    """Intensities of the three processes at the latest evaluation, in the order of `INTENSITY_NAMES`.

    - memorization: how far the training set is fitted, times the share of the largest train/held-out gap that is left.
    - circuit_formation: the strongest sign that a generalizing circuit grows (progress of the held-out curve from its peak
      to its turning level in log loss, percentile z, excluded loss), times the share of the held-out curve still to fall.
    - cleanup: that progress squared, times the faster of the held-out curve's and the weight norm's fall.

    Without held-out data the first is the fit alone and the others are 0.
    """
    fit = _fit(observed)
    if not observed.heldout:
        return round(fit, 4), 0.0, 0.0
    progress = observed.progress if rules["fitted"].first_since is not None else 0.0
    signs = max(progress, _percentile_sign(observed), _excluded_sign(observed, rules))
    to_fall = _clip(observed.heldout.recent / max(observed.turning_level, 1e-12))
    cleanup = progress**2 * _activity(observed)
    return round(fit * _gap_left(observed), 4), round(signs * to_fall, 4), round(cleanup, 4)


def _fit(observed: RunSeries) -> float:
    """Share of the train curve's first value that is fitted away; 1 once the training set is fitted."""
    train = observed.train
    if not train:
        return 0.0
    if observed.fitted_now:
        return 1.0
    return _clip(1 - train.recent / train.first) if train.first > 0 else 0.0


def _gap_left(observed: RunSeries) -> float:
    chance, heldout = observed.chance()[0], observed.heldout
    largest = max(heldout.marked_peak, chance)
    return _clip(observed.gap / largest) if largest > 0 else 0.0


def _percentile_sign(observed: RunSeries) -> float:
    z = observed["heldout_percentile_z"]
    return _clip((z.recent - 2) / 8) if z else 0.0


def _excluded_sign(observed: RunSeries, rules: Rules) -> float:
    """0 at the minimum of the excluded loss since the fit, 1 at a thousand times it."""
    excluded = observed["excluded_loss_max"] or observed["excluded_loss"]
    if not excluded or rules["fitted"].first_since is None or excluded.low <= 0:
        return 0.0
    return _clip(math.log(max(excluded.recent / excluded.low, 1e-12)) / math.log(1000))


def _activity(observed: RunSeries) -> float:
    clock, norm = observed.clock, observed["weight_norm"]
    falls = [-(observed.heldout.slope(clock) or 0.0) / max(observed.turning_level, 1e-12)]
    if norm:
        falls.append(-(norm.slope(clock, log=True) or 0.0) / NORM_SCALE)
    return _clip(max(falls))


def _clip(value: float) -> float:
    return min(max(0.0, value), 1.0)  # max(0.0, -0.0) is 0.0, max(-0.0, 0.0) is -0.0
