# SPDX-License-Identifier: Apache-2.0
"""Early warning: after the fit, while held-out data is unknown, a causal sign that generalization is forming.

Before the fit nothing is early, and a network that learned as it fitted has nothing to be warned of. What tells, the first
that is known: the held-out percentile, which alone has a null; held-out accuracy that is better than at the fit, or an
excluded loss, which see a rule at work and foretell none; without any held-out answers how much more decidedly the network
chooses than it did at the fit. Losses alone raise no warning. Threshold and weights come from the calibration part of a pool
of labelled runs (`coefficients`); weight decay is no input.
"""

import math

from lightning_interp.core.timeline import Clause
from lightning_interp.phases.coefficients import MARGINS, PERCENTILE_THRESHOLD
from lightning_interp.phases.comparison import Comparison
from lightning_interp.phases.linear_score import logistic
from lightning_interp.phases.run_state import RunState
from lightning_interp.phases.streak import Streak

FORMING = 0.5
"""Score from which generalization counts as forming."""
HALF = 0.5
"""Train accuracy, or share of the first train loss, at which the training set counts as half fitted."""


class EarlyWarning:
    """The score of one run, up to its latest evaluation.

    Attributes:
        score: In [0, 1], over one half only while the warning is raised; 0 if nothing tells.
        source: ``held-out percentile``, ``held-out accuracy`` or ``margins``; None if the score rests on nothing.
        streak: Whether the sign holds, with the hysteresis of every condition; it may begin before the fit.
        signs: Changes of the margins at the latest evaluation; empty before the fit and if a margin is missing or 0.
            ``heldout_gain``, the logarithm of the held-out margin over its least since the training set was half fitted;
            ``heldout_slope``, its change per e-fold of steps; ``train_gain``, the logarithm of the train margin over that
            at the fit.
    """

    def __init__(self, state: RunState) -> None:
        self.score = 0.0
        self.source: str | None = None
        self.streak = Streak()
        self.signs: dict[str, float] = {}
        self._state = state
        self._because: tuple[Clause, ...] = ()
        self._least_heldout = math.inf
        self._train_at_fit: float | None = None

    @property
    def raised(self) -> bool:
        """Whether the warning stands: the sign holds after a fit of data that held-out data was unknown at, and still is."""
        state = self._state
        unknown = state.memorized or not state.observed.heldout
        return self.streak.on and state.on("fitted") and unknown and not state.on("generalized")

    @property
    def because(self) -> tuple[Clause, ...]:
        """The comparisons that raise it."""
        seen = self._state.unknown_at_fit
        return (*self._because, *self._state.clauses("fitted"), *(() if seen is None else (seen.clause("unknown_at_fit"),)))

    def update(self, step: int) -> None:
        """Judge the latest evaluation."""
        observed = self._state.observed
        self.signs = self._changes()
        if observed["heldout_percentile_z"]:
            self._by_percentile(step)
        elif not observed.heldout:
            self._by_margins(step)
        elif observed["heldout_error"]:
            self._by_accuracy(step)
        if not self.raised:
            self.score = min(self.score, FORMING)

    def _by_percentile(self, step: int) -> None:
        z = self._state.observed["heldout_percentile_z"]
        self.source, self.score = "held-out percentile", logistic(z.level - PERCENTILE_THRESHOLD)
        words = "deviations of its null"
        found = Comparison("z of the held-out percentile", z.level, ">=", PERCENTILE_THRESHOLD, step, limit_is=words)
        self._because = (found.clause("percentile"),)
        self.streak.update(self.score > FORMING, step, z.count)

    def _by_accuracy(self, step: int) -> None:
        state = self._state
        self.source = "held-out accuracy"
        hits = [name for name in ("improved", "excluded") if state[name].hits]
        self.score = 1.0 if state.on("improved") or state.on("excluded") else 0.0
        self._because = state.clauses(*hits[:1])
        self.streak.update(bool(hits), step, state.observed["heldout_error"].count)

    def _by_margins(self, step: int) -> None:
        if not self.signs:
            return
        self.source, self.score = "margins", logistic(MARGINS.log_odds(self.signs))
        found = Comparison("score of the margins", self.score, ">=", FORMING, step)
        self._because = (found.clause("margins"),)
        self.streak.update(self.score > FORMING, step, self._state.observed["heldout_margin"].count)

    def _changes(self) -> dict[str, float]:
        observed = self._state.observed
        train, heldout = observed["train_margin"], observed["heldout_margin"]
        if not (train and heldout) or min(train.level, heldout.level) <= 0:
            return {}
        if self._half_fitted:
            self._least_heldout = min(self._least_heldout, heldout.level)
        if self._train_at_fit is None and observed.fitted_now:
            self._train_at_fit = train.level
        if self._train_at_fit is None or math.isinf(self._least_heldout):
            return {}
        return {
            "heldout_gain": math.log(heldout.level / self._least_heldout),
            "heldout_slope": heldout.slope(observed.clock, log=True) or 0.0,
            "train_gain": math.log(train.level / self._train_at_fit),
        }

    @property
    def _half_fitted(self) -> bool:
        accuracy, loss = self._state.observed["train_accuracy"], self._state.observed["train_loss"]
        if accuracy:
            return accuracy.level >= HALF
        return bool(loss) and loss.level <= HALF * loss.first
