# SPDX-License-Identifier: Apache-2.0
"""Results that are told at the step that they are there from, not when a clock says so."""

import pytest

from lightning_interp.monitor.delivery import Delivery


def deliver_at_every_step(patch: pytest.MonkeyPatch) -> None:
    """With an inline analyzer every record is delivered before the next step."""
    deliver = Delivery.deliver

    def read_and_deliver(self: Delivery) -> None:
        self._tailer.read_now()
        deliver(self)

    patch.setattr(Delivery, "deliver", read_and_deliver)
    for name in ("LOOK_S", "DRAIN_S"):
        patch.setattr(f"lightning_interp.monitor.run_monitor.{name}", 0.0)
