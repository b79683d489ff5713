# SPDX-License-Identifier: Apache-2.0
"""Phase time: the step of one run at which another was at the same place between its phase boundaries."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_interp.core.timeline import Phase


@dataclass(frozen=True)
class Knot:
    """A boundary that two runs share.

    Attributes:
        name: Phase that begins.
        reference_step: Optimizer step at which it begins in the reference.
        step: Optimizer step at which it begins in the run.
    """

    name: str
    reference_step: int
    step: int


@dataclass(frozen=True)
class Alignment:
    """A monotone map of a run's steps to phase time, the steps of the reference.

    Attributes:
        knots: Shared boundaries, both sides increasing; none for the reference where it has no boundary.
        left_out: Phases of both runs that are no knot, each with the reason.
        reason: Why there is no map; None where there is one.
    """

    knots: tuple[Knot, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None

    def phase_time(self, step: int) -> float | None:
        """Step of the reference that corresponds to a step of the run, None where the runs are not aligned.

        Piecewise linear in the logarithms of both. Before the first knot and after the last, where a logarithm has no other
        end to go to, steps keep their ratio to that knot: the map is a shift there, and takes step 0 to 0.
        """
        if self.reason is not None:
            return None
        after = bisect_right(self.knots, step, key=lambda knot: knot.step)
        if step <= 0 or not self.knots:
            return float(max(step, 0))
        if after in (0, len(self.knots)):
            knot = self.knots[max(after - 1, 0)]
            return step * (knot.reference_step / knot.step)
        low, high = self.knots[after - 1], self.knots[after]
        share = math.log(step / low.step) / math.log(high.step / low.step)
        return low.reference_step * math.exp(share * math.log(high.reference_step / low.reference_step))


def starts(phases: Sequence[Phase]) -> dict[str, Phase]:
    """First stretch with each phase name, in order; a phase that comes back is counted where it came first."""
    found: dict[str, Phase] = {}
    for phase in phases:
        found.setdefault(phase.name, phase)
    return found


def align(reference: Sequence[Phase], phases: Sequence[Phase]) -> Alignment:
    """Map the steps of a run with these phases to those of the reference.

    Knots are the boundaries that both have, after step 0, which has no logarithm. Where the two disagree on the order of
    phases, the longest chain with the same order is kept.

    Args:
        reference: Phases of the run whose steps are phase time.
        phases: Phases of the run to align.
    """
    ours, theirs = starts(reference), starts(phases)
    shared = [Knot(name, ours[name].start, theirs[name].start) for name in ours if name in theirs]
    positive = [knot for knot in shared if min(knot.reference_step, knot.step) > 0]
    knots = _longest_chain(positive)
    # Where both begin at step 0 nothing is left out: 0 goes to 0 already.
    at_zero = [knot for knot in shared if (knot.reference_step == 0) != (knot.step == 0)]
    left_out = {knot.name: "begins at step 0 in one of the two" for knot in at_zero}
    left_out |= {knot.name: "comes in another order" for knot in positive if knot not in knots}
    reason = None if knots else _why_not(ours, theirs)
    return Alignment(knots, left_out, reason)


def _longest_chain(knots: Sequence[Knot]) -> tuple[Knot, ...]:
    """The most knots that increase on both sides; `knots` increase in the reference."""
    chains: list[tuple[Knot, ...]] = []
    for knot in knots:
        before = [c for c in chains if c[-1].reference_step < knot.reference_step and c[-1].step < knot.step]
        chains.append((*max(before, key=len, default=()), knot))
    return max(chains, key=len, default=())


def _why_not(reference: Mapping[str, Phase], phases: Mapping[str, Phase]) -> str:
    if not reference:
        return "the first run has no phases"
    return "no boundary after step 0 is shared with the first run" if phases else "the run has no phases"
