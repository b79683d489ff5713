# SPDX-License-Identifier: Apache-2.0
"""A schedule that can be made sparser while it is followed."""

import math

from lightning_interp.capture.schedule import Schedule

FIRST_SPACING, LARGEST_SPACING = 0.04, 0.32
"""Least growth of the step from one snapshot to the next, as a share of the step, at the first thinning and at most."""


class ThinnedSchedule(Schedule):
    """A schedule of which every step is due that lies far enough after the last one, in log(step)."""

    def __init__(self, schedule: Schedule) -> None:
        self.asked = schedule
        self.spacing = 0.0

    def thin(self) -> None:
        """Double the least spacing."""
        self.spacing = min(LARGEST_SPACING, max(FIRST_SPACING, 2 * self.spacing))

    def relax(self) -> None:
        """Halve the least spacing, down to the schedule as it was asked for."""
        self.spacing = self.spacing / 2 if self.spacing > FIRST_SPACING else 0.0

    def next_after(self, step: int) -> int:
        """The first scheduled step that is at least the spacing away."""
        if self.spacing == 0.0 or step < 0:
            return self.asked.next_after(step)
        return self.asked.next_after(math.ceil(step * (1 + self.spacing)) - 1 if step > 0 else step)

    def __repr__(self) -> str:
        return repr(self.asked) if not self.spacing else f"{self.asked!r}, at least {self.spacing:.0%} apart"
