# SPDX-License-Identifier: Apache-2.0
"""The tracked series of one run, and which of them play the parts of train curve, held-out curve and chance level."""

import math

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
    "train_margin",
    "heldout_margin",
)
"""Record names that the detector reads; all others are ignored."""

CURVES = TRACKED[:4]
SUPPORT = TRACKED[4:]
_ERRORS = {"train_accuracy": "train_error", "heldout_accuracy": "heldout_error"}

FITTED_LOSS = 0.05
FITTED_ACCURACY = 0.99


class RunSeries:
    """Everything logged so far, by series.

    A held-out *curve* is the held-out loss where it is logged, else the held-out error (1 - accuracy); the same for train.

    Attributes:
        series: One `LogSeries` for each name of `TRACKED`, and ``train_error`` and ``heldout_error``.
        clock: Log time of the run.
        n_classes: Number of classes, None where it is not known.
        points: Updates that held a loss or an accuracy.
    """

    def __init__(self, n_classes: int | None) -> None:
        self.series = {name: LogSeries() for name in (*TRACKED, *_ERRORS.values())}
        self.clock = LogClock()
        self.n_classes = n_classes
        self.points = 0
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

    def evaluate(self) -> None:
        """Turn the raw points since the last call into one evaluation of each series."""
        for series in self.series.values():
            series.evaluate(self.clock)

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
        return not any(self[name] for name in TRACKED[2:])

    @property
    def fitted_now(self) -> bool:
        """Whether the training set is fitted at the latest evaluation.

        That is train accuracy of at least .99, or a train loss under .05 nats that has also halved (a loss that starts
        under .05 is no cross-entropy) and is not contradicted by a train accuracy under .9.
        """
        accuracy, loss = self["train_accuracy"], self["train_loss"]
        if accuracy and accuracy.level >= FITTED_ACCURACY:
            return True
        if not loss or loss.level >= FITTED_LOSS or (accuracy and accuracy.level < 0.9):
            return False
        return loss.level < loss.first / 2 or (loss.first < FITTED_LOSS and self.clock.origin > 0)

    @property
    def untrained_loss(self) -> float:
        """Train loss before training: that of the first record, at most ln C; 0 where the log begins later."""
        loss = self["train_loss"]
        if not loss or self.clock.origin > 0:
            return 0.0
        return min(loss.first, math.log(self.n_classes)) if self.n_classes else loss.first

    @property
    def progress(self) -> float:
        """Way of the held-out curve from its peak since the fit to its turning level, in its logarithm, from 0 to 1."""
        peak, level, now = self.heldout.marked_peak, self.turning_level, max(self.heldout.recent, 1e-300)
        if not math.isfinite(peak) or peak <= 0 or level <= 0:
            return 0.0
        way = math.log(peak / now) / math.log(peak / level) if peak > level else 1 - now / peak
        return min(max(0.0, way), 1.0)

    def chance(self) -> tuple[float, str]:
        """Level of the held-out curve of a network that has learned nothing, and where the number comes from.

        Returns:
            Nats for a loss, a share for an error; and one phrase. ln C where the number of classes C is known and the
            loss can be a cross-entropy; else the first held-out value.
        """
        curve = self.heldout
        if curve is self["heldout_error"]:
            return self._chance_error(curve)
        if self.n_classes is None:
            return curve.first, f"held-out loss at its first record, step {curve.steps[0]}"
        chance = math.log(self.n_classes)
        if curve.steps[0] == 0 and curve.first < chance / 2:
            return curve.first, "held-out loss at step 0, which is under half of ln C: no cross-entropy in nats"
        return chance, f"ln C, C = {self.n_classes}"

    def _chance_error(self, curve: LogSeries) -> tuple[float, str]:
        if self.n_classes is None:
            return curve.first, f"held-out error at its first record, step {curve.steps[0]}"
        return 1 - 1 / self.n_classes, f"1 - 1 / C, C = {self.n_classes}"

    @property
    def turning_level(self) -> float:
        """Level of the held-out curve that ends circuit formation, in its unit.

        Chance, where the curve was above chance since the training set was fitted; else half of its peak since then,
        because a curve that never was above chance says nothing by being below it.
        """
        chance, peak = self.chance()[0], self.heldout.marked_peak
        if not math.isfinite(peak) or (self.knows_chance and peak >= 1.02 * chance):
            return chance
        return peak / 2

    @property
    def knows_chance(self) -> bool:
        """Whether chance can be trusted: not where C is not known and the first record lies deep in training."""
        return self.n_classes is not None or self.clock.origin == 0

    @property
    def gap(self) -> float:
        """Held-out minus train curve at the latest evaluations, in the unit of the held-out curve."""
        kind = "train_loss" if self["heldout_loss"] else "train_error"
        return self.heldout.level - (self[kind].level if self[kind] else 0.0)
