# SPDX-License-Identifier: Apache-2.0
"""How strongly memorization, circuit formation and cleanup are under way: causal numbers in [0, 1] that may overlap."""

import math

from lightning_interp.phases import limits
from lightning_interp.phases.run_state import RunState

NORM_SCALE = 0.5
"""Fall of the log weight norm per e-fold of steps at which the cleanup activity is full."""


def intensities(state: RunState) -> tuple[float, float, float]:
    """Intensities of the three processes at the latest evaluation, in the order of `INTENSITY_NAMES`.

    - memorization: how far the training set is fitted, times the share of the largest train/held-out gap that is left.
    - circuit_formation: the strongest sign that a generalizing circuit grows (progress of the held-out curve from its peak
      to that of a constant answer in log loss, percentile z, excluded loss), times the share of the curve still to fall.
    - cleanup: that progress squared, times the faster of the held-out curve's and the weight norm's fall.

    The last two are 0 unless the training set was fitted while held-out data was unknown; so are they without held-out data,
    and the first is the fit alone then.
    """
    observed, fit = state.observed, _fit(state)
    if not observed.heldout:
        return round(fit, 4), 0.0, 0.0
    memorization = round(fit * _gap_left(state), 4)
    if not state.memorized:
        return memorization, 0.0, 0.0
    progress = _progress(state)
    signs = max(progress, _percentile_sign(state), _excluded_sign(state))
    to_fall = _clip(observed.heldout.recent / max(_null(state), 1e-12))
    return memorization, round(signs * to_fall, 4), round(progress**2 * _activity(state), 4)


def _null(state: RunState) -> float:
    return state.observed.null(state.observed.heldout).value


def _fit(state: RunState) -> float:
    """Share of the train curve's first value that is fitted away; 1 once the training set is fitted."""
    train = state.observed.train
    if not train:
        return 0.0
    if state.observed.fitted_now:
        return 1.0
    return _clip(1 - train.recent / train.first) if train.first > 0 else 0.0


def _gap_left(state: RunState) -> float:
    largest = max(state.observed.heldout.marked_peak, _null(state))
    return _clip(state.observed.gap / largest) if largest > 0 else 0.0


def _progress(state: RunState) -> float:
    """Way of the held-out curve from its peak since the fit to the level of a constant answer, in its logarithm."""
    heldout = state.observed.heldout
    peak, level, now = heldout.marked_peak, _null(state), max(heldout.recent, 1e-300)
    if not math.isfinite(peak) or peak <= 0 or level <= 0:
        return 0.0
    return _clip(math.log(peak / now) / math.log(peak / level) if peak > level else 1 - now / peak)


def _percentile_sign(state: RunState) -> float:
    z = state.observed["heldout_percentile_z"]
    return _clip((z.recent - limits.PERCENTILE / 2) / (2 * limits.PERCENTILE)) if z else 0.0


def _excluded_sign(state: RunState) -> float:
    """0 at the minimum of the excluded loss since the fit, 1 at a thousand times it."""
    excluded = state.observed["excluded_loss_max"] or state.observed["excluded_loss"]
    if not excluded or excluded.low <= 0:
        return 0.0
    return _clip(math.log(max(excluded.recent / excluded.low, 1e-12)) / math.log(1000))


def _activity(state: RunState) -> float:
    observed = state.observed
    falls = [-(observed.heldout.slope(observed.clock) or 0.0) / max(_null(state), 1e-12)]
    if norm := observed["weight_norm"]:
        falls.append(-(norm.slope(observed.clock, log=True) or 0.0) / NORM_SCALE)
    return _clip(max(falls))


def _clip(value: float) -> float:
    return min(max(0.0, value), 1.0)  # max(0.0, -0.0) is 0.0, max(-0.0, 0.0) is -0.0
