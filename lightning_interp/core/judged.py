# SPDX-License-Identifier: Apache-2.0
"""What the phase detector judges in place of the probe's curves: a logged outcome, logged curves, a further loader's curves.

The same functions serve records as they come and histories as a whole, so that both are judged alike.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from lightning_interp.core.logged_curves import NAMES, LoggedSource, own_steps
from lightning_interp.core.outcome import LARGEST_SHARE, OUTCOME, OUTCOME_STEP, Outcome
from lightning_interp.core.series import GrowingSeries, Series, add_values, series_of

Of = TypeVar("Of")
Row = tuple[int, dict[str, float]]

LOADER_CURVES = ("heldout_loss", "heldout_accuracy")
"""Records of the first validation loader, of further ones as ``heldout_loss/<loader>``."""
_OF_FIRST_LOADER = ("heldout_", "shuffled_", OUTCOME)


def loader_names(names: Mapping[str, object]) -> tuple[str, ...]:
    """Further validation loaders that records hold curves of, in their order.

    >>> loader_names({"heldout_loss": 0, "heldout_loss/night": 0, "hoyer/act": 0, "heldout_accuracy/night": 0})
    ('night',)
    """
    parts = (name.partition("/") for name in names)
    return tuple(dict.fromkeys(loader for curve, _, loader in parts if loader and curve in LOADER_CURVES))


def of_loader(values: Mapping[str, Of], loader: str) -> dict[str, Of]:
    """Values, or series, of which a further loader's are the held-out ones; what only the first loader has is left out.

    >>> of_loader({"train_loss": 1.0, "heldout_loss": 2.0, "heldout_loss/night": 3.0}, "night")
    {'train_loss': 1.0, 'heldout_loss': 3.0}
    """
    own = {curve: values[f"{curve}/{loader}"] for curve in LOADER_CURVES if f"{curve}/{loader}" in values}
    return {name: value for name, value in values.items() if "/" not in name and not name.startswith(_OF_FIRST_LOADER)} | own


def facts_of_loader(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the detector is told of a further loader: the classes are the same, their shares need not be."""
    return {"n_classes": facts.get("n_classes")}


def role_of(outcome: Outcome) -> str:
    """The record that an outcome stands in for."""
    return "heldout_accuracy" if outcome.direction == "max" else "heldout_loss"


def replaced_by(outcome: Outcome) -> frozenset[str]:
    """Records that are not judged where an outcome decides: what it stands in for, levels of that, and its own."""
    if outcome.direction == "max":
        return frozenset({"heldout_accuracy", OUTCOME, OUTCOME_STEP})
    levels = set() if outcome.is_loss_like else {"shuffled_loss"}
    return frozenset({"heldout_accuracy", "heldout_loss", OUTCOME, OUTCOME_STEP} | levels)


