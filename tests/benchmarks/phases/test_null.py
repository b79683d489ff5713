# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scoring.courses import Course
from scoring.null import SURROGATES, WINDOW, surrogates


def course(values):
    return Course(np.arange(len(values), dtype=float), np.asarray(values, dtype=float), alarm=3)


def noisy(count=60):
    draw = np.random.default_rng(1)
    return course(np.linspace(0, 5, count) + draw.normal(size=count))


def test_a_surrogate_keeps_steps_and_the_sum_of_the_values():
    original = noisy()
    for each in surrogates(original):
        assert np.array_equal(each.steps, original.steps)
        # a permutation of residuals on the same trend: the sum moves by rounding alone
        assert each.values.sum() == pytest.approx(original.values.sum(), abs=1e-9)


def test_a_course_without_noise_is_its_own_surrogate():
    flat = course([1.0] * 20)
    assert all(np.array_equal(each.values, flat.values) for each in surrogates(flat))


def test_surrogates_differ_and_carry_no_alarm():
    found = list(surrogates(noisy()))
    assert len(found) == SURROGATES and all(each.alarm is None for each in found)
    assert not np.array_equal(found[0].values, found[1].values)


def test_surrogates_of_a_seed_are_the_same():
    first, second = (next(iter(surrogates(noisy(), seed=4))) for _ in range(2))
    assert np.array_equal(first.values, second.values)


def test_values_that_were_not_measured_are_left_out():
    gappy = noisy()
    gappy.values[5] = np.nan
    assert len(next(iter(surrogates(gappy))).steps) == 59


def test_a_short_course_has_no_surrogates():
    assert list(surrogates(course([1.0] * (WINDOW - 1)))) == []
