# SPDX-License-Identifier: Apache-2.0
"""The online phase detector, and its fold over a finished history."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.timeline import INTENSITY_NAMES, Alarm, Timeline
from lightning_interp.phases.early_warning import EarlyWarning
from lightning_interp.phases.evidence import evidence
from lightning_interp.phases.intensities import intensities
from lightning_interp.phases.rules import Rules
from lightning_interp.phases.run_series import CURVES, TRACKED, RunSeries
from lightning_interp.phases.state_machine import PhaseMachine, formation_evidence
from lightning_interp.phases.verdict import Milestones, verdict

if TYPE_CHECKING:
    from lightning_interp.phases.history_table import HistoryTable  # needs numpy, which the online part does without

EVERY_POINT = 1000
"""Updates of which each gets a point of its own in the intensities; a run with more records keeps its timeline small."""
LARGEST_SHARE = 1 + 1e-6
_CURVES = frozenset(CURVES)
_LOSSES = frozenset(CURVES[:2])
_ACCURACIES = frozenset(CURVES[2:])
_TRACKED = frozenset(TRACKED)


class PhaseDetector:
    """Labels training while it happens; everything it says uses only records up to then.

    Conditions need three evaluations in a row to count and five misses to stop counting; evaluations are at most 100 per
    e-fold of steps, so densely logged runs are not judged more hastily. Between evaluations intensities keep their value.

    Args:
        n_classes: Number of classes, which fixes chance level; None where it is not known.

    Attributes:
        warning: The early warning, up to the latest evaluation.

    Raises:
        MetricsError: Fewer than two classes.
    """

    def __init__(self, *, n_classes: int | None = None) -> None:
        if n_classes is not None and n_classes < 2:
            raise MetricsError(f"PhaseDetector: `n_classes` must be 2 or more, got {n_classes}. Leave it out if unknown.")
        self._observed = RunSeries(n_classes)
        self._rules = Rules(self._observed)
        self._machine = PhaseMachine(self._observed, self._rules)
        self._milestones = Milestones()
        self._alarms: list[Alarm] = []
        self._raised: set[str] = set()
        self.warning = EarlyWarning(self._observed)
        self._points: tuple[list[tuple[int, float]], ...] = tuple([] for _ in INTENSITY_NAMES)
        self._latest = (0.0,) * len(INTENSITY_NAMES)
        self._held = False  # the last point only repeats the value before it
        self._step: int | None = None
        self._due = -math.inf

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Take in one record.

        Args:
            step: Optimizer step, larger than all before.
            values: Numbers by record name; losses in nats, accuracies as shares. Names that the detector does not know are
                ignored. A train or held-out loss that is not finite counts as divergence, other such values as not logged.

        Raises:
            MetricsError: The step does not increase or is negative, or an accuracy is over 1; nothing has changed then.
        """
        self._check(step, values)
        observed = self._observed
        observed.clock.observe(step)
        self._step = step
        for name, value in values.items():
            if name in _TRACKED:
                observed.add(step, name, value)
        observed.points += not _CURVES.isdisjoint(values)
        evaluated = step >= self._due or observed.nonfinite
        if evaluated:
            self._evaluate(step)
        self._add_points(step, held=not evaluated)

    def update_all(self, records: "HistoryTable") -> None:
        """Take in many records: the same as `update` with each in turn, but those between evaluations are not looked at.

        Raises:
            MetricsError: See `update`; the records before the wrong one have been taken in.
        """
        odd = sorted({*records.nonfinite(_LOSSES), *records.over(_ACCURACIES, LARGEST_SHARE)})
        curves, at = records.holding(_CURVES), 0
        while at < len(records):
            until = records.first_from(self._due, at)
            if until > at and not self._observed.nonfinite and not _between(odd, at, until):
                self._observed.points += _between(curves, at, until)
                self._pass_over(records, at, until)
                at = until
            else:
                self.update(*records.row(at))
                at += 1

    @property
    def timeline(self) -> Timeline:
        """What is known now."""
        verdict_now = verdict(self._observed, self._rules, self._milestones)
        return Timeline(
            verdict=verdict_now,
            phases=tuple(self._machine.phases),
            alarms=tuple(self._alarms),
            intensities=dict(zip(INTENSITY_NAMES, map(tuple, self._points), strict=True)),
            evidence=evidence(verdict_now, self._observed, self._rules, self._milestones, self.warning),
        )

    @property
    def finished_timeline(self) -> Timeline:
        """What is known now, taken for the whole history: with the stages of its loss curve (up to a tenth of a second)."""
        from lightning_interp.phases.stages import stages, weight_stages  # numpy and ruptures: the online part has neither

        curve, norm = self._observed["train_loss"] or self._observed["heldout_loss"], self._observed["weight_norm"]
        if norm and not curve.steps:
            return replace(self.timeline, stages=weight_stages(norm.steps, norm.values))
        return replace(self.timeline, stages=stages(curve.steps, curve.values, lost_at=self._observed.nonfinite_since))

    def _pass_over(self, records: "HistoryTable", at: int, end: int) -> None:
        """Take in records [at, end), all of them before the next evaluation is due."""
        for name in records.names():
            self._observed.extend(name, *records.finite(name, at, end))
        few = max(0, EVERY_POINT + 1 - len(self._points[0]))
        for step in (*records.steps[at : min(at + few, end - 1)], records.steps[end - 1]):
            self._add_points(step, held=True)
        self._step = records.steps[end - 1]

    def _add_points(self, step: int, *, held: bool) -> None:
        """Of a stretch in which intensities keep their value only the ends are kept, once there are many points."""
        again = held and self._held and len(self._points[0]) > EVERY_POINT
        for points, value in zip(self._points, self._latest, strict=True):
            if again:
                points.pop()
            points.append((step, value))
        self._held = held

    def _check(self, step: int, values: Mapping[str, float]) -> None:
        if step < 0 or (self._step is not None and step <= self._step):
            raise MetricsError(
                f"PhaseDetector.update: steps must not be negative and must increase, got {step} after {self._step}. "
                "Sort the history and merge rows of one step."
            )
        for name in ("train_accuracy", "heldout_accuracy"):
            if values.get(name, 0.0) > LARGEST_SHARE:
                raise MetricsError(
                    f"PhaseDetector.update: `{name}` must be a share in [0, 1], got {values[name]} at step {step}. "
                    "Divide percentages by 100."
                )

    def _evaluate(self, step: int) -> None:
        observed = self._observed
        self._due = observed.clock.next_due(step)
        observed.evaluate()
        self._rules.update(step)
        self._milestones.update(observed, self._rules)
        self.warning.update(step)
        for _ in range(self._machine.update()):
            self._alarms.append(Alarm("phase_began", step))
        self._raise_alarms(step)
        if observed.train or observed.heldout:
            self._latest = (*intensities(observed, self._rules), round(self.warning.score, 4))

    def _raise_alarms(self, step: int) -> None:
        rules = self._rules
        self._alarm("divergence", self._observed.nonfinite or rules.on("diverging"), step)
        self._alarm("collapse", rules.on("collapsed"), step)
        if "early_warning" not in self._raised:
            self._alarm("early_warning", self._early_sign(), step)

    def _early_sign(self) -> bool:
        """The score of the early warning where it has one; else the held-out curve 10 % off its peak since the fit."""
        observed, rules = self._observed, self._rules
        if rules.on("generalized"):
            return False
        if self.warning.source is not None:
            return self.warning.streak.on
        far = rules.on("far_off_peak") and rules.on("off_peak") and rules.on("gap")
        return far and rules.on("fitted") and formation_evidence(observed, rules)

    def _alarm(self, name: str, raised: bool, step: int) -> None:
        """Raise an alarm once for each stretch in which its cause lasts."""
        if raised and name not in self._raised:
            self._alarms.append(Alarm(name, step))
            self._raised.add(name)
        elif not raised:
            self._raised.discard(name)


