# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with the same tensors, and tensors that come from another step: wrong weights under a step's name."""

from collections.abc import Hashable, Mapping, Sequence

from lightning_interp.sources.checkpoints.finding import Finding

_SHOWN = 3


def equal_contents(checkpoints: Sequence[tuple[int, str, Hashable | None]]) -> list[Finding]:
    """What to say of checkpoints whose tensors are the same, byte for byte.

    Neighbours are a training that stood still: the first is kept. Where others lie between them one of the steps is wrong,
    and nothing tells which: none is trusted.

    Args:
        checkpoints: Step, name and content of each, in order of steps; None for a content that is not known.

    Returns:
        One finding for each that is left out.
    """
    places: dict[Hashable, list[int]] = {}
    for at, (_, _, content) in enumerate(checkpoints):
        if content is not None:
            places.setdefault(content, []).append(at)
    found = []
    for same in places.values():
        apart = len(same) > 1 and same[-1] - same[0] >= len(same)
        for at in same if apart else same[1:]:
            other = next(each for each in reversed(same) if each != at) if apart and at == same[0] else same[0]
            step, where, _ = checkpoints[at]
            found.append(duplicate(step, where, checkpoints[other][:2], apart=apart))
    return sorted(found, key=lambda finding: finding.step or 0)


def duplicate(step: int, where: str, other: tuple[int, str], *, apart: bool) -> Finding:
    """A checkpoint with the tensors of another one."""
    text = f"the same tensors, byte for byte, as step {other[0]:,} ({other[1]})"
    if apart:
        text += ", and others between them differ: which of the two steps is right is not known, so neither is trusted"
    return Finding(where, step, "duplicate", f"{text}; left out", left_out=True)


class KnownContents:
    """Contents of checkpoints in the order of their steps, to find those that come back."""

    def __init__(self) -> None:
        self._digests: dict[str, tuple[int, str, int]] = {}
        self._marks: dict[str, dict[str, tuple[int, str, int]]] = {}
        self._count = 0

    def know(self, step: int, where: str, digest: str) -> None:
        """Take in what an earlier analysis noted."""
        self._digests[digest] = step, where, self._count
        self._count += 1

    def findings(self, step: int, where: str, digest: str, marks: Mapping[str, str]) -> list[Finding]:
        """What is wrong with the next checkpoint; a finding can be of an earlier step."""
        other = self._digests.get(digest)
        if other is not None and other[:2] != (step, where):
            apart = other[2] < self._count - 1
            found = [duplicate(step, where, other[:2], apart=apart)]
            return [*found, *([_also(other, (step, where))] if apart else [])]
        self._digests[digest] = step, where, self._count
        copied = {name: earlier for name, mark in marks.items() if (earlier := self._come_back(name, mark)) is not None}
        for name, mark in marks.items():
            self._marks.setdefault(name, {})[mark] = step, where, self._count
        self._count += 1
        return [] if not copied else _copied(step, where, copied)

    def _come_back(self, name: str, mark: str) -> tuple[int, str, int] | None:
        """The earlier checkpoint that has a tensor as it is now, where others between had it otherwise."""
        earlier = self._marks.get(name, {}).get(mark)
        return earlier if earlier is not None and earlier[2] < self._count - 1 else None


def _also(other: tuple[int, str, int], later: tuple[int, str]) -> Finding:
    text = f"the same tensors, byte for byte, as step {later[0]:,} ({later[1]}), and others between them differ"
    return Finding(other[1], other[0], "duplicate", text, left_out=False)


def _copied(step: int, where: str, copied: Mapping[str, tuple[int, str, int]]) -> list[Finding]:
    """One finding for each of the two checkpoints: which of them has another's tensor is not known."""
    earlier = next(iter(copied.values()))
    names = ", ".join(list(copied)[:_SHOWN]) + (f" and {len(copied) - _SHOWN} more" if len(copied) > _SHOWN else "")
    text = "{} bit for bit as at step {:,}, and otherwise in between: copied from the other step?"
    return [
        Finding(where, step, "copied", text.format(names, earlier[0]), left_out=False),
        Finding(earlier[1], earlier[0], "copied", text.format(names, step), left_out=False),
    ]
