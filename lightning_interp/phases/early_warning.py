# SPDX-License-Identifier: Apache-2.0
"""Early warning: a causal score, from 0 to 1, that generalization is forming, and the alarm when it stays over one half.

Where held-out answers are known their percentile decides, because it alone has a null: how high the right answers rank
while they still lose. Without them the score rests on how the network has changed since it fitted the training set: spectra,
norms, and how decidedly it chooses. Thresholds and weights come from the calibration part of a pool of labelled runs
(`coefficients`); weight decay is no input.
"""

import math

from lightning_interp.phases.coefficients import PERCENTILE_THRESHOLD, SIGNS
from lightning_interp.phases.linear_score import logistic
from lightning_interp.phases.observed import Observed
from lightning_interp.phases.rules import Rules
from lightning_interp.phases.streak import Streak

FORMING = 0.5
"""Score from which generalization counts as forming."""


class EarlyWarning:
    """The score of one run, up to its latest evaluation.

    Attributes:
        score: In [0, 1]; 0 where nothing tells.
        source: ``held-out percentile`` or ``change since the fit``; None where the score rests on nothing.
        streak: Whether the score is over one half, with the hysteresis of every condition.
    """

    def __init__(self, observed: Observed, rules: Rules) -> None:
        self.score = 0.0
        self.source: str | None = None
        self.streak = Streak()
        self._observed = observed
        self._rules = rules
        self._least_margin = math.inf

    def update(self, step: int) -> None:
        """Judge the latest evaluation."""
        z, norm = self._observed["heldout_percentile_z"], self._observed["weight_norm"]
        if z:
            self.source = "held-out percentile"
            self.score = logistic(z.level - PERCENTILE_THRESHOLD)
            self.streak.update(self.score > FORMING, step, z.count)
        elif signs := self.signs():
            self.source = "change since the fit"
            self.score = logistic(SIGNS.log_odds(signs))
            self.streak.update(self.score > FORMING, step, norm.count)

    def signs(self) -> dict[str, float]:
        """Changes that tell without held-out answers, in logarithms; empty before the fit and where a series is missing."""
        observed, clock = self._observed, self._observed.clock
        rank, train, heldout, norm = (observed[name] for name in SERIES)
        if self._rules["fitted"].first_since is None or not (rank and train and heldout and norm):
            return {}
        if min(rank.recent, rank.first, train.recent, train.first, heldout.recent) <= 0:
            return {}
        self._least_margin = min(self._least_margin, heldout.recent)
        return {
            "rank": math.log(rank.recent / rank.first),
            "rank_slope": rank.slope(clock, log=True) or 0.0,
            "train_margin": math.log(train.recent / train.first),
            "margin_ratio": math.log(heldout.recent / train.recent),
            "heldout_margin": math.log(heldout.recent / self._least_margin),
            "heldout_margin_slope": heldout.slope(clock, log=True) or 0.0,
            "norm_slope": norm.slope(clock, log=True) or 0.0,
        }


SERIES = ("effective_rank", "train_margin", "heldout_margin", "weight_norm")
"""Series the signs are taken from."""
