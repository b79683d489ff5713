# SPDX-License-Identifier: Apache-2.0
import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.timeline import Phase
from lightning_interp.tca.rise import describe_rise, share_of_rise

STEPS = sorted({0, 1, 2, 5, *(round(10 ** (1 + 3 * i / 50)) for i in range(51))})
CLOCK = torch.tensor(STEPS, dtype=torch.float64).log1p()


def sigmoid(middle, width=0.15):
    return torch.sigmoid((CLOCK - math.log1p(middle)) / width)


def noise(sd, seed):
    return sd * torch.randn(len(STEPS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def first_over(curve, level):
    return next(step for step, value in zip(STEPS, curve.tolist(), strict=True) if value > level)


def phase(name, start, end):
    return Phase(name, start, end, 1.0, (start, start), None if end is None else (end, end))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("middle", [30, 820, 4000])
def test_describe_rise_of_a_sigmoid_finds_10_50_and_90_percent(middle, dtype):
    curve = sigmoid(middle)
    rise = describe_rise(curve.to(dtype), STEPS)
    assert rise.trend == "rises"
    # The floor is not exactly 0 nor the peak 1: levels move by less than any snapshot does.
    top, low = curve.max().item(), curve.min().item()
    levels = [first_over(curve, low + share * (top - low)) for share in (0.1, 0.5, 0.9)]
    assert [rise.rise_step, rise.half_step, rise.saturation_step] == levels
    assert rise.half_step == pytest.approx(middle, rel=0.2)  # snapshots are 15 % apart, more among the first


def test_describe_rise_of_a_step_function_is_all_at_once():
    curve = torch.tensor([float(step >= 100) for step in STEPS])
    rise = describe_rise(curve, STEPS)
    at = first_over(curve, 0.5)
    assert (rise.rise_step, rise.half_step, rise.peak_step, rise.saturation_step) == (at, at, at, at)
    assert rise.end_share == 1


def test_describe_rise_of_a_bump_rises_and_falls_and_does_not_saturate():
    curve = torch.exp(-((CLOCK - math.log1p(500)) ** 2) / (2 * 0.5**2))
    rise = describe_rise(curve, STEPS)
    assert (rise.trend, rise.saturation_step) == ("rises and falls", None)
    assert rise.peak_step == STEPS[int(curve.argmax())]
    assert rise.rise_step < rise.half_step < rise.peak_step
    assert rise.end_share < 0.01


def test_describe_rise_of_a_fall_has_no_rise():
    rise = describe_rise(1 - sigmoid(100), STEPS)
    assert (rise.trend, rise.rise_step, rise.half_step, rise.saturation_step) == ("falls", None, None, None)
    assert rise.peak_step == 0
    assert not rise.progress.any()


def test_describe_rise_of_a_dip_on_the_plateau_saturates_after_it():
    curve = sigmoid(20) - 0.6 * torch.exp(-((CLOCK - math.log1p(500)) ** 2) / 0.1)
    rise = describe_rise(curve, STEPS)
    assert rise.trend in ("rises", "rises and falls")  # whichever side of the dip the higher value happens to be on
    assert rise.saturation_step > 500


@pytest.mark.parametrize("curve", [torch.ones(len(STEPS)), 1 + 0.04 * CLOCK / CLOCK.max()])
def test_describe_rise_of_a_constant_or_nearly_so_is_steady(curve):
    rise = describe_rise(curve, STEPS)
    assert (rise.trend, rise.rise_step, rise.saturation_step) == ("steady", None, 0)


def test_describe_rise_of_zeros_is_steady_and_never_saturates():
    rise = describe_rise(torch.zeros(len(STEPS)), STEPS)
    assert (rise.trend, rise.saturation_step, rise.peak_step, rise.end_share) == ("steady", None, 0, 0)


def test_describe_rise_of_a_curve_with_wrong_sign_turns_it():
    assert describe_rise(-sigmoid(820), STEPS).half_step == describe_rise(sigmoid(820), STEPS).half_step


@given(st.floats(1e-6, 1e6))
def test_describe_rise_is_scale_invariant(scale):
    curve = sigmoid(300) + noise(0.03, 1)
    one, other = describe_rise(curve, STEPS), describe_rise(scale * curve, STEPS)
    assert (one.trend, one.rise_step, one.half_step, one.saturation_step) == (
        other.trend,
        other.rise_step,
        other.half_step,
        other.saturation_step,
    )


@given(st.integers(2, len(STEPS) - 3), st.floats(-3, 3))
def test_describe_rise_is_not_moved_by_one_wild_snapshot(position, size):
    curve = sigmoid(300)
    wild = curve.clone()
    wild[position] = size
    clean, rise = describe_rise(curve, STEPS), describe_rise(wild, STEPS)
    # A median of three passes an outlier's neighbours on: one snapshot more or less, plus what its noise estimate allows.
    for before, after in ((clean.rise_step, rise.rise_step), (clean.half_step, rise.half_step)):
        assert abs(STEPS.index(before) - STEPS.index(after)) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_describe_rise_under_noise_is_close_to_that_without(seed):
    curve, width = sigmoid(300), math.log(STEPS[-1] / STEPS[-2])
    rise, clean = describe_rise(curve + noise(0.05, seed), STEPS), describe_rise(curve, STEPS)
    assert rise.trend == "rises"
    # The slope is 1 / (4 * .15) per e-fold, .23 per snapshot: noise of .05 moves half-way by a snapshot at most,
    # the flat ends (slope .08) by three.
    assert abs(math.log(rise.half_step / clean.half_step)) < 1.5 * width
    assert abs(math.log(rise.rise_step / clean.rise_step)) < 3.5 * width
    assert abs(math.log(rise.saturation_step / clean.saturation_step)) < 4.5 * width


def test_describe_rise_calls_pure_noise_steady():
    rises = sum(describe_rise(noise(1.0, seed), STEPS).trend != "steady" for seed in range(300))
    # 1.5 % expected at 55 snapshots; 4 % of 300 lies 3.5 standard errors over that.
    assert rises <= 12


def test_describe_rise_estimates_order_correctly_for_any_curve():
    for seed in range(100):
        rise = describe_rise(sigmoid(300) + noise(0.2 * seed / 100, seed), STEPS)
        if rise.rise_step is not None:
            order = [rise.rise_step, rise.half_step, rise.saturation_step or rise.peak_step]
            assert order == sorted(order)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0.0, 0.5, 1.0], ("rises", 10, 1000, 1000)),
        ([0.0, 1.0, 1.0], ("rises", 10, 10, 10)),
        ([0.0, 1.0, 0.0], ("rises and falls", 10, 10, None)),
        ([1.0, 0.0, 0.0], ("falls", None, None, None)),
    ],
)
def test_describe_rise_of_three_snapshots_takes_them_as_they_are(curve, expected):
    rise = describe_rise(torch.tensor(curve), [0, 10, 1000])
    assert (rise.trend, rise.rise_step, rise.half_step, rise.saturation_step) == expected


