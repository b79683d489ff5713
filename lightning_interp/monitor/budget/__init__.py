# SPDX-License-Identifier: Apache-2.0
"""What the monitor costs the training, measured while it runs, and what is done where that is too much."""

from lightning_interp.monitor.budget.contention import Contention
from lightning_interp.monitor.budget.overhead import Overhead
from lightning_interp.monitor.budget.snapshot_pacing import SnapshotThrottle
from lightning_interp.monitor.budget.thinning import ThinnedSchedule

__all__ = ["Contention", "Overhead", "SnapshotThrottle", "ThinnedSchedule"]