def facts_for(outcome: Outcome | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the detector is told beside the series, where an outcome decides.

    Args:
        outcome: The outcome, None where the probe's own curves decide.
        facts: Keywords of `PhaseDetector` that hold for the probe: number of classes, nulls of loss and error and their
            source, held-out examples.

    Returns:
        Keywords of `PhaseDetector`. Levels of the probe stand only where the outcome is a number of the same kind.
    """
    told = dict(facts)
    if outcome is None:
        return told
    told |= {"heldout_examples": None, "outcome": outcome.stand_in}
    known = outcome.known_null
    if outcome.direction == "max" and not outcome.is_accuracy_like:
        told["null_error"] = None
    elif outcome.direction == "min" and not outcome.is_loss_like:
        told |= {"null_loss": None, "null_error": _null_error(told), "n_classes": None}
    if known is not None:
        null, source = known
        kind, level = ("error", 1 - null / outcome.best) if outcome.direction == "max" else ("loss", null)
        told |= {f"null_{kind}": level, "null_source": sources(facts.get("null_source")) | {kind: source}}
    return told


def sources(told: str | Mapping[str, str] | None) -> dict[str, str]:
    """Where nulls come from, by ``loss`` and ``error``."""
    return dict.fromkeys(("loss", "error"), told) if isinstance(told, str) else dict(told or {})


def _null_error(facts: Mapping[str, Any]) -> float | None:
    """Of the answers, for the train accuracy; classes say nothing of an outcome in a unit of its own."""
    known, classes = facts.get("null_error"), facts.get("n_classes")
    return 1 - 1 / classes if known is None and classes else known


class OutcomeRows:
    """Records as the detector takes them, one after the other.

    A snapshot carries the outcome of the latest validation: it counts once, at the step of that validation, or if the
    training does not tell it, at the first snapshot with another value. Logged curves count at the steps they were logged.

    Args:
        outcome: The outcome, None where the probe's own curves decide.
        logged: What 1 is in each logged curve, None where the probe's own curves are judged (`LoggedSource.units`).
    """

    def __init__(self, outcome: Outcome | None, logged: Mapping[str, float] | None = None) -> None:
        self._outcome, self._logged = outcome, logged
        self._replaced = frozenset() if outcome is None else replaced_by(outcome)
        self._evaluations = _Evaluations()
        self._after = -1

    def rows(self, step: int, values: Mapping[str, float]) -> Iterator[Row]:
        """What one record amounts to, in order of steps: its values, and before them evaluations that are older."""
        if not values:
            return
        gone = self._replaced if self._logged is None else self._replaced | NAMES
        row = {name: value for name, value in values.items() if name not in gone}
        found: dict[int, dict[str, float]] = {step: row}
        for told, curve, value in own_steps(step, values, self._logged or {}):
            if curve not in self._replaced:
                found.setdefault(self._place(step, told), {})[curve] = value
        if self._outcome is not None and OUTCOME in values:
            place = self._evaluations.place(step, values[OUTCOME], values.get(OUTCOME_STEP), after=self._after)
            in_role = {} if place is None else _in_role(self._outcome, values[OUTCOME])
            if place is not None and in_role:
                found.setdefault(place, {}).update(in_role)
        self._after = step
        yield from sorted(found.items())

    def _place(self, step: int, told: int) -> int:
        """Where a value counts that was logged at a step: there, or right after the record before."""
        return min(step, max(told, self._after + 1))


def judged_series(series: Series, outcome: Outcome | None) -> Series:
    """A history as the detector takes it; the same as `OutcomeRows` gives record by record."""
    logged = LoggedSource.of(series).units
    if logged is not None:
        return _row_by_row(series, OutcomeRows(outcome, logged))
    if outcome is None:
        return series
    kept: GrowingSeries = {name: each for name, each in series.items() if name not in replaced_by(outcome)}
    if OUTCOME not in series:
        return kept
    told = dict(zip(*series.get(OUTCOME_STEP, ([], [])), strict=True))
    union = sorted({step for steps, _ in series.values() for step in steps})
    evaluations = _Evaluations()
    found: GrowingSeries = {}
    for step, value in zip(*series[OUTCOME], strict=True):
        at = bisect_left(union, step)
        place = evaluations.place(step, value, told.get(step), after=union[at - 1] if at else -1)
        if place is not None:
            add_values(found, place, _in_role(outcome, value))
    return kept | found


def _row_by_row(series: Series, rows: OutcomeRows) -> Series:
    records: dict[int, dict[str, float]] = {}
    for name, (steps, values) in series.items():
        for step, value in zip(steps, values, strict=True):
            records.setdefault(step, {})[name] = value
    return series_of(row for step in sorted(records) for row in rows.rows(step, records[step]))


class _Evaluations:
    """Tells evaluations from values that are only carried on."""

    def __init__(self) -> None:
        self._told = -1.0
        self._value: float | None = None

    def place(self, step: int, value: float, told: float | None, *, after: int) -> int | None:
        """Step at which a value counts, later than `after` and up to `step`; None if it was counted before."""
        changed = self._value is None or not (value == self._value or (value != value and self._value != self._value))
        self._value = value
        if told is not None and told > self._told:
            self._told = told
            return min(step, max(int(told), after + 1))
        return step if changed else None


def _in_role(outcome: Outcome, value: float) -> dict[str, float]:
    """The value under the name of the curve it stands in for; nothing if it can be no share of the best."""
    if outcome.direction == "min":
        return {role_of(outcome): value}
    share = value / outcome.best
    return {role_of(outcome): share} if share <= LARGEST_SHARE else {}
