# SPDX-License-Identifier: Apache-2.0
"""Whether checkpoints are what they seem: equal contents, changed shapes, steps in disorder, jumps, numbers that are none.

What headers tell is found before work starts; what takes the tensors is found as they are read.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from lightning_interp.core.finite import all_finite
from lightning_interp.sources.checkpoints.format import Found, Header
from lightning_interp.store.tensor_file import checksum

SAMPLED = 16_384
"""Most numbers of a checkpoint that stand for where it lies in weight space."""
FAR = 3.0
"""A checkpoint this many times as far from both neighbours as they are from each other does not lie between them."""
LATE_GAP = 2.0
"""A gap this many times the greatest of the gaps around it is a hole in the series."""


@dataclass(frozen=True)
class Finding:
    """Something a user should know of a checkpoint.

    Attributes:
        where: The checkpoint.
        step: Its step, None where it has none.
        kind: ``damaged``, ``failed``, ``duplicate``, ``shapes``, ``not_finite``, ``no_step``, ``same_step``,
            ``step_differs``, ``hole``, ``jump``, ``averages``.
        text: What is wrong, and what is done about it.
        left_out: Whether the checkpoint is not analyzed.
    """

    where: str
    step: int | None
    kind: str
    text: str
    left_out: bool


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


@dataclass(frozen=True)
class Content:
    """What the tensors of one checkpoint come to.

    Attributes:
        digest: Equal for equal names, shapes, dtypes and bytes.
        sample: Some of its numbers, the same ones in every checkpoint, [number]; float32.
        not_finite: Names of tensors with NaN or infinity.
    """

    digest: str
    sample: Tensor
    not_finite: tuple[str, ...]


def content_of(tensors: Mapping[str, Tensor]) -> Content:
    """Digest, sample and finiteness of a checkpoint's tensors, in one pass over each."""
    checks, samples, odd = [], [], []
    floating = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    stride = max(1, math.ceil(floating / SAMPLED))
    for name in sorted(tensors):
        tensor = tensors[name]
        checks.append([name, str(tensor.dtype), list(tensor.shape), checksum(tensor)])
        if tensor.is_floating_point() and tensor.numel():
            samples.append(tensor.detach().reshape(-1)[::stride].float())
            if not all_finite(tensor):
                odd.append(name)
    digest = hashlib.blake2b(json.dumps(checks).encode(), digest_size=16).hexdigest()
    return Content(digest, torch.cat(samples) if samples else torch.empty(0), tuple(odd))


def check_headers(inspected: Sequence[Inspected]) -> tuple[list[Inspected], list[Finding]]:
    """What headers alone tell, in order of steps.

    Returns:
        Those to analyze, one for each step, and what was found.
    """
    ordered = sorted(inspected, key=lambda each: (each.step, each.found.where))
    findings = [finding for each in ordered if (finding := _step_differs(each)) is not None]
    usual = _usual_shapes(ordered)
    kept: dict[int, Inspected] = {}
    contents: dict[str, Inspected] = {}
    for each in ordered:
        finding = _odd_shapes(each, usual) or _same_step(each, kept) or _same_content(each, contents)
        if finding is not None:
            findings.append(finding)
            continue
        kept[each.step] = each
        if each.header.content is not None:
            contents[each.header.content] = each
    return list(kept.values()), findings


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
    if each.step not in kept:
        return None
    text = f"step {each.step:,} is also in {kept[each.step].found.where}; left out"
    return Finding(each.found.where, each.step, "same_step", text, left_out=True)


def _same_content(each: Inspected, contents: Mapping[str, Inspected]) -> Finding | None:
    other = contents.get(each.header.content or "")
    return None if other is None else duplicate(each, other.step, other.found.where)


def duplicate(each: Inspected, step: int, where: str) -> Finding:
    """A checkpoint with the tensors of an earlier one."""
    text = f"the same tensors, byte for byte, as step {step:,} ({where}); left out"
    return Finding(each.found.where, each.step, "duplicate", text, left_out=True)


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
