# SPDX-License-Identifier: Apache-2.0
"""Scores that others proposed for foreseeing generalization, and trivial ones; each with its published rule if any."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lightning_interp.phases.scoring.courses import SUSTAINED, Course, first_sustained
from lightning_interp.phases.scoring.labels import FITTED, Series
from lightning_interp.phases.scoring.runs import ScoredRun

OFF_PEAK = 0.1
DISTANCE_FACTOR = 2.5
RESIDUAL_FACTOR, RESIDUAL_WINDOWS = 10.0, 2
BASELINE = 3
"""Values whose median is a run's own baseline."""


def norm_change(run: ScoredRun) -> Course:
    """How far the log weight norm has moved from its start, either way."""
    norm = run.metrics["weight_norm"]
    return Course(run.metrics["step"], np.abs(np.log(norm / norm[0])))


def small_norm(run: ScoredRun) -> Course:
    """Minus the log weight norm in units of its start."""
    norm = run.metrics["weight_norm"]
    return Course(run.metrics["step"], -np.log(norm / norm[0]))


def off_peak(run: ScoredRun) -> Course:
    """Share of its running peak that the held-out loss has come down; published rule: 10 %."""
    step, loss = run.metrics["step"], run.metrics["heldout_loss"]
    fall = 1 - loss / np.fmax.accumulate(loss)
    return Course(step, fall, first_sustained(step, (fall >= OFF_PEAK).tolist(), SUSTAINED))


def distance_ratio(run: ScoredRun) -> Course:
    """Distance between classes over the spread within, in units of its early value; rule of arXiv 2604.20923: 2.5."""
    step, ratio = _known(run, "distance_ratio")
    if len(ratio) <= BASELINE:
        return Course(step, np.full_like(ratio, np.nan))
    grown = ratio / np.median(ratio[:BASELINE])
    return Course(step, grown, first_sustained(step, (grown >= DISTANCE_FACTOR).tolist(), SUSTAINED))


def hankel_residual(run: ScoredRun) -> Course:
    """Residual of a Hankel mode decomposition in units of the first windows after the fit.

    Rule of arXiv 2605.08237: ten times the baseline in two windows in a row. The paper does not say what the baseline is;
    here it is the median of the first three windows after a train accuracy of 99 %.
    """
    step, residual = _known(run, "hankel_residual")
    fitted = run.metrics["step"][run.metrics["train_accuracy"] >= FITTED]
    after = step >= (fitted[0] if len(fitted) else np.inf)
    if after.sum() <= BASELINE:
        return Course(step, np.full_like(residual, np.nan))
    step, residual = step[after], residual[after]
    grown = residual / np.median(residual[:BASELINE])
    return Course(step, grown, first_sustained(step, (grown > RESIDUAL_FACTOR).tolist(), RESIDUAL_WINDOWS))


def _known(run: ScoredRun, name: str) -> tuple[Series, Series]:
    """Steps and values of a column where it has values."""
    values = run.metrics.get(name, np.full_like(run.metrics["step"], np.nan))
    known = np.isfinite(values)
    return run.metrics["step"][known], values[known]


RIVALS: Mapping[str, Callable[[ScoredRun], Course]] = {
    "norm change": norm_change,
    "small norm": small_norm,
    "loss off its peak": off_peak,
    "class distance ratio": distance_ratio,
    "Hankel residual": hankel_residual,
}
"""Every rival by the name tables give it."""


def described() -> dict[str, Any]:
    """First line of what each rival is, by name."""
    return {name: (rival.__doc__ or "").splitlines()[0] for name, rival in RIVALS.items()}
