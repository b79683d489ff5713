# SPDX-License-Identifier: Apache-2.0
"""The tracked series of one run, and which of them play the parts of train curve, held-out curve and chance level."""

import math

from lightning_interp.core.timeline import Clause
from lightning_interp.phases import limits
from lightning_interp.phases.null_levels import Facts, NullLevel, null_error, null_loss
from lightning_interp.phases.series import LogClock, LogSeries

TRACKED = (
    "train_loss",
    "heldout_loss",
    "train_accuracy",
    "heldout_accuracy",
    "heldout_percentile_z",
    "excluded_loss_max",
    "excluded_loss",
    "weight_norm",
    "effective_rank",
    "gini_embedding",
    "gini_readout",
    "shuffled_loss",
)
"""Record names that the detector reads; all others are ignored."""

ROUNDING = 1e-9
"""By which 1 - .99 may miss .01."""
TINY = 1e-300
EPOCHS = 4
"""Held-out records at consecutive steps from 0 on that look like epochs."""
CURVES = TRACKED[:4]
SUPPORT = TRACKED[4:-1]
_ERRORS = {"train_accuracy": "train_error", "heldout_accuracy": "heldout_error"}


class RunSeries:
    """Everything logged so far, by series.

    A held-out *curve* is the held-out loss where it is logged, else the held-out error (1 - accuracy); the same for train.

    Attributes:
        series: One `LogSeries` for each name of `TRACKED`, and ``train_error`` and ``heldout_error``.
        clock: Log time of the run.
        facts: What is known of the data beside the series.
        points: Updates that held a loss or an accuracy.
        latest_step: Step of the latest evaluation.
        least_shuffled: Least evaluation so far of the loss with answers exchanged between examples.
    """

    def __init__(self, facts: Facts) -> None:
        self.series = {name: LogSeries() for name in (*TRACKED, *_ERRORS.values())}
        self.clock = LogClock()
        self.facts = facts
        self.points = 0
        self.latest_step = 0
        self.least_shuffled = math.inf
        self._bad: dict[str, int] = {}

    def __getitem__(self, name: str) -> LogSeries:
        return self.series[name]

    @property
    def nonfinite(self) -> bool:
        """Whether the latest train or held-out loss was not a finite number."""
        return bool(self._bad)

    @property
    def nonfinite_since(self) -> int | None:
        """Step from which on a train or held-out loss has been no finite number, None while the latest are finite."""
        return min(self._bad.values(), default=None)

    @property
    def nonfinite_clauses(self) -> tuple[Clause, ...]:
        """Which losses are no finite number, in plain values."""
        words = {"train_loss": "train loss", "heldout_loss": "held-out loss"}
        said = "is not a finite number"
        return tuple({"rule": "nonfinite", "of": words[n], "says": said, "step": step} for n, step in self._bad.items())

    def add(self, step: int, name: str, value: float) -> None:
        """Append one value of a tracked series; a loss that is not finite is remembered, any other such value dropped."""
        if not math.isfinite(value):
            if name in ("train_loss", "heldout_loss"):
                self._bad.setdefault(name, step)
            return
        self.series[name].add(step, value)
        if name in _ERRORS:
            self.series[_ERRORS[name]].add(step, 1.0 - value)
        if self._bad:
            self._bad.pop(name, None)

    def extend(self, name: str, steps: list[int], values: list[float]) -> None:
        """Append finite values of a tracked series, none of which follows a loss that was not finite."""
        self.series[name].extend(steps, values)
        if name in _ERRORS:
            self.series[_ERRORS[name]].extend(steps, [1.0 - value for value in values])

    def evaluate(self, step: int) -> None:
        """Turn the raw points since the last call into one evaluation of each series."""
        self.latest_step = step
        for series in self.series.values():
            series.evaluate(self.clock)
        if shuffled := self["shuffled_loss"]:
            self.least_shuffled = min(self.least_shuffled, max(shuffled.level, TINY))

    @property
    def train(self) -> LogSeries:
        """The train curve; empty where neither train loss nor train accuracy is logged."""
        return self["train_loss"] or self["train_error"]

    @property
    def heldout(self) -> LogSeries:
        """The held-out curve; empty where neither held-out loss nor held-out accuracy is logged."""
        return self["heldout_loss"] or self["heldout_error"]

    @property
    def losses_only(self) -> bool:
        """Whether nothing but losses is logged, which caps every confidence."""
        return not any(self[name] for name in (*CURVES[2:], *SUPPORT))

    @property
    def outcome(self) -> LogSeries:
        """What generalization is judged by: the held-out error if it is logged, else the held-out loss."""
        return self["heldout_error"] or self["heldout_loss"]

    @property
    def fit(self) -> LogSeries:
        """What the fit is judged by: the train error if it is logged, else the train loss."""
        return self["train_error"] or self["train_loss"]

    @property
    def has_shares(self) -> bool:
        """Whether a share of the null makes sense: not of a loss that goes under 0, or is 0 throughout."""
        curves = [curve for curve in (self.fit, self.outcome) if curve]
        return all(curve.floor >= 0 and self.null(curve).value > 0 for curve in curves)

    @property
    def by_epochs(self) -> bool:
        """Whether the steps look like epochs, the first record being after one: held-out records at 0, 1, 2, 3 and so on."""
        steps = self.heldout.steps
        return len(steps) >= EPOCHS and steps[0] == 0 and steps[-1] == len(steps) - 1

    def is_error(self, series: LogSeries) -> bool:
        """Whether a series is a share of wrong answers, not a loss."""
        return series is self["train_error"] or series is self["heldout_error"]

    def null(self, series: LogSeries) -> NullLevel:
        """Level of a series for a predictor that ignores its input."""
        if self.is_error(series):
            return null_error(self)
        return null_loss(self, "train_loss" if series is self["train_loss"] else "heldout_loss")

    def scale(self, series: LogSeries) -> float:
        """What a change of a held-out curve is measured by: the null, or its peak since the fit if that is less."""
        peak = series.marked_peak if math.isfinite(series.marked_peak) else series.peak
        return min(self.null(series).value, peak)

    def fit_limit(self, series: LogSeries) -> float:
        """Level at or under which a train curve is fitted."""
        null = self.null(series)
        if self.is_error(series):
            return min(limits.FITTED_ERROR + ROUNDING, limits.FITTED_ERROR_OF_NULL * null.value)
        return limits.FITTED_LOSS * null.value

    def solved_limit(self, series: LogSeries) -> float:
        """Level at or under which a held-out curve is solved."""
        null = self.null(series).value
        if self.is_error(series):
            return min(limits.SOLVED_ERROR + ROUNDING, limits.SOLVED_ERROR_OF_NULL * null)
        return limits.SOLVED_LOSS * null

    @property
    def fitted_now(self) -> bool:
        """Whether the training set is fitted at the latest evaluation."""
        return bool(self.fit) and self.fit.level <= self.fit_limit(self.fit)

    @property
    def knows_start(self) -> bool:
        """Whether a share of the null loss can be told: it is known, or the log begins where training did."""
        return null_loss(self, "train_loss").known or self.clock.origin == 0

    @property
    def gap(self) -> float:
        """Held-out minus train curve at the latest evaluations, in the unit of the held-out curve."""
        kind = "train_loss" if self["heldout_loss"] else "train_error"
        return self.heldout.level - (self[kind].level if self[kind] else 0.0)
