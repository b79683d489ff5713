# SPDX-License-Identifier: Apache-2.0
"""The online phase detector, and its fold over a finished history."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.outcome import LARGEST_SHARE, StandIn
from lightning_interp.core.timeline import INTENSITY_NAMES, Alarm, Clause, Timeline
from lightning_interp.phases.early_warning import EarlyWarning
from lightning_interp.phases.evidence import evidence
from lightning_interp.phases.intensities import intensities
from lightning_interp.phases.milestones import update_milestones
from lightning_interp.phases.null_levels import GIVEN, Facts
from lightning_interp.phases.rules import judge
from lightning_interp.phases.run_series import CURVES, TRACKED, RunSeries
from lightning_interp.phases.run_state import RunState
from lightning_interp.phases.state_machine import PhaseMachine
from lightning_interp.phases.streak import LEAVE
from lightning_interp.phases.verdict import far_from_fitted, verdict

if TYPE_CHECKING:
    from lightning_interp.phases.history_table import HistoryTable  # needs numpy, which the online part does without

EVERY_POINT = 1000
"""Updates of which each gets a point of its own in the intensities; a run with more records keeps its timeline small."""
_CURVES = frozenset(CURVES)
_LOSSES = frozenset(CURVES[:2])
_ACCURACIES = frozenset(CURVES[2:])
_TRACKED = frozenset(TRACKED)


class PhaseDetector:
    """Labels training while it happens; everything it says uses only records up to then.

    Conditions need three evaluations in a row to count and five misses to stop counting; evaluations are at most 100 per
    e-fold of steps, so densely logged runs are not judged more hastily. Between evaluations intensities keep their value.

    Args:
        n_classes: Number of classes, or None if it is not known.
        null_loss: Held-out loss of the best predictor that ignores its input, in the unit of the loss, or None.
        null_error: Share of held-out examples that the best constant answer gets wrong, or None.
        null_source: Where those two come from, in words; by ``loss`` and ``error`` if not from the same.
        heldout_examples: Number of held-out examples that an accuracy is a share of, or None.
        outcome: Another number of the user's that stands for held-out data, or None.

    Attributes:
        warning: The early warning, up to the latest evaluation.

    Raises:
        MetricsError: A fact that cannot be.
    """

    def __init__(
        self,
        *,
        n_classes: int | None = None,
        null_loss: float | None = None,
        null_error: float | None = None,
        null_source: str | Mapping[str, str] = GIVEN,
        heldout_examples: int | None = None,
        outcome: StandIn | None = None,
    ) -> None:
        facts = Facts(n_classes, null_loss, null_error, null_source, heldout_examples, outcome)
        self._state = RunState(RunSeries(facts))
        self._observed = self._state.observed
        self._machine = PhaseMachine(self._state)
        self._alarms: list[Alarm] = []
        self._raised: dict[str, int] = {}
        self._told_nonfinite = False
        self.warning = EarlyWarning(self._state)
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
        evaluated = step >= self._due or (observed.nonfinite and not self._told_nonfinite)
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
        found = verdict(self._state)
        return Timeline(
            verdict=found.name,
            phases=tuple(self._state.phases),
            alarms=tuple(self._alarms),
            intensities=dict(zip(INTENSITY_NAMES, map(tuple, self._points), strict=True)),
            evidence=evidence(found, self._state, self.warning),
        )

    @property
    def finished_timeline(self) -> Timeline:
        """What is known now, taken for the whole history: with the stages of its loss curve (up to a tenth of a second)."""
        from lightning_interp.phases.stage_checks import checked  # numpy and ruptures: the online part has neither
        from lightning_interp.phases.stages import stages, weight_stages

        curve, norm = self._observed["train_loss"] or self._observed["heldout_loss"], self._observed["weight_norm"]
        if norm and not curve.steps:
            return replace(self.timeline, stages=weight_stages(norm.steps, norm.values))
        found = stages(curve.steps, curve.values, lost_at=self._observed.nonfinite_since)
        heldout = self._observed["heldout_loss"]
        stands = bool(self._observed.fit) and not self._observed.nonfinite and not far_from_fitted(self._state).holds
        return replace(self.timeline, stages=checked(found, heldout, stands=stands))

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
        observed, state = self._observed, self._state
        if step >= self._due:
            self._told_nonfinite = False
            self._due = observed.clock.next_due(step)
        self._told_nonfinite |= observed.nonfinite
        observed.evaluate(step)
        judge(state, step)
        update_milestones(state)
        self.warning.update(step)
        begun = self._machine.update()
        self._alarms += [Alarm("phase_began", step, phase.because) for phase in state.phases[len(state.phases) - begun :]]
        self._raise_alarms(step)
        if observed.train or observed.heldout:
            self._latest = (*intensities(state), round(self.warning.score, 4))

    def _raise_alarms(self, step: int) -> None:
        state = self._state
        lost = all(state.on(name) for name in state.lost_by)
        blown = self._observed.nonfinite_clauses or (state.clauses("diverging") if state.on("diverging") else ())
        self._alarm("divergence", bool(blown), step, blown)
        self._alarm("collapse", lost, step, state.clauses(*state.lost_by))
        if "early_warning" not in self._raised:
            self._alarm("early_warning", self.warning.raised, step, self.warning.because)

    def _alarm(self, name: str, raised: bool, step: int, because: tuple[Clause, ...]) -> None:
        """Raise an alarm once for each stretch in which its cause lasts, with the hysteresis of every condition."""
        if raised:
            if name not in self._raised:
                self._alarms.append(Alarm(name, step, because))
            self._raised[name] = 0
        elif name in self._raised:
            self._raised[name] += 1
            if self._raised[name] >= LEAVE:
                del self._raised[name]


def _between(indices: list[int], at: int, end: int) -> int:
    """How many of the increasing indices lie in [at, end)."""
    return bisect_left(indices, end) - bisect_left(indices, at)


def detect_phases(
    metrics: Mapping[str, Any],
    *,
    n_classes: int | None = None,
    null_loss: float | None = None,
    null_error: float | None = None,
    null_source: str | Mapping[str, str] = GIVEN,
    heldout_examples: int | None = None,
    outcome: StandIn | None = None,
) -> Timeline:
    """The timeline of a finished history: the online detector, folded over it.

    Args:
        metrics: Either a table ``{"step": [...], "train_loss": [...], ...}`` of equally long columns, where NaN and None
            mean not logged; or a history ``{name: (steps, values)}``, where a loss of NaN means NaN.
        n_classes: This and the following: what is known of the data; see `PhaseDetector`.
        null_loss: See there.
        null_error: See there.
        null_source: See there.
        heldout_examples: See there.
        outcome: See there.

    Returns:
        The same as a `PhaseDetector` that was given each record in turn, with the stages of the loss curve.

    Raises:
        MetricsError: Columns of different lengths, steps that are no increasing whole numbers, none of the names known, or a
            fact that cannot be.
    """
    return follow(
        metrics,
        n_classes=n_classes,
        null_loss=null_loss,
        null_error=null_error,
        null_source=null_source,
        heldout_examples=heldout_examples,
        outcome=outcome,
    ).finished_timeline


def follow(metrics: Mapping[str, Any], **facts: Any) -> PhaseDetector:
    """The online detector after every record of a history; arguments and errors as for `detect_phases`."""
    from lightning_interp.phases.history_table import records_of

    detector = PhaseDetector(**facts)
    detector.update_all(records_of(metrics, TRACKED))
    return detector


def fold(metrics: Mapping[str, Any], **facts: Any) -> Iterator[tuple[int, Timeline]]:
    """The timeline after each record of a history, for animations and tests; arguments as for `detect_phases`.

    Yields:
        Optimizer step and the timeline known then.
    """
    from lightning_interp.phases.history_table import rows_of

    detector = PhaseDetector(**facts)
    for step, values in rows_of(metrics, TRACKED):
        detector.update(step, values)
        yield step, detector.timeline
