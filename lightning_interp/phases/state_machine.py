# SPDX-License-Identifier: Apache-2.0
"""The order of phases: which condition ends which phase, where the boundary is put, and how sure the rules are of it.

A phase once emitted keeps its name and start; a boundary always lies after the start of the phase it ends. Confidence can
only grow, while the phase is open and evidence for it arrives.
"""

from collections.abc import Callable
from dataclasses import replace

from lightning_interp.core.timeline import Clause, Phase
from lightning_interp.phases import limits
from lightning_interp.phases.boundaries import (
    Boundary,
    crossing,
    lowest_point,
    negative_log,
    record_after,
    record_before,
    settling,
    turning_point,
)
from lightning_interp.phases.comparison import Comparison
from lightning_interp.phases.confidence import confidence
from lightning_interp.phases.milestones import fit_boundary
from lightning_interp.phases.run_state import RunState
from lightning_interp.phases.series import LogSeries

WARM_UP_AFTER = 5
"""Evaluations without a sign of fitting after which the start of training is called warm-up."""


class PhaseMachine:
    """The transitions between phases; what it emits is in the state it is given."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._transitions: dict[str | None, Callable[[], bool]] = {
            None: self._from_start,
            "warm_up": self._from_start,
            "fitting": self._from_fitting,
            "memorization": self._from_memorization,
            "circuit_formation": self._from_circuit_formation,
            "cleanup": self._from_cleanup,
            "overfitting": self._from_overfitting,
            "converged": self._from_converged,
            "collapse": self._from_collapse,
        }

    @property
    def current(self) -> str | None:
        """Name of the open phase."""
        return self._state.phases[-1].name if self._state.phases else None

    @property
    def start(self) -> int:
        """First step of the open phase, or of the history if there is none."""
        return self._state.phases[-1].start if self._state.phases else self._state.observed.clock.first or 0

    def update(self) -> int:
        """Follow transitions until none applies; returns the number of phases begun."""
        phases = self._state.phases
        before = len(phases)
        while self._transitions[self.current]():
            pass
        if phases:
            latest = phases[-1]
            phases[-1] = replace(latest, confidence=max(latest.confidence, confidence(latest.name, self._state)))
        return len(phases) - before

    def _begin(
        self, name: str, boundary: Boundary, series: LogSeries, *because: str, seen: Comparison | None = None
    ) -> bool:
        """Emit a phase with the conditions that began it.

        A boundary at or before the start of the open phase moves to the record after it.
        """
        step, interval, phases = boundary.step, boundary.interval, self._state.phases
        if phases:
            step = max(step, record_after(series, self.start))
            if step <= self.start:
                return False
            interval = (max(interval[0], self.start), max(interval[1], step))
            phases[-1] = replace(phases[-1], end=step, end_interval=interval)
        clauses: tuple[Clause, ...] = self._state.clauses(*because)
        if seen is not None:
            clauses = (*clauses, seen.clause("unknown_at_fit"))
        phases.append(Phase(name, step, None, confidence(name, self._state), interval, because=clauses))
        return True

    def _from_start(self) -> bool:
        state, observed = self._state, self._state.observed
        if state.on("fitted") and self._memorize():
            return True
        curve = observed.train or observed.heldout
        if state.on("fitting"):
            falls = crossing(curve, curve.peak - limits.BEGINS_TO_FALL * abs(curve.peak), self.start)
            lasts = record_before(curve, falls.step)
            boundary = Boundary(lasts, (min(falls.interval[0], lasts), falls.step))
            return self._begin("fitting", boundary, curve, "fitting")
        if state.phases or curve.count < WARM_UP_AFTER or state["fitting"].hits or state["fitted"].hits:
            return False
        return self._begin("warm_up", Boundary(self.start, (self.start, self.start)), curve, "fitting")

    def _from_fitting(self) -> bool:
        fitted = self._state.on("fitted")
        return (fitted and self._memorize()) or self._collapse() or self._overfit() or (fitted and self._converge())

    def _memorize(self) -> bool:
        state = self._state
        if not (state.observed.heldout and state.memorized and state["fitted"].at_the_end and not state.on("generalized")):
            return False
        return self._begin("memorization", fit_boundary(state), state.observed.fit, "fitted", seen=state.unknown_at_fit)

    def _from_memorization(self) -> bool:
        return self._unlearn() or self._form() or self._overfit()

    def _form(self) -> bool:
        """Circuit formation: the held-out curve is off its peak, and something else than that speaks for a circuit."""
        state, observed = self._state, self._state.observed
        sign = formation_sign(state)
        if sign is None:
            return False
        solved = state.on("generalized") and state.on("improved")
        if state.on("off_peak"):
            turned, because = self._formation_series(sign)
        elif solved:  # answers come out right while the loss of the wrong ones still grows
            turned, because = observed.outcome, ("improved", "generalized")
        else:
            return False
        if turned is None or not self._begin("circuit_formation", self._turn(turned), turned, *because):
            return False
        state.settled_peak = observed.heldout.ema_peak
        return True

    def _turn(self, series: LogSeries) -> Boundary:
        """Where a curve turned: at its greatest value; an error, which stood still, where it is better than at the fit."""
        fit, observed = self._state.at_fit, self._state.observed
        if not observed.is_error(series) or fit is None or fit.outcome is None:
            return turning_point(series, self.start)
        gain = max(limits.IMPROVED * observed.null(series).value, limits.IMPROVED / 2)
        return crossing(series, fit.outcome - gain, self.start)

    def _formation_series(self, sign: str) -> tuple[LogSeries | None, tuple[str, ...]]:
        """The series at whose greatest value memorization ended, None while that is not to be seen yet; and why.

        Its least value if the excluded loss of a group task is logged: decay alone takes the held-out loss off its peak.
        Else, or if the held-out loss is under the null before that, the held-out curve.
        """
        state = self._state
        excluded = state.observed["excluded_loss"]
        if excluded and state.on("excluded_turned"):
            return negative_log(excluded), ("excluded_turned", sign)
        if excluded and not state["under_null"].at_the_end:
            return None, ()
        return state.observed.heldout, ("off_peak", sign)

    def _from_circuit_formation(self) -> bool:
        state, heldout = self._state, self._state.observed.heldout
        if self._unlearn():
            return True
        if state.on("new_peak") and not state.on("generalized"):
            since = crossing(heldout, state.settled_peak, self.start, below=False)
            return self._begin("memorization", since, heldout, "new_peak")
        if not state["under_null"].at_the_end:
            return False
        level = state.observed.null(heldout).value
        if state.observed.is_error(heldout):
            level *= limits.LEARNED
        boundary = crossing(heldout, level, self.start)
        return self._begin("cleanup", boundary, heldout, "under_null")

    def _from_cleanup(self) -> bool:
        return self._collapse() or self._converge()

    def _from_overfitting(self) -> bool:
        state, loss = self._state, self._state.observed["heldout_loss"]
        if self._collapse() or (state.memorized and self._form()):
            return True
        if not state.on("risen") and not state["risen"].hits:
            return self._begin("fitting", turning_point(loss, self.start), loss, "risen")
        return state.on("fitted") and self._converge()

    def _from_converged(self) -> bool:
        since = self._state["risen"].since
        return self._collapse() or (since is not None and since >= self.start and self._overfit())

    def _from_collapse(self) -> bool:
        """Back to fitting; or, with held-out data solved again, to the phase that was lost."""
        fit, state = self._state.observed.fit, self._state
        if state.on("lost") or state.on("unlearned"):
            return False
        back = crossing(fit, limits.UNFITTED * state.observed.null(fit).value, self.start)
        before = state.phases[-2].name if state.on("generalized") and len(state.phases) > 1 else "fitting"
        return self._begin(before, back, fit, "lost", "unlearned")

    def _overfit(self) -> bool:
        """The held-out loss has risen from its least, and the network had learned; solved data is not called overfitted."""
        state, loss = self._state, self._state.observed["heldout_loss"]
        if not state.risen_to_the_end or state.on("generalized"):
            return False
        if state.observed["heldout_error"] and not state.on("learned"):
            return False
        return self._begin("overfitting", lowest_point(loss, self.start), loss, "risen")

    def _unlearn(self) -> bool:
        state, fit = self._state, self._state.observed.fit
        if not state["unlearned"].at_the_end:
            return False
        level = limits.UNFITTED * state.observed.null(fit).value
        return self._begin("fitting", crossing(fit, level, self.start, below=False), fit, "unlearned")

    def _collapse(self) -> bool:
        state, observed = self._state, self._state.observed
        if not state.lost_to_the_end:
            return False
        series = observed["heldout_error"] or observed["train_loss"]
        error = observed.is_error(series)
        level = state.best.outcome + limits.LOST_ERROR if error else limits.UNFITTED * observed.null(series).value
        return self._begin("collapse", crossing(series, level, self.start, below=False), series, *state.lost_by)

    def _converge(self) -> bool:
        flat, observed = self._state["flat"], self._state.observed
        if not flat.at_the_end or flat.since is None or flat.since < self.start:
            return False
        settled = [settling(observed.heldout, self.start, self._tolerance(observed.heldout))]
        if observed["heldout_loss"] and (error := observed["heldout_error"]):
            settled.append(settling(error, self.start, self._tolerance(error)))
        if norm := observed["weight_norm"]:
            settled.append(settling(norm, self.start, limits.SETTLED_NORM * norm.recent))
        boundary = max(settled, key=lambda each: each.step)
        return self._begin("converged", boundary, observed.heldout, "flat")

    def _tolerance(self, series: LogSeries) -> float:
        observed = self._state.observed
        if observed.is_error(series):
            return limits.SETTLED_ERROR * observed.null(series).value
        return limits.SETTLED_LOSS * observed.scale(series)


def formation_sign(state: RunState) -> str | None:
    """The condition, beside a turn of the held-out loss, that speaks for a generalizing circuit; None if there is none.

    Held-out data better than at the fit and than a constant answer; else the held-out percentile if it is logged, because it
    has a null; else the excluded loss. A loss that only comes down from its peak is no sign: shrinking weights do that.
    """
    if state.on("improved"):
        return "improved"
    sign = "percentile" if state.observed["heldout_percentile_z"] else "excluded"
    return sign if state.on(sign) else None
