# SPDX-License-Identifier: Apache-2.0
"""What the monitor costs the training, measured while it runs, and what is done where that is too much."""

from lightning_interp.budget.contention import Contention
from lightning_interp.budget.overhead import Overhead
from lightning_interp.budget.pace import Pace
from lightning_interp.budget.thinning import ThinnedSchedule

__all__ = ["Contention", "Overhead", "Pace", "ThinnedSchedule"]
