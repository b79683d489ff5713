# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring.statistics import auroc, share

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_order(positives, negatives):
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert auroc(positives, negatives).value == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(scores, scores)
def test_the_area_and_its_interval_turn_round_with_the_sides(positives, negatives):
    one, other = auroc(positives, negatives), auroc(negatives, positives)
    # The root of the interval's equation is found to 1e-12.
    assert (1 - one.value, 1 - one.high, 1 - one.low) == pytest.approx((other.value, other.low, other.high), abs=1e-9)


def test_a_perfect_area_of_few_runs_is_not_certain():
    found = auroc([1.0] * 9, [0.0] * 9)
    # At an area of 1 the interval solves 1 - a = z^2 a (1 + 8 ((1 - a) / (2 - a) + a / (1 + a))) / 81.
    a = found.low
    right = 1.959964**2 * a * (1 + 8 * ((1 - a) / (2 - a) + a / (1 + a))) / 81
    assert 1 - a == pytest.approx(right, abs=1e-6)
    assert found.high == 1.0


def test_the_interval_holds_the_true_area_about_as_often_as_it_says():
    draw, area = np.random.default_rng(0), 0.9
    shift = 1.281552 * math.sqrt(2)  # unit normals this far apart have the area Phi(shift / sqrt 2)
    hits = 0
    for _ in range(400):
        found = auroc((draw.normal(size=20) + shift).tolist(), draw.normal(size=30).tolist())
        hits += found.low <= area <= found.high
    # 95 % of 400 is 380; four standard deviations of the count are 17, and the method is a little conservative.
    assert 363 <= hits <= 397


def test_a_share_has_its_exact_interval():
    # None of 30: the upper end u solves (1 - u)^30 = .025.
    assert share(0, 30).high == pytest.approx(1 - 0.025 ** (1 / 30), abs=1e-9)


def test_nothing_counted_says_so():
    assert math.isnan(share(0, 0).value) and math.isnan(auroc([], [1.0]).value)
    assert str(share(0, 0)) == "– (0 of 0)"


def test_an_estimate_is_written_with_its_interval():
    assert str(share(19, 20)) == "0.950 [0.751, 0.999] (19 of 20)"
