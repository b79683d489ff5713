# SPDX-License-Identifier: Apache-2.0
"""A monitor that loses nothing on a slow machine, for tests that count on every scheduled step and on every record.

Users get less by default: snapshots are given up where the writer is behind or the monitor costs too much, and the end of a
training does not wait long for the analyzer.
"""

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_interp.capture import recorder
from lightning_interp.config.monitor_config import MonitorConfig
from lightning_interp.monitor.run_monitor import RunMonitor

if TYPE_CHECKING:
    import pytest

PATIENT = {"close_timeout": 200.0, "max_overhead": 1e9}
"""Options of a monitor that waits for its analyzer and never thins its schedule."""
QUEUE_DEPTH = 10_000
"""Snapshots that wait for the writer at most. Their memory is allocated as they come, and those of tests are small."""


def keep_every_snapshot() -> None:
    """Let no writer of this process fall too far behind, from here on; for scripts that a test starts."""
    recorder.QUEUE_DEPTH = QUEUE_DEPTH


def make_patient(patch: "pytest.MonkeyPatch") -> None:
    """Give every monitor of this process a deep queue, and `PATIENT` where it has a default, until the patch is undone."""
    start = RunMonitor.__init__

    @functools.wraps(start)
    def start_patiently(self: RunMonitor, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        self.config = patient(self.config)

    patch.setattr(recorder, "QUEUE_DEPTH", QUEUE_DEPTH)
    patch.setattr(RunMonitor, "__init__", start_patiently)


def patient(config: MonitorConfig) -> MonitorConfig:
    """The configuration with `PATIENT` in place of defaults; what a test asks for itself stands."""
    defaults = MonitorConfig()
    changes = {name: value for name, value in PATIENT.items() if getattr(config, name) == getattr(defaults, name)}
    return replace(config, **changes)
