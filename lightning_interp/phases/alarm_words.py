# SPDX-License-Identifier: Apache-2.0
"""What an alarm says to people, wherever it is told."""

from collections.abc import Mapping

from lightning_interp.core.timeline import Alarm, Timeline
from lightning_interp.phases.wording import because_text

TOLD_AS_PHASES = ("phase_began", "collapse")
"""Alarms that people hear of by the phase that began."""


def alarm_sentence(alarm: Alarm, timeline: Timeline) -> str:
    """One alarm of a timeline, with how far it can be trusted where that was measured.

    >>> alarm_sentence(Alarm("early_warning", 3800), Timeline("unknown"))
    'Alarm at step 3,800: early warning'
    """
    name = alarm.name.replace("_", " ")
    return f"Alarm at step {alarm.step:,}: {name}{because_words(alarm)}{measured_words(alarm, timeline)}"


def because_words(alarm: Alarm) -> str:
    """The comparisons that raised it, to follow its name; empty where it has none."""
    return f", because {because_text(alarm.because)}" if alarm.because else ""


def measured_words(alarm: Alarm, timeline: Timeline) -> str:
    """How an early warning did on runs it had not seen, in parentheses; empty of other alarms and where it is not known."""
    warned = timeline.evidence.get("early_warning") if alarm.name == "early_warning" else None
    measured = warned.get("measured") if isinstance(warned, Mapping) else None
    return f" (on unseen small networks: {measured})" if measured else ""
