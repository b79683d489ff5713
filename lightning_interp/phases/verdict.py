# SPDX-License-Identifier: Apache-2.0
"""The verdict on a whole history: the first of an ordered list of rules that holds, with the comparisons that decided."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from lightning_interp.core.timeline import Clause
from lightning_interp.phases import limits
from lightning_interp.phases.boundaries import record_before
from lightning_interp.phases.comparison import Comparison
from lightning_interp.phases.rules import compared
from lightning_interp.phases.run_state import RunState
from lightning_interp.phases.streak import ENTER

MIN_POINTS = 10


@dataclass(frozen=True)
class Verdict:
    """A verdict and why.

    Attributes:
        name: One of `VERDICTS`.
        because: The comparisons that decided, in plain values.
        why: Which of a verdict's ways it was, if there are several: a key of `wording.SENTENCES`.
    """

    name: str
    because: tuple[Clause, ...] = ()
    why: str = ""


def verdict(state: RunState) -> Verdict:
    """The verdict on everything seen so far."""
    return next(_verdicts(state))


def _verdicts(state: RunState) -> Iterator[Verdict]:
    yield from _untold(state)
    if state.lost_to_the_end:
        yield Verdict("collapse", state.clauses(*state.lost_by), "" if len(state.lost_by) > 1 else "heldout_only")
    if state["diverging"].at_the_end and not _accuracy_stands(state):
        yield Verdict("diverged", state.clauses("diverging"))
    if not state.observed.heldout:
        known = state.on("fitted")
        yield Verdict("unknown", _fit_of(state), "no_heldout") if known else _not_fitted(state)
    yield from _solved(state)
    learned = _learned_now(state)
    error = bool(state.observed["heldout_error"])
    if state.risen_to_the_end and (not error or learned.holds):
        yield Verdict(
            "overfitting", (*state.clauses("risen"), learned.clause("learned")) if error else state.clauses("risen")
        )
    if not state.was_fitted or (not state.on("fitted") and far_from_fitted(state).holds):
        yield from _begins_late(state)
        yield _not_fitted(state)
    seen = Comparison("validations", state.observed.outcome.count, ">=", ENTER, state.observed.latest_step)
    if not seen.holds:
        yield Verdict("unknown", (*_fit_of(state), learned.clause("learned"), seen.clause("validations")), "few_validations")
    if learned.holds:
        yield Verdict("partial_generalization", (*_fit_of(state), learned.clause("learned"), *state.clauses("generalized")))
    yield from _begins_late(state)
    yield Verdict("memorization_only", (*_fit_of(state), learned.clause("learned")))


def _untold(state: RunState) -> Iterator[Verdict]:
    """What ends every other question: a loss that is no number, or nothing to judge by."""
    observed = state.observed
    if observed.nonfinite:
        yield Verdict("diverged", observed.nonfinite_clauses, "nonfinite")
    points = Comparison("records that hold a loss or an accuracy", observed.points, ">=", MIN_POINTS, observed.latest_step)
    if not points.holds:
        yield Verdict("unknown", (points.clause("points"),), "few_points")
    if not observed.fit:
        yield Verdict("unknown", why="no_train")
    if not observed.has_shares:
        yield Verdict("unknown", why="no_shares")


def _not_fitted(state: RunState) -> Verdict:
    """Not fitted: never, not any more, or not for three evaluations yet."""
    why = "fit_lost" if state.was_fitted else "fit_just_begun" if state["fitted"].hits else ""
    return Verdict("not_fitted", state.clauses("fitted"), why)


def _fit_of(state: RunState) -> tuple[Clause, ...]:
    """The comparisons that told the fit."""
    return state.clauses("fitted") if state.t_mem is None else state.t_mem.because


def _learned_now(state: RunState) -> Comparison:
    """Whether held-out data ends better than a constant answer: a median of three, since one odd record tells nothing."""
    outcome = state.observed.outcome
    limit = limits.LEARNED * state.observed.null(outcome).value
    words = f"{limits.LEARNED} of a constant answer's {'error' if state.observed.is_error(outcome) else 'loss'}"
    return compared(state, outcome, "<=", limit, state.observed.latest_step, words, value=outcome.recent)


def _solved(state: RunState) -> Iterator[Verdict]:
    """Held-out data was solved and still is: late, or about when the training set was fitted."""
    observed, step = state.observed, state.observed.latest_step
    if state.t_gen is None:
        return
    outcome = observed.outcome
    limit = limits.HELD * observed.solved_limit(outcome)
    holds = compared(state, outcome, "<=", limit, step, "still solved, twice the limit allowed", value=outcome.recent)
    if not holds.holds:
        return
    late = _lateness(state, step)
    because = [(holds, "holds"), *((each, "late") for each in late), (state.unknown_at_fit, "unknown_at_fit")]
    clauses: tuple[Clause, ...] = tuple(each.clause(rule) for each, rule in because if each is not None)
    clauses = state.t_gen.because + clauses
    memorization = any(phase.name == "memorization" for phase in state.phases)
    if memorization and late and all(each.holds for each in late):
        yield Verdict("grokking", clauses)
    elif observed["heldout_error"]:
        yield Verdict("early_generalization", clauses, "" if state.was_fitted else "unfitted")
    elif state.was_fitted and not state.risen_to_the_end:
        yield Verdict("early_generalization", clauses)


def _lateness(state: RunState, step: int) -> tuple[Comparison, ...]:
    """What must hold for generalization to be late for certain; nothing if there was no fit.

    Its last unsolved record is at twice the step of the fit, there are three such records, and the fit stood in between.
    """
    if state.t_mem is None or state.t_gen is None:
        return ()
    outcome, clock, fit = state.observed.outcome, state.observed.clock, state.t_mem.step
    origin = 0 if fit == clock.origin else clock.origin  # fitted at the first record: before the log begins
    unsolved = record_before(outcome, state.t_gen.step)
    ratio = (unsolved - origin) / max(fit - origin, 1)
    records = bisect_left(outcome.steps, state.t_gen.step) - bisect_right(outcome.steps, fit)
    lost = state.unfit_between / max(state.between, 1)
    words = "steps with held-out data unsolved over steps to the fit"
    return (
        Comparison(words, ratio, ">=", limits.LATE, step),
        Comparison("unsolved held-out records after the fit", records, ">=", limits.LATE_RECORDS, step),
        Comparison("share of the time in between without the fit", lost, "<=", limits.REFITTED, step),
    )


def far_from_fitted(state: RunState) -> Comparison:
    """Whether the train curve ends over a fifth of its null."""
    fit = state.observed.fit
    level = limits.UNFITTED * state.observed.null(fit).value
    return compared(state, fit, ">=", level, state.observed.latest_step, "a fifth of the null's", value=fit.recent)


def _accuracy_stands(state: RunState) -> bool:
    """Whether a train accuracy better than a constant answer's contradicts a loss that has grown: some are annealed."""
    error = state.observed["train_error"]
    return bool(error) and error.recent <= limits.LEARNED * state.observed.null(error).value


def _begins_late(state: RunState) -> Iterator[Verdict]:
    """From losses alone whose first record lies deep in training it cannot be told what was *not* learned.

    Unless hardly anything was since: then the training set is surely not fitted.
    """
    observed, fit = state.observed, state.observed.fit
    little = fit.recent > limits.LEARNED * observed.null(fit).value
    if not (observed.knows_start or little or (observed["train_error"] and observed["heldout_error"])):
        yield Verdict("unknown", why="begins_late")
