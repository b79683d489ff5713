# SPDX-License-Identifier: Apache-2.0
"""When a component rises, peaks and saturates, and in which phases; read off its curve over snapshots."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.core.timeline import Phase

Trend = Literal["rises", "falls", "rises and falls", "steady"]
"""What a curve does in the large."""

STARTED, HALF, SATURATED = 0.1, 0.5, 0.9
"""Shares of the way from floor to peak at which a rise has begun, is half-way and is over."""
STEADY = 0.1
"""A curve that changes by no more than this share of its largest magnitude is steady."""
NOISE_DEVIATIONS = 5.0
"""A change of no more than this many noise deviations is no change: 1 to 3 % of white-noise curves of 20 to 60 exceed it."""
OVERSHOOT = 1.5
"""By how many noise deviations the extremes of a smoothed curve of some 50 snapshots lie beyond its true floor and peak."""
MOST_ALLOWED = 0.25
"""Most that noise may lower the level of saturation, as a share of the way: half-way stays before it."""
SMOOTHED_FROM = 5
"""Curves of fewer snapshots are taken as they are."""


@dataclass(frozen=True)
class Rise:
    """What a curve over training does, in optimizer steps of its own snapshots.

    Attributes:
        trend: ``rises`` where the curve climbs to its peak, ``falls`` where it comes down from it, or both, or ``steady``.
        rise_step: First snapshot over a tenth of the way from floor to peak from which it stays over it until the peak; None
            where it does not rise.
        half_step: The same for half of the way.
        peak_step: The highest snapshot; the first step for a curve that is all zero.
        saturation_step: First snapshot over nine tenths of the way from which on it stays there; None where it does not, or
            where the curve falls without having risen. The first snapshot for a steady curve that is not all zero.
        end_share: Last value as a share of the peak value, dimensionless; 0 for a curve that is all zero.
        progress: Share of the rise done by each snapshot, from 0 to 1; all zero where the curve does not rise.
    """

    trend: Trend
    rise_step: int | None
    half_step: int | None
    peak_step: int
    saturation_step: int | None
    end_share: float
    progress: Float64[Tensor, " snapshot"]


def describe_rise(curve: Float[Tensor, " snapshot"], steps: Sequence[int]) -> Rise:
    """Reads a curve over training with rules that noise on single snapshots does not upset.

    From five snapshots on the curve is smoothed by a running median of three, which leaves monotone stretches and steps as
    they are; the noise deviation is √π times the mean distance to that median (exact for white Gaussian noise). It is read
    with its sign, turned so that the cubes of the smoothed values do not add up to a negative number. The peak is the
    highest smoothed value, the floor the lowest one up to it, and the curve rises if they differ by more than a tenth of
    its largest magnitude and more than five noise deviations; it falls by the same rule for what follows the peak. Levels
    (10, 50 and 90 % of the way) are measured between floor and peak less 1.5 noise deviations at each end, as extremes of
    noisy values lie too far out. A rise and its half count from the last time before the peak at which the curve is at or
    under the level; saturation from the first time within one noise deviation of its level after which the curve is never
    again three under it (neither allowance more than a quarter of the way). Slow drifts count as real.

    Args:
        curve: One value per snapshot, finite, at least one; its scale does not matter.
        steps: Optimizer step of each snapshot, strictly ascending.

    References:
        Running medians and their end-point rule: Tukey 1977, Exploratory Data Analysis, chapter 7
    """
    values = curve.detach().cpu().double()
    smooth, noise = _smoothed(values)
    if smooth.pow(3).sum() < 0:
        values, smooth = -values, -smooth
    top = smooth.max()
    peak = int(torch.where(smooth == top, values, -math.inf).argmax())  # the median flattens a peak: its middle is highest
    significant = max(STEADY * smooth.abs().max().item(), NOISE_DEVIATIONS * noise)
    low = smooth[: peak + 1].min()
    rises, falls = (top - low).item() > significant, (top - smooth[peak:].min()).item() > significant
    end_share = (smooth[-1] / top).item() if top > 0 else 0.0
    if not rises:
        always = steps[0] if not falls and top > 0 else None
        trend: Trend = "falls" if falls else "steady"
        return Rise(trend, None, None, steps[peak], always, end_share, torch.zeros_like(values))
    floor, way = low.item() + OVERSHOOT * noise, (top - low).item() - 2 * OVERSHOOT * noise
    share = (smooth - floor) / way
    return Rise(
        "rises and falls" if falls else "rises",
        steps[_for_good(share[:peak], STARTED)],
        steps[_for_good(share[:peak], HALF)],
        steps[peak],
        _saturation(share, steps, noise=noise / way),
        end_share,
        _progress(share, peak),
    )


def share_of_rise(rise: Rise, steps: Sequence[int], phases: Sequence[Phase]) -> Mapping[str, float]:
    """Share of a rise that happens in each phase, in [0, 1]; they add up to 1 where the phases cover the run.

    Between snapshots the rise is taken as even in log(step + 1). Dips on the way up do not count, nor does what follows the
    peak. Phases of one name are added up; an open phase lasts for ever.

    Args:
        rise: From `describe_rise`.
        steps: The same steps.
        phases: Any stretches of training, normally `Timeline.phases`.

    Returns:
        By name of the phase, in order; empty where nothing rises.

    Raises:
        ConfigError: A phase ends before it starts.
    """
    for phase in phases:
        if phase.end is not None and phase.end < phase.start:
            raise ConfigError(
                f"share_of_rise: phase {phase.name!r} ends at step {phase.end}, before its start {phase.start}."
            )
    shares: dict[str, float] = {}
    if rise.rise_step is None:
        return shares
    clock, progress = np.log1p(np.asarray(steps, dtype=float)), rise.progress.numpy()
    for phase in phases:
        begun = float(np.interp(math.log1p(phase.start), clock, progress))
        done = 1.0 if phase.end is None else float(np.interp(math.log1p(phase.end), clock, progress))
        shares[phase.name] = shares.get(phase.name, 0.0) + done - begun
    return shares


def _smoothed(values: Float64[Tensor, " snapshot"]) -> tuple[Float64[Tensor, " snapshot"], float]:
    """Running median of three with Tukey's rule for the ends, and the deviation of the noise it removed."""
    if len(values) < SMOOTHED_FROM:
        return values, 0.0
    inner = values.unfold(0, 3, 1).median(dim=1).values
    first = torch.stack([values[0], inner[0], 3 * inner[0] - 2 * inner[1]]).median()
    last = torch.stack([values[-1], inner[-1], 3 * inner[-1] - 2 * inner[-2]]).median()
    # Of three Gaussians the middle one is not the median two times in three, and then 1.5 / √π deviations away on average.
    noise = math.sqrt(math.pi) * (values[1:-1] - inner).abs().mean().item()
    return torch.cat([first[None], inner, last[None]]), noise


def _for_good(share: Float64[Tensor, " before"], level: float) -> int:
    """Index after the last value at or under the level."""
    return int((share <= level).nonzero()[-1]) + 1


def _saturation(share: Float64[Tensor, " snapshot"], steps: Sequence[int], *, noise: float) -> int | None:
    under = (share < SATURATED - min(3 * noise, MOST_ALLOWED)).nonzero()
    reached = (share >= SATURATED - min(noise, MOST_ALLOWED)).nonzero()
    after = reached[reached > under[-1]]  # the floor is under the level: `under` is never empty
    return steps[int(after[0])] if len(after) else None


def _progress(share: Float64[Tensor, " snapshot"], peak: int) -> Float64[Tensor, " snapshot"]:
    """The highest share so far, from the floor to the peak."""
    climbing = share[: peak + 1].clone()
    start = int((climbing == climbing.min()).nonzero()[-1])
    climbing[:start] = 0
    return torch.cat([climbing.clamp(0, 1).cummax(dim=0).values, torch.ones(len(share) - peak - 1, dtype=torch.float64)])
