# SPDX-License-Identifier: Apache-2.0
"""What the phase detector says about a run: phases, alarms, intensities, verdict and the evidence for them. Plain values."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.typed_values import MOST

SCHEMA = 2
"""Version of the JSON layout that `Timeline.to_dict` writes."""
READ_SCHEMAS = (1, SCHEMA)
"""Versions that can be read. 1 had no state, no clauses and no overfitting."""

PHASE_NAMES = (
    "warm_up",
    "fitting",
    "memorization",
    "circuit_formation",
    "cleanup",
    "converged",
    "collapse",
    "overfitting",
)
"""Every name a phase can have; loggers get its place here, so a new one comes last."""

ALARM_NAMES = ("early_warning", "phase_began", "collapse", "divergence")
"""Every name an alarm can have."""

INTENSITY_NAMES = ("memorization", "circuit_formation", "cleanup", "generalization")
"""What gets an intensity in [0, 1]: three processes, which may overlap, and the score that generalization is forming."""

VERDICTS = (
    "diverged",
    "unknown",
    "collapse",
    "grokking",
    "early_generalization",
    "overfitting",
    "not_fitted",
    "partial_generalization",
    "memorization_only",
)
"""Every verdict on a whole history, in the order they are tried."""

State = Literal["provisional", "pending", "final"]
"""Of a verdict: training goes on; snapshots are not analyzed yet; nothing can change it any more."""

STAGE_NAMES = ("warm_up", "descent", "plateau", "breakthrough", "saturation", "instability", "collapse")
"""Every name a stage of a loss curve can have."""
WEIGHT_STAGE_NAMES = ("norm_growing", "norm_shrinking", "norm_at_rest")
"""Every name a stage of a weight norm can have, where no loss is known."""

Interval = tuple[int, int]
"""First and last optimizer step between which a boundary can lie, both included."""

Clause = Mapping[str, Any]
"""One comparison that decided something, in plain values: ``rule``, ``of`` (a series, in words), ``value``, ``relation``
(``>=`` or ``<=``), ``limit``, ``step``, and ``examples`` and ``interval`` if a binomial interval had to clear the limit."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training with one name.

    Attributes:
        name: One of `PHASE_NAMES`.
        start: Optimizer step of the first record of the phase, back-dated to where the raw series turned or crossed.
        end: Start of the next phase, None while the phase is open.
        confidence: Score in [0, 1], the highest that the evidence reached while the phase was open; a score of rules, no
            probability.
        start_interval: Steps between which the start can lie: at least the neighbouring records, widened to the
            stretch where the deciding series stays within two noise deviations of its turning point or threshold.
        end_interval: Start interval of the next phase, None while the phase is open.
        because: The comparisons that began it.
    """

    name: str
    start: int
    end: int | None
    confidence: float
    start_interval: Interval
    end_interval: Interval | None = None
    because: tuple[Clause, ...] = ()


@dataclass(frozen=True)
class LossStage:
    """One stretch of a loss curve with one shape.

    Attributes:
        name: One of `STAGE_NAMES`, or of `WEIGHT_STAGE_NAMES` where no loss is known.
        start: First optimizer step.
        end: Start of the next stage, None while the stage is open.
        slope: Change of the log loss per e-fold of steps.
    """

    name: str
    start: int
    end: int | None
    slope: float


@dataclass(frozen=True)
class Alarm:
    """Something worth telling at the moment it became known.

    Attributes:
        name: One of `ALARM_NAMES`.
        step: Optimizer step at which the detector knew, which is later than the boundary it reports.
        because: The comparisons that raised it.
    """

    name: str
    step: int
    because: tuple[Clause, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """The detector's account of a history.

    Attributes:
        verdict: One of `VERDICTS`, about the history so far.
        phases: Contiguous, in order; only the last can be open.
        alarms: In the order they were raised.
        intensities: By process, (optimizer step, value in [0, 1]) wherever it was judged anew; a value holds until the next.
            The last point is that of the last update.
        evidence: Why, in plain values: a sentence and the clauses it is made from, the level of a predictor that ignores its
            input and where that number comes from, the steps that decided, series present.
        stages: Shape of the train loss (of the held-out loss where there is none, else of the weight norm), which needs no
            held-out data. Found in the whole curve at once: empty until the history is finished.
        state: Whether the verdict can still change.
        analyzed: Snapshots that were analyzed, and those there are; None of a file of metrics.
        loaders: By the name of a further validation loader, the same account with its held-out curves in place of the first
            one's, without intensities.
    """

    verdict: str
    phases: tuple[Phase, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    intensities: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[LossStage, ...] = ()
    state: State = "final"
    analyzed: tuple[int, int] | None = None
    loaders: Mapping[str, "Timeline"] = field(default_factory=dict)

    @property
    def current(self) -> str | None:
        """Name of the last phase, None before there is one."""
        return self.phases[-1].name if self.phases else None

    @property
    def grokking_step(self) -> int | None:
        """First of three held-out evaluations with accuracy of at least .95, in optimizer steps; None if there is none."""
        step = self.evidence.get("grokking_step")
        return step if isinstance(step, int) else None

    def phase_at(self, step: int) -> str | None:
        """Name of the phase at an optimizer step, None before the first."""
        return next((phase.name for phase in reversed(self.phases) if phase.start <= step), None)

    def intensity(self, name: str, step: int) -> float:
        """A process's intensity at an optimizer step, in [0, 1]; NaN before the first one and for a name that has none."""
        points = self.intensities.get(name, ())
        at = bisect_right(points, step, key=lambda point: point[0])
        return points[at - 1][1] if at else math.nan

    def to_dict(self) -> dict[str, Any]:
        """The timeline as plain JSON values: what phases.json holds."""
        written = {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "state": self.state,
            "analyzed": None if self.analyzed is None else list(self.analyzed),
            "phases": [_listed(asdict(phase)) for phase in self.phases],
            "alarms": [_listed(asdict(alarm)) for alarm in self.alarms],
            "intensities": {name: [[s, v] for s, v in points] for name, points in self.intensities.items()},
            "evidence": dict(self.evidence),
            "stages": [asdict(stage) for stage in self.stages],
        }
        if self.loaders:
            written["loaders"] = {name: self._of_loader(other) for name, other in self.loaders.items()}
        return written

    @classmethod
    def _loader_from(cls, data: Mapping[str, Any]) -> "Timeline":
        """One of a loader has none of its own, however deep a stranger's file may go."""
        return cls.from_dict({"intensities": {}, **data, "loaders": {}})

    def _of_loader(self, other: "Timeline") -> dict[str, Any]:
        whole = replace(other, state=self.state, analyzed=self.analyzed).to_dict()
        return {name: value for name, value in whole.items() if name not in ("intensities", "loaders")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Timeline":
        """Rebuild a timeline from the values that `to_dict` gives, or gave in schema 1.

        Args:
            data: A decoded phases.json.

        Raises:
            MetricsError: Another schema version, or keys missing.
        """
        if data.get("schema") not in READ_SCHEMAS:
            raise MetricsError(
                f"Timeline: expected schema {' or '.join(map(str, READ_SCHEMAS))}, got {data.get('schema')!r}. "
                "Read it with the version that wrote it, or detect the phases again."
            )
        try:
            return cls(
                verdict=_checked(data["verdict"], str),
                phases=tuple(_phase_from_dict(phase) for phase in data["phases"]),
                alarms=tuple(_alarm_from_dict(alarm) for alarm in data["alarms"]),
                intensities={name: _points(points) for name, points in data["intensities"].items()},
                evidence=_evidence_from(data["evidence"]),
                stages=tuple(_stage_from_dict(stage) for stage in data.get("stages", ())),
                state=_state_from(data.get("state", "final")),
                analyzed=None if data.get("analyzed") is None else _steps(data["analyzed"]),
                loaders={name: cls._loader_from(each) for name, each in data.get("loaders", {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
            raise MetricsError(f"Timeline: not a phases.json ({err!r}). Detect the phases again.") from err


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _phase_from_dict(data: Mapping[str, Any]) -> Phase:
    return Phase(
        name=_checked(data["name"], str),
        start=_step(data["start"]),
        end=None if data["end"] is None else _step(data["end"]),
        confidence=_checked(data["confidence"], int | float),
        start_interval=_steps(data["start_interval"]),
        end_interval=None if data["end_interval"] is None else _steps(data["end_interval"]),
        because=_clauses(data.get("because")),
    )


def _alarm_from_dict(data: Mapping[str, Any]) -> Alarm:
    return Alarm(_checked(data["name"], str), _checked(data["step"], int), _clauses(data.get("because")))


def _stage_from_dict(data: Mapping[str, Any]) -> LossStage:
    end = None if data["end"] is None else _checked(data["end"], int)
    return LossStage(_checked(data["name"], str), _checked(data["start"], int), end, _checked(data["slope"], int | float))


def _points(points: Any) -> tuple[tuple[int, float], ...]:
    return tuple((_checked(step, int), _checked(value, int | float)) for step, value in points)


def _evidence_from(data: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, "because": list(_clauses(data["because"]))} if "because" in data else dict(data)


def _state_from(value: Any) -> State:
    if value not in get_args(State):
        raise ValueError(f"no state {value!r}")
    state: State = value
    return state


def _steps(pair: Any) -> tuple[int, int]:
    first, second = pair
    return _checked(first, int), _checked(second, int)


def _step(value: Any) -> int:
    step: int = _checked(value, int)
    if step < 0:
        raise ValueError(f"no step {step}")
    return step


def _checked(value: Any, kind: Any) -> Any:
    """The value, if it is of a kind: what is read may be anybody's file, and is added up and printed later."""
    if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and abs(value) > MOST):
        raise TypeError(f"expected {kind}, got {value!r}"[:200])
    return value


def _clauses(data: Any) -> tuple[Clause, ...]:
    """Those of a list that are clauses: what is read may be anybody's file, and sentences are made from it."""
    return tuple(clause for clause in data if _is_clause(clause)) if isinstance(data, list | tuple) else ()


def _is_clause(clause: Any) -> bool:
    if not isinstance(clause, Mapping) or not isinstance(clause.get("of"), str):
        return False
    if isinstance(clause.get("says"), str):
        return type(clause.get("step")) is int
    numbers = [clause.get("value"), clause.get("limit"), *_pair(clause.get("interval"))]
    known = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    return known and clause.get("relation") in (">=", "<=") and isinstance(clause.get("examples"), int | None)


def _pair(interval: Any) -> tuple[Any, ...]:
    """Both ends of an interval; nothing if there is none."""
    return (
        () if interval is None else tuple(interval) if isinstance(interval, list | tuple) and len(interval) == 2 else (None,)
    )
