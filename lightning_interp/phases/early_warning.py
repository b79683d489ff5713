# SPDX-License-Identifier: Apache-2.0
"""Early warning: after the fit, while held-out data is unknown, a causal sign that generalization is forming.

Before the fit nothing is early, and a network that learned as it fitted has nothing to be warned of. What tells, the first
that is known: the held-out percentile, which alone has a null; held-out accuracy that is better than at the fit, or an
excluded loss, which see a rule at work and foretell none. Without held-out answers nothing is raised: how much more
decidedly a network chooses than at the fit rang for 11 of 80 ordinary trainings. Nor from losses alone: nothing tells.
"""

import math

from lightning_interp.core.timeline import Clause
from lightning_interp.phases import limits
from lightning_interp.phases.coefficients import PERCENTILE_THRESHOLD
from lightning_interp.phases.comparison import Comparison
from lightning_interp.phases.run_state import RunState
from lightning_interp.phases.streak import Streak

FORMING = 0.5
"""Score from which generalization counts as forming."""
LARGEST = 700.0
"""Exponent up to which the exponential is a number."""


class EarlyWarning:
    """The score of one run, up to its latest evaluation.

    Attributes:
        score: In [0, 1], over one half only while the warning is raised; 0 if nothing tells.
        source: ``held-out percentile`` or ``held-out accuracy``; None if the score rests on nothing.
        streak: Whether the sign holds, with the hysteresis of every condition; it may begin before the fit.
    """

    def __init__(self, state: RunState) -> None:
        self.score = 0.0
        self.source: str | None = None
        self.streak = Streak()
        self._state = state
        self._because: tuple[Clause, ...] = ()

    @property
    def raised(self) -> bool:
        """Whether the warning stands: the sign holds after a fit of data that held-out data was unknown at, and still is."""
        state = self._state
        solved = state.on("generalized") or state["generalized"].hits > 0
        return self.streak.on and self.streak.hits > 0 and state.on("fitted") and state.memorized and not solved

    @property
    def because(self) -> tuple[Clause, ...]:
        """The comparisons that raise it."""
        seen = self._state.unknown_at_fit
        return (*self._because, *self._state.clauses("fitted"), *(() if seen is None else (seen.clause("unknown_at_fit"),)))

    def update(self, step: int) -> None:
        """Judge the latest evaluation."""
        observed = self._state.observed
        if observed["heldout_percentile_z"]:
            self._by_percentile(step)
        elif observed["heldout_error"]:
            self._by_accuracy(step)
        if not self.raised:
            self.score = min(self.score, FORMING)

    def _by_percentile(self, step: int) -> None:
        z, fit = self._state.observed["heldout_percentile_z"], self._state.at_fit
        # what was learned with the fit, however little, foretells nothing
        known = max(fit.percentile_z, 0.0) if fit is not None and fit.share <= limits.LEARNED_KNOWN else 0.0
        self.source, self.score = "held-out percentile", logistic(z.level - known - PERCENTILE_THRESHOLD)
        words = f"deviations of its null, {known:.3g} of them at the fit" if known else "deviations of its null"
        limit = PERCENTILE_THRESHOLD + known
        found = Comparison("z of the held-out percentile", z.level, ">=", limit, step, limit_is=words)
        self._because = (found.clause("percentile"),)
        self.streak.update(self.score > FORMING, step, z.count)

    def _by_accuracy(self, step: int) -> None:
        state = self._state
        self.source = "held-out accuracy"
        hits = [name for name in ("improved", "excluded") if state[name].hits]
        self.score = 1.0 if state.on("improved") or state.on("excluded") else 0.0
        self._because = state.clauses(*hits[:1])
        self.streak.update(bool(hits), step, state.observed["heldout_error"].count)


def logistic(log_odds: float) -> float:
    """1 / (1 + exp(-log_odds)), never 0 or 1."""
    return 1 / (1 + math.exp(min(max(-log_odds, -30.0), LARGEST)))
