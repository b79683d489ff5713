# SPDX-License-Identifier: Apache-2.0
"""Stages of loss curves whose shape is known."""

import math
import random
from itertools import pairwise

import pytest

from lightning_interp.core.timeline import STAGE_NAMES
from lightning_interp.phases.stages import stages


def fall(step, at, width=0.2):
    """1 before `at`, 0 after, smooth in log step."""
    return 1 / (1 + math.exp((math.log(step + 1) - math.log(at + 1)) / width))


SHAPES = {
    "one fall": (lambda s: 4 * fall(s, 3000) + 0.5, ["warm_up", "descent", "saturation"]),
    "no fall": (lambda _: 4.0, ["warm_up"]),
    "power law": (lambda s: 4 * (s + 1) ** -0.2, ["descent"]),
    "two falls": (
        lambda s: 2 * fall(s, 50) + 2 * fall(s, 5000) + 0.5,
        ["warm_up", "descent", "plateau", "breakthrough", "saturation"],
    ),
    "a step down": (
        lambda s: (2 if s < 3000 else 0.5) + 2 * fall(s, 50),
        ["warm_up", "descent", "plateau", "breakthrough", "saturation"],
    ),
    "lost at the end": (
        lambda s: 4 * fall(s, 500, 0.5) + 0.3 + (s > 50_000) * 2,
        ["warm_up", "descent", "saturation", "collapse"],
    ),
    "a spike": (lambda s: 4 * (s + 1) ** -0.2 * (20 if 9900 < s < 10_200 else 1), ["descent", "instability", "descent"]),
    "a relapse": (lambda s: 4 * (s + 1) ** -0.2 * (3 if 9900 < s < 20_000 else 1), ["descent", "instability", "descent"]),
}


def curve(shape, *, noise=0.02, last=100_000, count=3000, seed=0):
    draw = random.Random(seed)
    steps = sorted({round(last ** (i / count)) for i in range(count + 1)})
    return steps, [shape(step) * math.exp(draw.gauss(0, noise)) for step in steps]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_stages_of_a_known_shape(kind, seed):
    shape, expected = SHAPES[kind]
    assert [stage.name for stage in stages(*curve(shape, seed=seed))] == expected


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_noise_alone_is_no_stage(noise):
    assert [stage.name for stage in stages(*curve(lambda _: 4.0, noise=noise))] == ["warm_up"]


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("seed", range(6))
def test_noise_on_a_fall_is_neither_collapse_nor_breakthrough(noise, seed):
    found = stages(*curve(lambda s: 4 * fall(s, 300, 0.8) + 0.5, noise=noise, count=200, seed=seed))
    assert not {"collapse", "breakthrough"} & {stage.name for stage in found}


def test_boundaries_lie_where_the_curve_bends():
    found = stages(*curve(SHAPES["two falls"][0]))
    breakthrough = next(stage for stage in found if stage.name == "breakthrough")
    # The logistic leaves its plateau by 5 % some three widths of .2 e-folds before its middle at 5,000.
    assert breakthrough.start == pytest.approx(5000 * math.exp(-0.6), rel=0.25)


@pytest.mark.parametrize("kind", SHAPES)
def test_stages_are_contiguous_and_the_last_is_open(kind):
    found = stages(*curve(SHAPES[kind][0]))
    assert all(stage.end == following.start for stage, following in pairwise(found))
    assert found[-1].end is None
    assert {stage.name for stage in found} <= set(STAGE_NAMES)


def test_stages_do_not_depend_on_the_logging_cadence():
    shape = SHAPES["two falls"][0]
    dense, sparse = (stages(*curve(shape, noise=0.0, count=count)) for count in (3000, 600))
    assert [stage.name for stage in dense] == [stage.name for stage in sparse]


def test_a_merged_stage_has_the_slope_of_its_longest_part():
    found = stages(*curve(lambda s: 4 * (s + 1) ** (-0.08 if s < 30 else -0.4) * (31**0.32 if s >= 30 else 1), noise=0.0))
    assert [stage.name for stage in found] == ["descent"]
    # The floor of 1 % of the first loss takes a little off the slope of -.4 where the loss is low.
    assert found[0].slope == pytest.approx(-0.4, abs=0.1)


def test_losses_that_are_not_finite_are_left_out():
    steps, losses = curve(SHAPES["one fall"][0])
    losses[100] = losses[200] = math.nan
    assert [stage.name for stage in stages(steps, losses)] == ["warm_up", "descent", "saturation"]


@pytest.mark.parametrize("losses", [[], [3.0] * 5, [0.0] * 50, [-1.0] * 50, [math.nan] * 50])
def test_too_little_gives_no_stages(losses):
    assert stages(range(len(losses)), losses) == ()


def test_a_loss_that_is_no_number_any_more_is_a_collapse():
    steps, losses = curve(SHAPES["power law"][0])
    found = stages(steps, losses, lost_at=5000)
    assert [(stage.name, stage.end) for stage in found] == [("descent", 5000), ("collapse", None)]


def test_a_loss_lost_at_once_is_nothing_but_a_collapse():
    assert [(stage.name, stage.start) for stage in stages([0, 1], [4.0, 9.0], lost_at=2)] == [("collapse", 2)]


def test_a_memorized_loss_that_falls_for_ever_does_not_collapse():
    steps, losses = curve(lambda s: 4 * math.exp(-s / 150) + 1e-9 * fall(s, 3000), last=5000, noise=0.01)
    assert "collapse" not in [stage.name for stage in stages(steps, losses)]
