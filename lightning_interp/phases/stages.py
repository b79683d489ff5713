# SPDX-License-Identifier: Apache-2.0
"""The shape of one loss curve: stages that need no held-out data and assume nothing about grokking.

The logarithm of the loss over the logarithm of the step is cut into straight pieces; each piece is named by its slope and by
what came before. Post hoc: the whole curve is looked at, so a stage can be named differently once more of it is known.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightning_interp.core.timeline import LossStage
from lightning_interp.phases.series import noise_sd

PER_EFOLD = 25
FLOOR = 0.01
"""Share of the first loss under which the curve counts as spent: a memorized loss falls for ever in its logarithm."""
FLAT = 0.05
"""Change of the loss per e-fold of steps up to which it stands still."""
LEAST_NOISE = 0.02
LEAST_POINTS = 4
CHANGES = 3
"""Parameters that one more change point adds: its place, level and slope."""
SPIKE_NOISE, SPIKE = 6.0, 0.2
RISE, RISE_NOISE = 0.1, 3.0
"""Least change of level between pieces, in log loss and in deviations of the noise."""


def stages(steps: Sequence[int], losses: Sequence[float], *, lost_at: int | None = None) -> tuple[LossStage, ...]:
    """Stages of a loss curve.

    - ``warm_up``: it stands still before it has fallen.
    - ``descent``: it falls by 5 % or more per e-fold of steps.
    - ``plateau``: it stands still, and falls again later; ``saturation``: it stands still to the end.
    - ``breakthrough``: a fall after a plateau, of over 10 % and three deviations of the noise.
    - ``instability``: a spike, or a rise by 10 % or more that is taken back; ``collapse``: such a rise that is not, or a
      loss that is no number any more.

    Args:
        steps: Increasing optimizer steps.
        losses: Loss at each, nats or any positive unit; values that are not finite are left out.
        lost_at: Step from which on to the end the loss was not finite, None where it is finite at the end.

    Returns:
        Contiguous stages in order, the last one open; none but the collapse of a lost loss for fewer than 10 points or a
        loss that starts at 0 or below.
    """
    found = _of_finite(steps, losses)
    if lost_at is None:
        return found
    before = [replace(stage, end=min(stage.end or lost_at, lost_at)) for stage in found if stage.start < lost_at]
    return tuple(merged([*before, LossStage("collapse", lost_at, None, 0.0)]))


def weight_stages(steps: Sequence[int], norms: Sequence[float]) -> tuple[LossStage, ...]:
    """Stages of a weight norm, where no loss is known: it grows, shrinks, or moves by less than 5 % per e-fold of steps.

    Args:
        steps: Increasing optimizer steps.
        norms: Positive norm of the weights at each.

    Returns:
        Contiguous stages in order, the last one open; none for fewer than 10 points.
    """
    at, height = _resampled(steps, norms)
    if len(at) < 2 * LEAST_POINTS + 2:
        return ()
    found = []
    for piece in _fitted(_pieces(at, height), at, height):
        name = "norm_at_rest" if abs(piece.slope) <= FLAT else "norm_growing" if piece.slope > 0 else "norm_shrinking"
        found.append(LossStage(name, int(at[piece.first]), int(at[piece.end]) if piece.end < len(at) else None, piece.slope))
    return tuple(merged(found))


def _of_finite(steps: Sequence[int], losses: Sequence[float]) -> tuple[LossStage, ...]:
    at, height = _resampled(steps, losses)
    if len(at) < 2 * LEAST_POINTS + 2:
        return ()
    smooth, spikes = _without_spikes(height)
    rise = max(RISE, RISE_NOISE * _noise(smooth))
    found = _named(_fitted(_pieces(at, smooth), at, smooth), at, rise)
    return tuple(_with_spikes(merged(found), at, spikes))


def _resampled(steps: Sequence[int], losses: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """At most 25 points an e-fold, each the median of what was logged since the one before; heights in log loss."""
    known = np.array([math.isfinite(loss) for loss in losses], dtype=bool)
    at, loss = np.asarray(steps, dtype=np.int64)[known], np.asarray(losses, dtype=np.float64)[known]
    if not len(at) or loss[0] <= 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    bins = np.floor(np.log(at - at[0] + 1.0) * PER_EFOLD).astype(np.int64)
    ends = np.flatnonzero(np.append(np.diff(bins) > 0, True))
    parts = np.split(loss, ends[:-1] + 1)
    height = np.log(np.maximum([float(np.median(part)) for part in parts], 0.0) + FLOOR * loss[0])
    return at[ends], height


def _log_time(at: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.log(at - at[0] + 1.0))


def _without_spikes(height: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The curve with lone peaks replaced by the median of their neighbours, and where they were."""
    from scipy.ndimage import median_filter

    calm = np.asarray(median_filter(height, size=5, mode="nearest"))
    limit = max(SPIKE, SPIKE_NOISE * _noise(height))
    spikes = height - calm > limit
    spikes[:2] = False  # the start is steep by itself
    return np.where(spikes, calm, height), spikes


