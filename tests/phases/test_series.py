# SPDX-License-Identifier: Apache-2.0
"""Log-time series, medians, slopes and noise, against closed forms and slow references."""

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.phases.series import LogClock, LogSeries, median3, noise_sd, theil_sen

numbers = st.floats(-1e6, 1e6)


def filled(steps, curve):
    clock, series = LogClock(), LogSeries()
    for step in steps:
        clock.observe(step)
        series.add(step, curve(step))
        series.evaluate(clock)
    return clock, series


def test_theil_sen_of_a_line_is_its_slope():
    assert theil_sen([0, 1, 3, 7], [1, 3, 7, 15]) == 2


def test_theil_sen_ignores_an_outlier():
    assert theil_sen(list(range(9)), [0, 1, 2, 3, 400, 5, 6, 7, 8]) == 1


@given(st.lists(numbers, min_size=2, max_size=12))
def test_theil_sen_is_the_median_of_all_pair_slopes(ys):
    pairs = itertools.combinations(enumerate(ys), 2)
    assert theil_sen(range(len(ys)), ys) == statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs)


@given(st.lists(numbers, max_size=20))
def test_median3_stays_within_neighbours(values):
    smooth = median3(values)
    assert len(smooth) == len(values)
    assert all(min(values[i - 1 : i + 2]) <= smooth[i] <= max(values[i - 1 : i + 2]) for i in range(1, len(values) - 1))


def test_median3_removes_a_single_spike():
    assert median3([1.0, 1.0, 9.0, 1.0, 1.0]) == [1.0] * 5


def test_noise_sd_of_gaussian_noise_is_its_deviation():
    rng = random.Random(0)
    # relative standard error of a median absolute deviation of n = 4000 correlated differences is about 3 %
    assert noise_sd([rng.gauss(5, 0.3) for _ in range(4000)]) == pytest.approx(0.3, rel=0.1)


def test_noise_sd_of_a_line_is_zero():
    assert noise_sd([2.0 * i for i in range(10)]) == 0


def test_slope_is_per_e_fold():
    clock, series = filled(range(10, 500, 10), lambda step: 3 * LogClock()(step))
    assert series.slope(clock) == pytest.approx(3)


def test_slope_needs_five_evaluations():
    clock, series = filled([0, 1, 2, 3], float)
    assert series.slope(clock) is None


def test_log_clock_counts_from_zero_when_the_log_begins_near_it():
    clock = LogClock()
    for step in (49, 99):
        clock.observe(step)
    assert clock.origin == 0


def test_log_clock_counts_from_the_first_record_of_a_late_log():
    clock = LogClock()
    for step in (100_000, 100_100):
        clock.observe(step)
    assert clock.origin == 100_000


def test_next_due_is_one_hundredth_of_an_e_fold_later():
    clock = LogClock()
    clock.observe(0)
    clock.observe(1)
    assert clock.next_due(999) == pytest.approx(1000 * 2.718281828**0.01 - 1)


def test_older_evaluations_are_thinned_to_25_per_e_fold():
    _, series = filled(range(0, 20_000, 10), float)
    clock = LogClock()
    apart = [clock(b) - clock(a) for (a, _), (b, _) in itertools.pairwise(series.older)]
    assert min(apart) >= 1 / 25 and len(series.tail) == 50


def test_evaluate_takes_the_median_of_the_points_it_gathers():
    clock, series = LogClock(), LogSeries()
    for step, value in enumerate([1.0, 50.0, 2.0]):
        clock.observe(step)
        series.add(step, value)
    series.evaluate(clock)
    assert series.level == 2.0
