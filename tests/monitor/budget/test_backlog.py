# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.monitor.budget.backlog import Backlog


def test_what_was_captured_waits_until_it_is_analyzed():
    backlog = Backlog()
    assert not backlog.analyzed(-1)
    for step in (0, 1, 5):
        backlog.captured(step)
    assert backlog.analyzed(1) and len(backlog) == 1
    assert not backlog.analyzed(7) and len(backlog) == 0  # also where the last one was given up


def test_the_time_of_the_first_snapshot_is_no_measure_for_others():
    backlog = Backlog()
    for step in range(10):
        backlog.captured(step)
    backlog.worked(60.0)  # an analyzer that starts
    backlog.analyzed(0)
    assert backlog.to_do_s() == 0.0
    for step in (1, 2, 3):
        backlog.worked(2.0)
        backlog.analyzed(step)
    assert backlog.to_do_s() == pytest.approx(6 * 2.0)
    assert backlog.to_do_s(1) == pytest.approx(7 * 2.0)