def _pieces(at: NDArray[np.int64], height: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and one past the last point of each straight piece."""
    import ruptures

    points = len(height)
    signal = np.column_stack([height, _log_time(at), np.ones(points)])
    search = ruptures.Pelt(model="linear", min_size=LEAST_POINTS, jump=1 if points <= 200 else 2).fit(signal)
    ends = search.predict(pen=CHANGES * max(_noise(height), LEAST_NOISE) ** 2 * math.log(points))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _noise(height: NDArray[np.float64]) -> float:
    """Noise of the louder half: early points gather fewer records than late ones."""
    middle = len(height) // 2
    return max(noise_sd(height[:middle].tolist()), noise_sd(height[middle:].tolist()))


@dataclass(frozen=True)
class _Piece:
    """A straight piece: points [first, end), its fitted line, and the lowest point, under which the line may run."""

    first: int
    end: int
    begins: float
    ends: float
    slope: float
    lowest: float


def _fitted(pieces: list[tuple[int, int]], at: NDArray[np.int64], height: NDArray[np.float64]) -> list[_Piece]:
    """Pieces with their lines; levels are read off those, since single points are noisy."""
    time, found = _log_time(at), []
    for a, b in pieces:
        slope, level = np.polyfit(time[a:b], height[a:b], 1)
        found.append(
            _Piece(
                a,
                b,
                float(level + slope * time[a]),
                float(level + slope * time[b - 1]),
                float(slope),
                float(height[a:b].min()),
            )
        )
    return found


def _named(pieces: list[_Piece], at: NDArray[np.int64], rise: float) -> list[LossStage]:
    """A stage for each piece, named by its slope and by what came before and after."""
    found: list[LossStage] = []
    for index, piece in enumerate(pieces):
        before = found[-1].name if found else None
        if piece.slope >= -FLAT and before == "plateau" and pieces[index - 1].ends - piece.begins > rise:
            falls = int(at[piece.first - 1])
            found[-1] = replace(found[-1], end=falls)
            found.append(LossStage("breakthrough", falls, int(at[piece.first]), piece.slope))
        end = int(at[piece.end]) if piece.end < len(at) else None
        found.append(LossStage(_name(index, pieces, before, rise), int(at[piece.first]), end, piece.slope))
    return found


def _name(index: int, pieces: list[_Piece], before: str | None, rise: float) -> str:
    piece, later = pieces[index], pieces[index + 1 :]
    level = max(pieces[index - 1].ends, pieces[index - 1].lowest) if index else piece.begins
    if piece.ends - level > rise and (piece.slope > FLAT or piece.begins - level > rise):
        return "instability" if any(min(each.begins, each.ends) < level + rise for each in later) else "collapse"
    if piece.slope < -FLAT:
        breaks = before == "plateau" and level - min(piece.begins, piece.ends) > rise
        return "breakthrough" if breaks or before == "breakthrough" else "descent"
    if before in ("collapse", "warm_up"):
        return before
    if before is None:
        return "warm_up"
    falls_again = any(each.slope < -FLAT or piece.ends - each.begins > rise for each in later)
    return "plateau" if falls_again else "saturation"


def merged(found: list[LossStage]) -> list[LossStage]:
    """Neighbours of one name as one stage, with the slope of the longest in log time."""
    merged: list[LossStage] = []
    longest = 0.0
    for stage in found:
        length = math.inf if stage.end is None else math.log((stage.end + 1) / (stage.start + 1))
        if merged and merged[-1].name == stage.name:
            slope = stage.slope if length > longest else merged[-1].slope
            merged[-1] = replace(merged[-1], end=stage.end, slope=slope)
            longest = max(longest, length)
        else:
            merged.append(stage)
            longest = length
    return merged


def _with_spikes(found: list[LossStage], at: NDArray[np.int64], spikes: NDArray[np.bool_]) -> list[LossStage]:
    """A spike cuts the stage it lies in."""
    result = list(found)
    for index in np.flatnonzero(spikes).tolist():
        step, following = int(at[index]), int(at[min(index + 1, len(at) - 1)])
        inside = next(i for i, s in enumerate(result) if s.start <= step and (s.end is None or step < s.end))
        stage = result[inside]
        parts = [replace(stage, end=step)] if stage.start < step else []
        parts.append(LossStage("instability", step, following if following > step else stage.end, 0.0))
        if following > step and (stage.end is None or following < stage.end):
            parts.append(replace(stage, start=following))
        result[inside : inside + 1] = parts
    return merged(result)