def _between(indices: list[int], at: int, end: int) -> int:
    """How many of the increasing indices lie in [at, end)."""
    return bisect_left(indices, end) - bisect_left(indices, at)


def detect_phases(metrics: Mapping[str, Any], *, n_classes: int | None = None) -> Timeline:
    """The timeline of a finished history: the online detector, folded over it.

    Args:
        metrics: Either a table ``{"step": [...], "train_loss": [...], ...}`` of equally long columns, where NaN and None
            mean not logged; or a history ``{name: (steps, values)}``, where a loss of NaN means NaN.
        n_classes: Number of classes, which fixes chance level; None where it is not known.

    Returns:
        The same as a `PhaseDetector` that was given each record in turn, with the stages of the loss curve.

    Raises:
        MetricsError: Columns of different lengths, steps that are no increasing whole numbers, or none of the names known.
    """
    return follow(metrics, n_classes=n_classes).finished_timeline


def follow(metrics: Mapping[str, Any], *, n_classes: int | None = None) -> PhaseDetector:
    """The online detector after every record of a history; arguments and errors as for `detect_phases`."""
    from lightning_interp.phases.history_table import records_of

    detector = PhaseDetector(n_classes=n_classes)
    detector.update_all(records_of(metrics, TRACKED))
    return detector


def fold(metrics: Mapping[str, Any], *, n_classes: int | None = None) -> Iterator[tuple[int, Timeline]]:
    """The timeline after each record of a history, for animations and tests; arguments as for `detect_phases`.

    Yields:
        Optimizer step and the timeline known then.
    """
    from lightning_interp.phases.history_table import rows_of

    detector = PhaseDetector(n_classes=n_classes)
    for step, values in rows_of(metrics, TRACKED):
        detector.update(step, values)
        yield step, detector.timeline
