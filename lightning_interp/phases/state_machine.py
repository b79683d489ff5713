# SPDX-License-Identifier: Apache-2.0
"""The order of phases: which condition ends which phase, where the boundary is put, and how sure the rules are of it.

A phase once emitted keeps its name and start; a boundary always lies after the start of the phase it ends. Confidence can
only grow, while the phase is open and evidence for it arrives.
"""

from collections.abc import Callable
from dataclasses import replace

from lightning_interp.core.timeline import Phase
from lightning_interp.phases.boundaries import (
    Boundary,
    crossing,
    negative_log,
    record_after,
    record_before,
    turning_point,
)
from lightning_interp.phases.confidence import confidence
from lightning_interp.phases.rules import COLLAPSE_DROP, FLAT_SHARE_OF_CHANCE, Rules
from lightning_interp.phases.run_series import FITTED_ACCURACY, FITTED_LOSS, RunSeries
from lightning_interp.phases.series import LogSeries, median3, noise_sd

WARM_UP_AFTER = 5
"""Evaluations without a sign of fitting after which the start of training is called warm-up."""


FIT_SHARES = (0.2, 0.1)
"""Shares of the loss of an untrained network at which a fit can have come about, and at which it is dated."""


class PhaseMachine:
    """The phases emitted so far, and the transitions between them.

    Attributes:
        phases: Contiguous, in order; the last one is open.
    """

    def __init__(self, observed: RunSeries, rules: Rules) -> None:
        self.phases: list[Phase] = []
        self._observed = observed
        self._rules = rules
        self._transitions: dict[str | None, Callable[[], bool]] = {
            None: self._from_start,
            "warm_up": self._from_start,
            "fitting": self._from_fitting,
            "memorization": self._from_memorization,
            "circuit_formation": self._from_circuit_formation,
            "cleanup": self._from_cleanup,
            "converged": self._collapse,
            "collapse": self._from_collapse,
        }

    @property
    def current(self) -> str | None:
        """Name of the open phase."""
        return self.phases[-1].name if self.phases else None

    @property
    def start(self) -> int:
        """First step of the open phase, or of the history where there is none."""
        return self.phases[-1].start if self.phases else self._observed.clock.first or 0

    def update(self) -> int:
        """Follow transitions until none applies; returns the number of phases begun."""
        before = len(self.phases)
        while self._transitions[self.current]():
            pass
        if self.phases:
            latest = self.phases[-1]
            sure = confidence(latest.name, self._observed, self._rules)
            self.phases[-1] = replace(latest, confidence=max(latest.confidence, sure))
        return len(self.phases) - before

    def _begin(self, name: str, boundary: Boundary, series: LogSeries) -> bool:
        """Emit a phase; a boundary at or before the start of the open phase moves to the record after it."""
        step, interval = boundary.step, boundary.interval
        if self.phases:
            step = max(step, record_after(series, self.start))
            if step <= self.start:
                return False
            interval = (max(interval[0], self.start), max(interval[1], step))
            self.phases[-1] = replace(self.phases[-1], end=step, end_interval=interval)
        sure = confidence(name, self._observed, self._rules)
        self.phases.append(Phase(name, step, None, sure, interval))
        return True

    def _from_start(self) -> bool:
        observed, rules = self._observed, self._rules
        if rules.on("fitted") and self._memorize():
            return True
        curve = observed.train or observed.heldout
        if rules.on("fitting"):
            falls = crossing(curve, (1 - FLAT_SHARE_OF_CHANCE) * curve.peak, self.start)
            lasts = record_before(curve, falls.step)
            return self._begin("fitting", Boundary(lasts, (min(falls.interval[0], lasts), falls.step)), curve)
        if self.phases or curve.count < WARM_UP_AFTER or rules["fitting"].hits or rules["fitted"].hits:
            return False
        return self._begin("warm_up", Boundary(self.start, (self.start, self.start)), curve)

    def _from_fitting(self) -> bool:
        if not self._rules.on("fitted"):
            return False
        return self._memorize() or (not self._rules.on("gap") and self._converge())

    def _memorize(self) -> bool:
        observed, rules = self._observed, self._rules
        if observed.heldout and not rules.on("gap"):
            return False
        return self._begin("memorization", fit_boundary(observed), observed["train_accuracy"] or observed["train_loss"])

    def _from_memorization(self) -> bool:
        observed, rules = self._observed, self._rules
        if self._unlearn():
            return True
        if not (observed.heldout and rules.on("off_peak") and formation_evidence(observed, rules)):
            return False
        turned = self._formation_series()
        if turned is None or not self._begin("circuit_formation", turning_point(turned, self.start), turned):
            return False
        rules.settled_peak = observed.heldout.ema_peak
        rules.start_cleanup_watch()
        return True

    def _formation_series(self) -> LogSeries | None:
        """The series at whose greatest value memorization ended; None while that is not to be seen yet.

        Where the excluded loss of a group task is logged, its least value: decay alone takes the held-out loss off its peak.
        Else, or where the held-out loss is under its turning level before that, the held-out curve.
        """
        excluded = self._observed["excluded_loss"]
        if excluded and self._rules.on("excluded_turned"):
            return negative_log(excluded)
        if excluded and not self._rules["under_level"].at_the_end:
            return None
        return self._observed.heldout

    def _from_circuit_formation(self) -> bool:
        observed, rules = self._observed, self._rules
        if self._unlearn():
            return True
        if rules.on("new_peak"):
            since = crossing(observed.heldout, rules.settled_peak, self.start, below=False)
            return self._begin("memorization", since, observed.heldout)
        if not rules["under_level"].at_the_end:
            return False
        return self._begin("cleanup", crossing(observed.heldout, observed.turning_level, self.start), observed.heldout)

    def _from_cleanup(self) -> bool:
        return self._collapse() or self._converge()

    def _from_collapse(self) -> bool:
        if self._rules.on("collapsed"):
            return False
        series, threshold = self._collapse_threshold()
        return self._begin("converged", crossing(series, threshold, self.start), series)

    def _unlearn(self) -> bool:
        if not self._rules["unlearned"].at_the_end:
            return False
        train = self._observed.train
        return self._begin("fitting", crossing(train, train.first / 2, self.start, below=False), train)

    def _collapse(self) -> bool:
        if not self._rules.on("collapsed"):
            return False
        series, threshold = self._collapse_threshold()
        return self._begin("collapse", crossing(series, threshold, self.start, below=False), series)

    def _collapse_threshold(self) -> tuple[LogSeries, float]:
        """The curve that collapses, as an error or a loss, and the level it must pass."""
        observed = self._observed
        if observed["heldout_error"]:
            return observed["heldout_error"], 1 - self._rules.best_accuracy + COLLAPSE_DROP
        return observed["heldout_loss"], observed.chance()[0]

    def _converge(self) -> bool:
        flat, observed = self._rules["flat"], self._observed
        if not flat.on or flat.since is None or flat.since < self.start:
            return False
        boundary = settling(observed.heldout, self.start, 0.005 * observed.chance()[0])
        if norm := observed["weight_norm"]:
            other = settling(norm, self.start, 0.02 * norm.recent)
            boundary = max(boundary, other, key=lambda b: b.step)
        return self._begin("converged", boundary, observed.heldout)


