# SPDX-License-Identifier: Apache-2.0
"""Functions of the user's that are called when a phase begins or an alarm is raised."""

from collections.abc import Callable, Sequence
from typing import Any

from lightning_interp.core.console import warn
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.timeline import ALARM_NAMES, PHASE_NAMES, Alarm
from lightning_interp.phases import PhaseChange

PhaseCallback = Callable[[PhaseChange], None]
AlarmCallback = Callable[[Alarm], None]


class Listeners:
    """Callbacks by the name of what they wait for; called on the training thread."""

    def __init__(self) -> None:
        self._phases: dict[str, list[PhaseCallback]] = {}
        self._alarms: dict[str, list[AlarmCallback]] = {}

    def on_phase(self, name: str, fn: PhaseCallback) -> None:
        """Call `fn` when a phase of this name begins.

        Raises:
            ConfigError: There is no such phase.
        """
        _check(name, PHASE_NAMES, "phase")
        self._phases.setdefault(name, []).append(fn)

    def on_alarm(self, name: str, fn: AlarmCallback) -> None:
        """Call `fn` when an alarm of this name is raised.

        Raises:
            ConfigError: There is no such alarm.
        """
        _check(name, ALARM_NAMES, "alarm")
        self._alarms.setdefault(name, []).append(fn)

    def phase_began(self, change: PhaseChange, *, strict: bool) -> None:
        """Call who waits for the phase; under `strict` what a callback raises is passed on."""
        for call in self._phases.get(change.name, ()):
            _call(call, change, f"on_phase callback for {change.name}", strict=strict)

    def alarm_raised(self, alarm: Alarm, *, strict: bool) -> None:
        """Call who waits for the alarm; under `strict` what a callback raises is passed on."""
        for call in self._alarms.get(alarm.name, ()):
            _call(call, alarm, f"on_alarm callback for {alarm.name}", strict=strict)


def _check(name: str, known: Sequence[str], kind: str) -> None:
    if name not in known:
        raise ConfigError(f"on_{kind}: no {kind} {name!r}; there are {', '.join(known)}.")


def _call(call: Callable[[Any], None], told: PhaseChange | Alarm, what: str, *, strict: bool) -> None:
    """Run a callback of the user's; what it raises is reported, not passed on."""
    try:
        call(told)
    except Exception as err:
        if strict:
            raise
        warn(f"{what} failed ({type(err).__name__}: {err})")
