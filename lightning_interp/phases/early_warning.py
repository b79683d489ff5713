# SPDX-License-Identifier: Apache-2.0
"""Early warning: a causal score, from 0 to 1, that generalization is forming, and the alarm when it stays over one half.

Where held-out answers are known their percentile decides, because it alone has a null: how high the right answers rank
while they still lose. Without them the score rests on how much more decidedly the network chooses than it did when it
fitted its training set, on held-out inputs above all, which takes no answers. Threshold and weights come from the
calibration part of a pool of labelled runs (`coefficients`); weight decay is no input.
"""

import math

from lightning_interp.phases.coefficients import MARGINS, PERCENTILE_THRESHOLD
from lightning_interp.phases.linear_score import logistic
from lightning_interp.phases.run_series import RunSeries
from lightning_interp.phases.streak import Streak

FORMING = 0.5
"""Score from which generalization counts as forming."""
HALF = 0.5
"""Train accuracy, or share of the first train loss, at which the training set counts as half fitted."""


class EarlyWarning:
    """The score of one run, up to its latest evaluation.

    Attributes:
        score: In [0, 1]; 0 where nothing tells.
        source: ``held-out percentile`` or ``margins``; None where the score rests on nothing.
        streak: Whether the score is over one half, with the hysteresis of every condition.
        signs: Changes of the margins at the latest evaluation; empty before the fit and where a margin is missing or 0.
            ``heldout_gain``, the logarithm of the held-out margin over its least since the training set was half fitted;
            ``heldout_slope``, its change per e-fold of steps; ``train_gain``, the logarithm of the train margin over that
            at the fit.
    """

    def __init__(self, observed: RunSeries) -> None:
        self.score = 0.0
        self.source: str | None = None
        self.streak = Streak()
        self.signs: dict[str, float] = {}
        self._observed = observed
        self._least_heldout = math.inf
        self._train_at_fit: float | None = None

    def update(self, step: int) -> None:
        """Judge the latest evaluation."""
        z, heldout = self._observed["heldout_percentile_z"], self._observed["heldout_margin"]
        self.signs = self._changes()
        if z:
            self.source = "held-out percentile"
            self.score = logistic(z.level - PERCENTILE_THRESHOLD)
            self.streak.update(self.score > FORMING, step, z.count)
        elif self.signs:
            self.source = "margins"
            self.score = logistic(MARGINS.log_odds(self.signs))
            self.streak.update(self.score > FORMING, step, heldout.count)

    def _changes(self) -> dict[str, float]:
        train, heldout = self._observed["train_margin"], self._observed["heldout_margin"]
        if not (train and heldout) or min(train.level, heldout.level) <= 0:
            return {}
        if self._half_fitted:
            self._least_heldout = min(self._least_heldout, heldout.level)
        if self._train_at_fit is None and self._observed.fitted_now:
            self._train_at_fit = train.level
        if self._train_at_fit is None or math.isinf(self._least_heldout):
            return {}
        return {
            "heldout_gain": math.log(heldout.level / self._least_heldout),
            "heldout_slope": heldout.slope(self._observed.clock, log=True) or 0.0,
            "train_gain": math.log(train.level / self._train_at_fit),
        }

    @property
    def _half_fitted(self) -> bool:
        accuracy, loss = self._observed["train_accuracy"], self._observed["train_loss"]
        if accuracy:
            return accuracy.level >= HALF
        return bool(loss) and loss.level <= HALF * loss.first