def formation_evidence(observed: RunSeries, rules: Rules) -> bool:
    """Whether anything beside the held-out curve speaks for a generalizing circuit.

    The held-out percentile decides where it is logged, because it alone has a null. Else the excluded loss must agree, or
    the curve itself have come a fifth of the way to its turning level: weight decay takes it off its peak without a circuit.
    A held-out curve under its turning level needs no more evidence.
    """
    if rules["under_level"].at_the_end:
        return True
    if observed["heldout_percentile_z"]:
        return rules.on("percentile")
    return rules.on("excluded") or rules.on("progress")


def fit_boundary(observed: RunSeries) -> Boundary:
    """First record from which the training set is fitted, by accuracy or by loss, whichever is earlier.

    Without accuracies it is dated to a tenth of the loss of an untrained network, and its interval runs from a fifth of that
    loss to the one at which it counts as fitted: trainings with both on record reach an accuracy of 99 % in between.
    """
    start, loss = observed.clock.first or 0, observed["train_loss"]
    if observed["train_error"]:
        limits = (("train_error", 1 - FITTED_ACCURACY + 1e-9), ("train_loss", FITTED_LOSS))
        fits = [crossing(observed[name], limit, start) for name, limit in limits if observed[name]]
        return min(fits, key=lambda boundary: boundary.step)
    untrained = observed.untrained_loss
    early, middle, late = (crossing(loss, max(FITTED_LOSS, share * untrained), start) for share in (*FIT_SHARES, 0.0))
    return Boundary(middle.step, (early.interval[0], late.interval[1]))


def settling(series: LogSeries, since: int, tolerance: float) -> Boundary:
    """First record from which a series stays near the level it has now.

    Args:
        series: Raw points, at least one at or after `since`.
        since: Optimizer step to start from.
        tolerance: In the unit of the series; three noise deviations are allowed in any case.
    """
    latest = sorted(median3(series.values[-12:])[-10:])
    level = latest[len(latest) // 2]
    band = max(tolerance, 3 * noise_sd(series.values[-10:]))
    away = LogSeries()
    away.steps, away.values = series.steps, [abs(value - level) for value in series.values]
    return crossing(away, band, since)
