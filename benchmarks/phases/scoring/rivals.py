# SPDX-License-Identifier: Apache-2.0
"""Scores that others proposed for foreseeing generalization, and trivial ones; each with its published rule if any."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scoring.courses import Course
from scoring.labels import FITTED, SUSTAINED, Series, first_run
from scoring.runs import ScoredRun

OFF_PEAK = 0.1
DISTANCE_FACTOR = 2.5
RESIDUAL_FACTOR, RESIDUAL_WINDOWS, RESIDUAL_STEPS = 10.0, 2, 500
BASELINE = 3
"""Values whose median is a run's own baseline."""


@dataclass(frozen=True)
class Rival:
    """A score of somebody else.

    Attributes:
        name: What tables call it.
        course: Its course over a run.
        rule: Its published alarm in words, or None if there is none.
    """

    name: str
    course: Callable[[ScoredRun], Course]
    rule: str | None = None


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
    return Course(step, fall, _alarm(step, fall >= OFF_PEAK, SUSTAINED))


def distance_ratio(run: ScoredRun) -> Course:
    """Distance between classes over the spread within, in units of its early value; rule of arXiv 2604.20923: 2.5."""
    step, ratio = _known(run, "distance_ratio")
    if len(ratio) <= BASELINE:
        return Course(step, np.full_like(ratio, np.nan))
    grown = ratio / np.median(ratio[:BASELINE])
    grown[: BASELINE - 1] = np.nan  # not known before the baseline is
    return Course(step, grown, _alarm(step, grown >= DISTANCE_FACTOR, SUSTAINED))


def hankel_residual(run: ScoredRun) -> Course:
    """Residual of a Hankel mode decomposition in units of the first windows after the fit.

    Rule of arXiv 2605.08237: ten times the baseline in two windows in a row. The paper does not say what the baseline is;
    here it is the median of the first three windows after a train accuracy of 99 %.
    """
    step, residual = _known(run, "hankel_residual")
    fitted = run.metrics["step"][run.metrics["train_accuracy"] >= FITTED]
    after = step - RESIDUAL_STEPS >= (fitted[0] if len(fitted) else np.inf)  # windows that lie after the fit
    if after.sum() <= BASELINE:
        return Course(step, np.full_like(residual, np.nan))
    step, residual = step[after], residual[after]
    grown = residual / np.median(residual[:BASELINE])
    grown[: BASELINE - 1] = np.nan  # not known before the baseline is
    alarm = _alarm(step, grown > RESIDUAL_FACTOR, RESIDUAL_WINDOWS)
    return Course(step, grown, alarm, RESIDUAL_WINDOWS)


def _alarm(step: Series, holds: NDArray[np.bool_], times: int) -> int | None:
    """Step at which a condition has held so many times in a row."""
    first = first_run(holds, times)
    return None if first is None else int(step[first + times - 1])


def _known(run: ScoredRun, name: str) -> tuple[Series, Series]:
    """Steps and values of a column where it has values."""
    values = run.metrics.get(name, np.full_like(run.metrics["step"], np.nan))
    known = np.isfinite(values)
    return run.metrics["step"][known], values[known]


RIVALS = (
    Rival("norm change", norm_change),
    Rival("small norm", small_norm),
    Rival("loss off its peak", off_peak, "10 % off"),
    Rival("class distance ratio", distance_ratio, "2.5 x its start"),
    Rival("Hankel residual", hankel_residual, "10 x its level after the fit, twice"),
)
"""Every rival."""
