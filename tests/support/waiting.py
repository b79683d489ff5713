# SPDX-License-Identifier: Apache-2.0
"""Waiting for what happens beside a test, such as the end of a run whose training broke off."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_interp.monitor.closing import wait_until_closed

LONGEST_S = 90.0


def until(is_so: Callable[[], Any], *, seconds: float = LONGEST_S) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: It did not come in time.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)


def until_closed(run_dir: Path) -> None:
    """Wait until a run of this process whose training broke off is closed whole."""
    assert wait_until_closed(run_dir, LONGEST_S, whole=True)
