# SPDX-License-Identifier: Apache-2.0
"""The conditions that decide phases, each with its hysteresis. One method for each condition, no order among them."""

from lightning_interp.phases.run_series import RunSeries
from lightning_interp.phases.series import LogSeries
from lightning_interp.phases.streak import Streak

OFF_PEAK = 0.02
FAR_OFF_PEAK = 0.10
TURNED = 1.10
GENERALIZED_ACCURACY = 0.95
GENERALIZED_LOSS = 0.1
PROGRESS = 0.2
"""Permuted answers under weight decay reach .05 in the calibration runs: shrinking weights make wrong answers less sure."""
COLLAPSE_DROP = 0.2
FLAT_SHARE_OF_CHANCE = 0.05
FLAT_LOG_NORM = 0.15
FLAT_SHARE_OF_STEEPEST = 0.15

CONDITIONS = {
    "fitting": "train curve (held-out where there is none) at least 10 % under its peak",
    "fitted": "train accuracy >= .99, or train loss < .05",
    "gap": "held-out minus train curve over half the chance level",
    "off_peak": "averaged held-out curve at least 2 % (and six of its noise deviations) under its peak since the fit",
    "far_off_peak": "held-out curve at least 10 % under its peak",
    "progress": "held-out curve a fifth of the way, in its logarithm, from its peak since the fit to its turning level",
    "percentile": "held-out percentile z > 4 and not falling",
    "excluded": "excluded loss at least 3 x its minimum since the fit",
    "excluded_turned": "excluded loss of all key frequencies at least 10 % over its minimum since the fit",
    "norm_falling": "log weight norm falling",
    "norm_steeper": "log weight norm falling 1.5 x as fast as its median since circuit formation began",
    "rank_falling": "effective rank falling",
    "gini_rising": "Fourier Gini rising",
    "under_level": "held-out curve under chance (under half its peak where it never was above chance)",
    "generalized": "held-out accuracy >= .95, or held-out loss < .1 where only losses are known",
    "grokked": "held-out loss under chance and held-out accuracy >= .95, where known",
    "flat": "held-out curve and weight norm flat",
    "collapsed": "held-out accuracy .2 under a sustained .95 (losses only: back over chance)",
    "diverging": "train loss over twice its start",
    "unlearned": "train curve back over half its start",
    "new_peak": "averaged held-out curve 2 % over its earlier peak",
}
"""Every condition, in words."""


