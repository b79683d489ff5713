# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from lightning_interp.analysis.watchdog import Watch, Watchdog
from lightning_interp.store.analysis_state import AnalysisState, read_state


class Limits(Watch):
    """Keeps the limits it is given."""

    def __init__(self) -> None:
        self.seconds: list[float | None] = []

    def limit(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return True

    def cancel(self) -> None:
        self.seconds.append(None)


def under_way(tmp_path: Path) -> tuple[Watchdog, Limits]:
    limits = Limits()
    return Watchdog(tmp_path, AnalysisState(observing=7, fitting=True), limits, least_s=10.0), limits


def test_what_an_earlier_analyzer_was_at_is_forgotten(tmp_path):
    state = AnalysisState(observing=7, fitting=True, busy_since=1.0, ends_at=2.0, waiting_for_slot=True)
    Watchdog(tmp_path, state, Watch(), least_s=1.0)
    assert state == AnalysisState()


def test_an_observation_is_on_disk_while_it_lasts(tmp_path):
    work, _ = under_way(tmp_path)
    work.observe(3)
    state = read_state(tmp_path)
    assert state.observing == 3
    assert 50 <= state.ends_at - state.busy_since < 50 + 60  # the clock is read twice, and the machine may be busy between
    work.rest()
    assert read_state(tmp_path) == AnalysisState()


def test_without_a_watch_there_is_no_limit(tmp_path):
    state = AnalysisState()
    Watchdog(tmp_path, state, Watch(), least_s=1.0).observe(3)
    assert state.ends_at is None


def test_an_observation_may_take_twenty_times_the_slowest_before_it(tmp_path):
    work, limits = under_way(tmp_path)
    for seconds in (0.1, 2.0, 1.0):
        work.observe(0)
        work.took(seconds)
    work.observe(0)
    assert limits.seconds == [50.0, 10.0, 40.0, 40.0]


def test_timing_the_probe_has_a_limit_of_its_own_and_sets_that_of_the_measures(tmp_path):
    work, limits = under_way(tmp_path)
    work.time_probe()
    work.probe_took(3.0)
    work.probe_took(0.1)
    assert limits.seconds == [300.0, 300.0, 50.0]


def test_each_fit_has_its_own_limit_and_a_failed_one_leaves_its_mark(tmp_path):
    work, limits = under_way(tmp_path)
    work.next_fit()  # nothing is under way, as in work on the training's own thread
    with pytest.raises(ArithmeticError), work.fitting():
        work.next_fit()
        raise ArithmeticError
    assert read_state(tmp_path).fitting
    with work.fitting():
        pass
    assert not read_state(tmp_path).fitting
    assert limits.seconds == [50.0, 50.0, 50.0, None]
