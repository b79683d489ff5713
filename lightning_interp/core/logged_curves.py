# SPDX-License-Identifier: Apache-2.0
"""Losses and accuracies as the training itself logged them: what is judged where the probe gives none.

A record holds a curve as ``logged_train_loss`` and the step at which it was logged as ``logged_train_loss_step``, once for
each time it was logged. Curves of the probe and logged ones are never judged together.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lightning_interp.core.outcome import LARGEST_SHARE
from lightning_interp.core.series import Series

Curve = Literal["train_loss", "heldout_loss", "train_accuracy", "heldout_accuracy"]
CURVES: tuple[Curve, ...] = get_args(Curve)
"""Records of the probe that phases are found from, and what a logged value can stand for."""

Kind = Literal["batch", "average", "given"]
"""What a logged value is: of one batch, an average over an epoch or a validation, or given to `Monitor.step`."""

KINDS: tuple[Kind, ...] = get_args(Kind)

PERCENT = 100.0
LONGEST_NAME = 120
_LEFT_OUT = math.inf


@dataclass(frozen=True)
class LoggedAs:
    """What a curve is logged as.

    Attributes:
        name: The user's name for it.
        kind: What the values are.
    """

    name: str
    kind: Kind

    def words(self, curve: str) -> str:
        """Name and kind for a reader.

        >>> LoggedAs("val_loss", "average").words("heldout_loss")
        'held-out loss `val_loss` (averages over a validation)'
        """
        averages = f"averages over {'a validation' if curve.startswith('heldout') else 'an epoch'}"
        kind = {"batch": "batch values", "average": averages, "given": "as given to Monitor.step"}[self.kind]
        return f"{curve_words(curve)} `{self.name}` ({kind})"


def curve_words(curve: str) -> str:
    """A curve's name as sentences call it."""
    return curve.replace("heldout", "held-out").replace("_", " ")


def value_record(curve: str) -> str:
    """Record name of a logged value."""
    return f"logged_{curve}"


def step_record(curve: str) -> str:
    """Record name of the optimizer step at which it was logged."""
    return f"logged_{curve}_step"


VALUES = {value_record(curve): curve for curve in CURVES}
NAMES = frozenset(VALUES) | {step_record(curve) for curve in CURVES}
"""Every record name of logged curves."""


def plain_logged(curves: Mapping[str, LoggedAs]) -> dict[str, dict[str, str]]:
    """What curves are logged as, in values JSON can hold; `read_logged` takes them back."""
    return {curve: {"name": found.name, "kind": found.kind} for curve, found in curves.items()}


def read_logged(content: object) -> dict[str, LoggedAs]:
    """What analysis.json says, which anybody may have written: what is no such value is left out."""
    found: dict[str, LoggedAs] = {}
    for curve in CURVES:
        told = _mapping(_mapping(content).get(curve))
        kind = next((kind for kind in KINDS if kind == told.get("kind")), None)
        if isinstance(told.get("name"), str) and kind is not None:
            found[curve] = LoggedAs(str(told["name"])[:LONGEST_NAME], kind)
    return found


class LoggedSource:
    """Whether logged curves are what is judged, and what turns their values into losses and shares.

    They are not where any record has a curve of the probe. An accuracy that was ever over 1 is a percentage, all of it.
    """

    def __init__(self) -> None:
        self._probe = False
        self._highest: dict[str, float] = {}

    def see(self, values: Mapping[str, float]) -> None:
        """Take in the values of a record; NaN stands for one that was not finite."""
        self._probe = self._probe or any(curve in values for curve in CURVES)
        for name, curve in VALUES.items():
            if name in values:
                value = values[name] if math.isfinite(values[name]) else -math.inf
                self._highest[curve] = max(self._highest.get(curve, -math.inf), value)

    @property
    def units(self) -> Mapping[str, float] | None:
        """What 1 is in each logged curve, infinite where it is not judged; None where the probe's own curves are judged."""
        if self._probe or not self._highest:
            return None
        return {curve: _unit(curve, highest) for curve, highest in self._highest.items()}

    @classmethod
    def of(cls, series: Series) -> "LoggedSource":
        """The source of a whole history."""
        found = cls()
        found.see({name: math.nan for name in series})
        for name in VALUES:
            if name in series:
                found.see({name: max(filter(math.isfinite, series[name][1]), default=math.nan)})
        return found


def own_steps(step: int, values: Mapping[str, float], units: Mapping[str, float]) -> Iterator[tuple[int, str, float]]:
    """The logged curves of one record: step at which it was logged, curve, loss or share."""
    for name, curve in VALUES.items():
        unit = units.get(curve, _LEFT_OUT)
        if name in values and unit != _LEFT_OUT:
            yield _told(values.get(step_record(curve)), step), curve, values[name] / unit


def logged_series(series: Series) -> dict[str, tuple[list[int], list[float]]]:
    """Logged curves of a history by the name of what they stand for, at their own steps; empty where the probe has some."""
    units = LoggedSource.of(series).units or {}
    found = {}
    for curve, unit in units.items():
        steps, values = series[value_record(curve)]
        told = dict(zip(*series.get(step_record(curve), ((), ())), strict=True))
        if unit != _LEFT_OUT:
            found[curve] = ([_told(told.get(step), step) for step in steps], [value / unit for value in values])
    return found


def _told(told: float | None, step: int) -> int:
    return step if told is None or not math.isfinite(told) else int(told)


def _unit(curve: str, highest: float) -> float:
    if curve.endswith("loss") or highest <= LARGEST_SHARE:
        return 1.0
    return PERCENT if highest <= PERCENT * LARGEST_SHARE else _LEFT_OUT


def _mapping(content: object) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}
