# SPDX-License-Identifier: Apache-2.0
"""Phases of learning from a history of metrics: pure Python, no files, no training framework."""

from lightning_interp.phases.changes import PhaseChange, describe, phase_changes
from lightning_interp.phases.detector import PhaseDetector, detect_phases, fold
from lightning_interp.phases.run_series import TRACKED
from lightning_interp.phases.wording import MEANINGS, because_text, clause_text

__all__ = [
    "MEANINGS",
    "TRACKED",
    "PhaseChange",
    "PhaseDetector",
    "because_text",
    "clause_text",
    "describe",
    "detect_phases",
    "fold",
    "phase_changes",
]