def test_describe_rise_of_one_snapshot_is_steady():
    assert describe_rise(torch.tensor([1.0]), [7]).trend == "steady"


def test_progress_runs_from_zero_to_one_and_never_back():
    progress = describe_rise(sigmoid(300) + noise(0.05, 3), STEPS).progress
    assert (progress[0], progress[-1]) == (0, 1)
    assert (progress.diff() >= 0).all()


def test_share_of_rise_splits_a_log_linear_rise_by_log_length():
    steps = [2**k - 1 for k in range(11)]
    rise = describe_rise(torch.arange(11.0), steps)
    shares = share_of_rise(rise, steps, [phase("fitting", 0, 7), phase("cleanup", 7, None)])
    assert shares == pytest.approx({"fitting": 0.3, "cleanup": 0.7}, abs=1e-12)
    # Half-way between two snapshots in log(step + 1): √(8 * 16) - 1 is no integer, so 2^3.5 - 1 = 10.3 is bracketed.
    assert 0.3 < share_of_rise(rise, steps, [phase("fitting", 0, 10)])["fitting"] < 0.35


def test_share_of_rise_adds_up_to_one_over_phases_that_cover_the_run():
    rise = describe_rise(sigmoid(300) + noise(0.05, 2), STEPS)
    phases = [
        phase("fitting", 0, 90),
        phase("memorization", 90, 350),
        phase("fitting", 350, 400),
        phase("cleanup", 400, None),
    ]
    shares = share_of_rise(rise, STEPS, phases)
    assert list(shares) == ["fitting", "memorization", "cleanup"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert json.loads(json.dumps(shares)) == shares


def test_share_of_rise_does_not_count_the_fall_or_dips():
    # Doubled, so that the running median leaves it as it is.
    curve = torch.tensor([0.0, 0.75, 0.5, 1.0, 0.0]).repeat_interleave(2)
    steps = [2**k - 1 for k in range(10)]
    rise = describe_rise(curve, steps)
    assert rise.trend == "rises and falls"
    bounds = [0, 7, 31, 127, None]
    shares = share_of_rise(rise, steps, [phase(name, *ends) for name, ends in zip("abcd", pairwise(bounds), strict=True)])
    assert shares == {"a": 0.75, "b": 0.0, "c": 0.25, "d": 0.0}


def test_share_of_rise_is_empty_where_nothing_rises():
    assert share_of_rise(describe_rise(1 - sigmoid(100), STEPS), STEPS, [phase("fitting", 0, None)]) == {}


def test_share_of_rise_refuses_a_phase_that_ends_before_it_starts():
    with pytest.raises(ConfigError, match="phase 'cleanup' ends at step 5, before its start 9"):
        share_of_rise(describe_rise(sigmoid(300), STEPS), STEPS, [phase("cleanup", 9, 5)])
