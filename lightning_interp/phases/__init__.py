# SPDX-License-Identifier: Apache-2.0
"""Phases of learning from a history of metrics: pure Python, no files, no training framework."""

from lightning_interp.core.timeline import ALARM_NAMES as ALARM_NAMES
from lightning_interp.core.timeline import INTENSITY_NAMES as INTENSITY_NAMES
from lightning_interp.core.timeline import PHASE_NAMES as PHASE_NAMES
from lightning_interp.core.timeline import STAGE_NAMES as STAGE_NAMES
from lightning_interp.core.timeline import VERDICTS as VERDICTS
from lightning_interp.core.timeline import Alarm as Alarm
from lightning_interp.core.timeline import LossStage as LossStage
from lightning_interp.core.timeline import Phase as Phase
from lightning_interp.core.timeline import Timeline as Timeline
from lightning_interp.phases.changes import MEANINGS as MEANINGS
from lightning_interp.phases.changes import PhaseChange as PhaseChange
from lightning_interp.phases.changes import describe as describe
from lightning_interp.phases.changes import phase_changes as phase_changes
from lightning_interp.phases.detector import PhaseDetector as PhaseDetector
from lightning_interp.phases.detector import detect_phases as detect_phases
from lightning_interp.phases.detector import fold as fold
from lightning_interp.phases.run_series import TRACKED as TRACKED
from lightning_interp.phases.verdict import SENTENCES as SENTENCES

__all__ = [
    "ALARM_NAMES",
    "INTENSITY_NAMES",
    "MEANINGS",
    "PHASE_NAMES",
    "SENTENCES",
    "STAGE_NAMES",
    "TRACKED",
    "VERDICTS",
    "Alarm",
    "LossStage",
    "Phase",
    "PhaseChange",
    "PhaseDetector",
    "Timeline",
    "describe",
    "detect_phases",
    "fold",
    "phase_changes",
]