class Rules:
    """All conditions of one run.

    Attributes:
        streaks: One `Streak` for each name of `CONDITIONS`.
    """

    def __init__(self, observed: RunSeries) -> None:
        self.streaks = {name: Streak() for name in CONDITIONS}
        self.settled_peak = float("inf")
        self.best_accuracy = 0.0
        self._observed = observed
        self._norm_slopes: list[float] = []
        self._steepest = 0.0

    def __getitem__(self, name: str) -> Streak:
        return self.streaks[name]

    def on(self, name: str) -> bool:
        """Whether a condition counts now."""
        return self.streaks[name].on

    def start_cleanup_watch(self) -> None:
        """Forget the norm slopes seen so far; called when circuit formation begins."""
        self._norm_slopes, self._steepest = [], 0.0

    def update(self, step: int) -> None:
        """Judge every condition at the latest evaluation of the series it needs."""
        if curve := self._observed.train or self._observed.heldout:
            self._judge_fall(curve, step)
        if self._observed.train:
            self._judge_train(step)
        self._judge_support(step)
        if self._observed.heldout:
            self._judge_heldout(step)
            self._judge_outcome(step)

    def _set(self, name: str, hit: bool, step: int, series: LogSeries) -> None:
        self.streaks[name].update(hit, step, series.count)

    def _judge_fall(self, curve: LogSeries, step: int) -> None:
        relative_noise = curve.noise() / max(abs(curve.peak), 1e-12)
        self._set("fitting", curve.level <= (1 - max(FAR_OFF_PEAK, 3 * relative_noise)) * curve.peak, step, curve)

    def _judge_train(self, step: int) -> None:
        observed, train = self._observed, self._observed.train
        fitted, was = observed.fitted_now, self["fitted"].hits
        self._set("fitted", fitted, step, train)
        if fitted and was == 0 and not self.on("fitted") and self["fitted"].hits == 1:
            self._mark()
        self._set("unlearned", train.level > train.first / 2 and not fitted, step, train)
        if loss := observed["train_loss"]:
            self._set("diverging", loss.recent > 2 * loss.first and loss.recent > 0.05, step, loss)

    def _mark(self) -> None:
        for name in ("heldout_loss", "heldout_error", "excluded_loss", "excluded_loss_max"):
            series = self._observed[name]
            series.mark()
            if series:
                series.ema_peak, series.marked_peak, series.low = series.ema, series.recent, series.recent

    def _judge_support(self, step: int) -> None:
        observed, clock = self._observed, self._observed.clock
        if z := observed["heldout_percentile_z"]:
            slope = z.slope(clock)
            self._set("percentile", z.level > 4 and (slope is None or slope >= -0.1 * z.level), step, z)
        if excluded := observed["excluded_loss_max"] or observed["excluded_loss"]:
            self._set("excluded", excluded.level >= 3 * excluded.low, step, excluded)
        if together := observed["excluded_loss"]:
            self._set("excluded_turned", together.level >= TURNED * together.low, step, together)
        if rank := observed["effective_rank"]:
            self._set("rank_falling", (rank.slope(clock, log=True) or 0.0) < -FLAT_SHARE_OF_CHANCE, step, rank)
        if gini := observed["gini_embedding"] or observed["gini_readout"]:
            self._set("gini_rising", (gini.slope(clock, log=True) or 0.0) > FLAT_SHARE_OF_CHANCE, step, gini)
        if norm := observed["weight_norm"]:
            self._judge_norm(norm, step)

    def _judge_norm(self, norm: LogSeries, step: int) -> None:
        slope = norm.slope(self._observed.clock, log=True)
        if slope is None:
            return
        self._norm_slopes.append(slope)
        self._steepest = max(self._steepest, -slope)
        middle = sorted(self._norm_slopes)[len(self._norm_slopes) // 2]
        self._set("norm_falling", slope < 0, step, norm)
        self._set("norm_steeper", slope < min(1.5 * middle, -FLAT_SHARE_OF_CHANCE), step, norm)

    def _judge_heldout(self, step: int) -> None:
        observed, heldout = self._observed, self._observed.heldout
        relative_noise = heldout.noise() / max(abs(heldout.recent), 1e-12)
        off = max(OFF_PEAK, 6 * heldout.ema_noise * relative_noise)
        self._set("gap", observed.gap > observed.chance()[0] / 2, step, heldout)
        self._set("off_peak", heldout.ema <= (1 - off) * heldout.ema_peak, step, heldout)
        self._set("far_off_peak", heldout.recent <= (1 - FAR_OFF_PEAK) * heldout.peak, step, heldout)
        self._set("progress", observed.progress >= PROGRESS, step, heldout)
        self._set("new_peak", heldout.ema > (1 + off) * self.settled_peak, step, heldout)
        self._set("under_level", heldout.level < observed.turning_level, step, heldout)
        self._set("flat", self._flat(heldout), step, heldout)

    def _judge_outcome(self, step: int) -> None:
        observed = self._observed
        accuracy, loss = observed["heldout_accuracy"], observed["heldout_loss"]
        level = observed.chance()[0] if observed.knows_chance else observed.turning_level
        under = not loss or loss.level < level
        if accuracy:
            self._set("generalized", accuracy.level >= GENERALIZED_ACCURACY, step, accuracy)
            self._set("grokked", accuracy.level >= GENERALIZED_ACCURACY and under, step, accuracy)
            if self["generalized"].first_since is not None:
                self.best_accuracy = max(self.best_accuracy, accuracy.recent)
                self._set("collapsed", accuracy.level <= self.best_accuracy - COLLAPSE_DROP, step, accuracy)
            return
        self._set("generalized", loss.level < GENERALIZED_LOSS, step, loss)
        self._set("grokked", under, step, loss)
        if self["generalized"].first_since is not None:
            self._set("collapsed", loss.level > observed.chance()[0], step, loss)

    def _flat(self, heldout: LogSeries) -> bool:
        clock, norm = self._observed.clock, self._observed["weight_norm"]
        slope = heldout.slope(clock)
        if slope is None or abs(slope) > FLAT_SHARE_OF_CHANCE * self._observed.chance()[0]:
            return False
        drift = norm.slope(clock, log=True) if norm else None
        if drift is None:
            return True
        within_noise = min(2 * norm.slope_error(clock), 2 * FLAT_SHARE_OF_STEEPEST * self._steepest)
        return abs(drift) <= max(FLAT_LOG_NORM, FLAT_SHARE_OF_STEEPEST * self._steepest, within_noise)
