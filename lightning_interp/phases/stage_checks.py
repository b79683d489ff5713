# SPDX-License-Identifier: Apache-2.0
"""What else must hold for a stage of a train loss to be called a breakthrough or a collapse; if it does not, a plainer name.

The shape of one curve does not tell: the loss of a network that passes over its data again falls at each new epoch, and that
of a solved one can rise a thousandfold and still be nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from lightning_interp.core.timeline import LossStage
from lightning_interp.phases.series import LogSeries
from lightning_interp.phases.stages import RISE, merged

PERIOD_OFF = 0.1
"""Share of a period by which falls may miss its multiples."""
AROUND = 3
"""Held-out records whose median is its level before or after a fall."""


def checked(stages: Sequence[LossStage], heldout: LogSeries, *, stands: bool) -> tuple[LossStage, ...]:
    """The same stages under names that the rest of the record bears out.

    Args:
        stages: Of a train loss.
        heldout: Held-out loss; empty if there is none. A fall that held-out data does not share is no breakthrough.
        stands: Whether the train curve ends at a level that still is a fit or near one: a rise to that is no collapse.
    """
    again = _repeats([stage.start for stage in stages if stage.name == "breakthrough"])
    found = []
    for stage in stages:
        if stage.name == "breakthrough" and (again or _unshared(stage, heldout)):
            stage = replace(stage, name="descent")
        if stage.name == "collapse" and (stands or stage.end is not None):
            stage = replace(stage, name="instability")
        found.append(stage)
    return tuple(merged(found))


def _repeats(falls: Sequence[int]) -> bool:
    """Whether two falls or more come with a fixed period from step 0 on, as epochs do."""
    if len(falls) < 2:
        return False
    period = min(after - before for before, after in zip([0, *falls], falls, strict=False))
    return period > 0 and all(abs(fall / period - round(fall / period)) <= PERIOD_OFF for fall in falls)


def _unshared(stage: LossStage, heldout: LogSeries) -> bool:
    """Whether the held-out loss is on record on both sides of a fall and does not fall with it."""
    pairs = list(zip(heldout.steps, heldout.values, strict=True))
    before = [value for step, value in pairs if step <= stage.start][-AROUND:]
    after = [value for step, value in pairs if stage.end is None or step >= stage.end]
    after = after[-AROUND:] if stage.end is None else after[:AROUND]
    if not before or not after or min(median(before), median(after)) <= 0:
        return False
    return math.log(median(before) / median(after)) <= RISE
