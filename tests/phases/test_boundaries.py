# SPDX-License-Identifier: Apache-2.0
"""Turning points and crossings of raw series."""

from lightning_interp.phases.boundaries import crossing, record_after, record_before, turning_point
from lightning_interp.phases.series import LogSeries
from lightning_interp.phases.streak import Streak


def series(values, every=10):
    result = LogSeries()
    for index, value in enumerate(values):
        result.add(index * every, float(value))
    return result


def test_turning_point_is_the_maximum():
    assert turning_point(series([0, 10, 20, 30, 20, 10, 0]), 0).step == 20  # the 3-point median of 20, 30, 20 is 20


def test_turning_point_is_not_moved_by_a_spike():
    assert turning_point(series([0, 99, 1, 2, 3, 4, 5, 6, 5, 4, 3]), 0).step in (60, 70)


def test_turning_point_interval_covers_a_plateau():
    assert turning_point(series([0, 50, 100, 100, 100, 50, 0]), 0).interval == (
        10,
        40,
    )  # 10: the record before the first maximum


def test_turning_point_looks_no_further_back_than_asked():
    assert turning_point(series([90, 90, 90, 1, 2, 3, 2, 1]), 30).step >= 30


def test_crossing_is_the_first_record_that_stays_below():
    assert crossing(series([9, 8, 3, 3, 8, 8, 3, 2, 1]), 5, 0).step == 60


def test_crossing_above_is_the_mirror_image():
    assert crossing(series([1, 1, 1, 9, 9, 9]), 5, 0, below=False).step == 30


def test_crossing_interval_reaches_back_to_the_record_before():
    assert crossing(series([9] * 10 + [1] * 10), 5, 0).interval == (90, 100)


def test_record_neighbours_are_strictly_before_and_after():
    points = series([1, 1, 1])
    assert (record_before(points, 10), record_after(points, 10)) == (0, 20)


def test_streak_counts_after_three_hits():
    streak = Streak()
    states = []
    for index in range(4):
        streak.update(True, index * 10, index)
        states.append(streak.on)
    assert (states, streak.since) == ([False, False, True, True], 0)


def test_streak_stops_after_five_misses():
    streak = Streak()
    states = []
    for index in range(8):
        streak.update(index < 3, index, index)
        states.append(streak.on)
    assert states == [False, False, True, True, True, True, True, False]


def test_streak_counts_an_evaluation_once():
    streak = Streak()
    for step in range(10):
        streak.update(True, step, 1)
    assert not streak.on
