# SPDX-License-Identifier: Apache-2.0
"""Whether checkpoints are what they seem: equal contents, changed shapes, steps in disorder, jumps, numbers that are none.

What headers tell is found before work starts; what takes the tensors is found as they are read.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from lightning_interp.sources.checkpoints.equal_contents import equal_contents
from lightning_interp.sources.checkpoints.finding import Finding
from lightning_interp.sources.checkpoints.format import Found, Header

SAMPLED = 16_384
"""Most numbers of a checkpoint that stand for where it lies in weight space."""
FAR = 3.0
"""A checkpoint this many times as far from both neighbours as they are from each other does not lie between them."""
LATE_GAP = 2.0
"""A gap this many times the greatest of the gaps around it is a hole in the series."""


@dataclass(frozen=True)
class Inspected:
    """A checkpoint with its header and the step it is analyzed under.

    Attributes:
        found: Where it lies.
        header: What it says of itself.
        step: Its own global step, else the one its name says.
    """

    found: Found
    header: Header
    step: int


def check_headers(inspected: Sequence[Inspected]) -> tuple[list[Inspected], list[Finding]]:
    """What headers alone tell, in order of steps.

    Returns:
        Those to analyze, one for each step, and what was found.
    """
    ordered = sorted(inspected, key=lambda each: (each.step, each.found.where))
    findings = [finding for each in ordered if (finding := _step_differs(each)) is not None]
    usual = _usual_shapes(ordered)
    kept: dict[int, Inspected] = {}
    for each in ordered:
        finding = _odd_shapes(each, usual) or _same_step(each, kept)
        if finding is None:
            kept[each.step] = each
        else:
            findings.append(finding)
    equal = equal_contents([(each.step, each.found.where, each.header.content) for each in kept.values()])
    left_out = {finding.step for finding in equal}
    return [each for step, each in kept.items() if step not in left_out], [*findings, *equal]


def check_choices(inspected: Sequence[Inspected]) -> list[Finding]:
    """Which weights are read of checkpoints that have trained and averaged ones, or may have either; once for all alike."""
    alike: dict[str, list[Inspected]] = {}
    for each in inspected:
        if each.header.choice:
            alike.setdefault(each.header.choice, []).append(each)
    return [
        Finding(f"{found[0].found.where}{f' and {len(found) - 1} more' if found[1:] else ''}", None, "averages", text, False)
        for text, found in alike.items()
    ]


def check_order(steps: Sequence[int], samples: Sequence[Tensor], wheres: Sequence[str]) -> list[Finding]:
    """Checkpoints that do not lie between their neighbours in weight space: wrong weights, or a training that jumped.

    Args:
        steps: Ascending.
        samples: `Content.sample` of each.
        wheres: Name of each.
    """
    findings = []
    for at in range(1, len(steps) - 1):
        before, here, after = samples[at - 1 : at + 2]
        if not before.shape == here.shape == after.shape:
            continue
        near = min(_apart(before, here), _apart(here, after))
        across = _apart(before, after)
        if near > FAR * across > 0:
            text = f"{near / across:.1f} times as far from both its neighbours as they are from each other: wrong weights?"
            findings.append(Finding(wheres[at], steps[at], "jump", text, left_out=False))
    return findings


def _apart(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b))


def _step_differs(each: Inspected) -> Finding | None:
    own, named = each.header.step, each.found.named_step
    if own is None or named is None or own == named:
        return None
    text = f"its name says step {named:,}, the checkpoint itself {own:,}, which is used"
    return Finding(each.found.where, each.step, "step_differs", text, left_out=False)


def _usual_shapes(inspected: Sequence[Inspected]) -> str:
    """Names and shapes that most checkpoints have."""
    counts = Counter(_shapes(each) for each in inspected)
    return counts.most_common(1)[0][0] if counts else ""


def _shapes(each: Inspected) -> str:
    return json.dumps({name: list(shape) for name, shape in each.header.shapes.items()}, sort_keys=True)


def _odd_shapes(each: Inspected, usual: str) -> Finding | None:
    if _shapes(each) == usual:
        return None
    own, others = each.header.shapes, json.loads(usual)
    differing = sorted({*own, *others} - {name for name in own if list(own[name]) == others.get(name)})
    shown = ", ".join(f"{name} {_shape(own.get(name))}, elsewhere {_shape(others.get(name))}" for name in differing[:3])
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    return Finding(each.found.where, each.step, "shapes", f"other tensors than most: {shown}{more}; left out", left_out=True)


def _shape(shape: Sequence[int] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"


def _same_step(each: Inspected, kept: Mapping[int, Inspected]) -> Finding | None:
    """A second checkpoint of a step, such as ``last.ckpt`` or one with ``-v1``; it says nothing against the first."""
    first = kept.get(each.step)
    if first is None:
        return None
    copy = each.header.content is not None and each.header.content == first.header.content
    text = f"{'a copy of' if copy else f'step {each.step:,} is also in'} {first.found.where}; left out"
    return Finding(each.found.where, each.step, "copy" if copy else "same_step", text, left_out=True)


def check_holes(steps_found: Sequence[int], where: str) -> list[Finding]:
    """Gaps in otherwise even steps, where checkpoints may be missing.

    Args:
        steps_found: Steps of all checkpoints, those that are left out among them.
        where: What they were found in.
    """
    steps = sorted(set(steps_found))
    gaps = [b - a for a, b in pairwise(steps)]
    findings = []
    for at, gap in enumerate(gaps):
        around = [*gaps[max(0, at - 3) : at], *gaps[at + 1 : at + 4]]
        if len(around) >= 4 and min(around) == max(around) == median(around) and gap >= LATE_GAP * around[0]:
            text = f"no checkpoint between {steps[at]:,} and {steps[at + 1]:,}, where there is one every {around[0]:,} steps"
            findings.append(Finding(where, None, "hole", text, left_out=False))
    return findings
