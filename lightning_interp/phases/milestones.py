# SPDX-License-Identifier: Apache-2.0
"""When the training set was fitted and held-out data solved: each fixed once it is known."""

from lightning_interp.phases import limits
from lightning_interp.phases.boundaries import Boundary, crossing
from lightning_interp.phases.run_series import ROUNDING
from lightning_interp.phases.run_state import Milestone, RunState


def update_milestones(state: RunState) -> None:
    """Fix what has become known at the latest evaluation."""
    if state.t_mem is None and state.on("fitted"):
        found = fit_boundary(state)
        state.t_mem = Milestone(found.step, found.interval, state.clauses("fitted"))
    if accuracy := state.observed["heldout_accuracy"]:
        state.accurate.update(accuracy.level >= limits.ACCURATE - ROUNDING, state.observed.latest_step, accuracy.count)
        if state.grokking_step is None and state.accurate.on:
            start = state.observed.clock.first or 0
            state.grokking_step = crossing(accuracy, limits.ACCURATE - ROUNDING, start, below=False).step
    if state.t_gen is None and state.on("generalized"):
        outcome = state.observed.outcome
        found = crossing(outcome, state.observed.solved_limit(outcome), state.observed.clock.first or 0)
        state.t_gen = Milestone(found.step, found.interval, state.clauses("generalized"))
    if state.t_mem is not None and state.t_gen is None:
        state.between += 1
        state.unfit_between += state["unlearned"].hits > 0


def fit_boundary(state: RunState) -> Boundary:
    """First record from which the training set is fitted.

    By accuracy if it is known. Else dated to a tenth of the null's loss, with an interval from a fifth of it to the level
    that counts as fitted: an accuracy of 99 % can lie anywhere in there.
    """
    observed = state.observed
    fit, start = observed.fit, observed.clock.first or 0
    if observed.is_error(fit):
        return crossing(fit, observed.fit_limit(fit), start)
    null, least = observed.null(fit).value, observed.fit_limit(fit)
    early, middle, late = (
        crossing(fit, max(least, share * null), start) for share in (limits.DATED_FROM, limits.DATED_LOSS, 0.0)
    )
    return Boundary(middle.step, (early.interval[0], late.interval[1]))
