# SPDX-License-Identifier: Apache-2.0
"""What the user asks of tensor component analysis, checked, and the names its components have in records and loggers."""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from lightning_interp.core.errors import ConfigError

PREFIX = "component/"
"""Record names of components are ``component/<layer>/<id>``."""
MOST_LOGGED = 24
"""Most components whose loadings go to loggers; the others stay in the run directory."""
COMPARED_RANKS, RESTARTS = tuple(range(1, 13)), 10
"""Ranks that are compared afterwards, and random starts of each, if nothing else is asked for."""
FEWEST_SNAPSHOTS = 3
"""Fewer than these have no courses, and so no components."""
HISTORY = 64
"""Most snapshots a fit looks at, beside a training and afterwards; more are thinned by `core.log_time`."""
LEAST_HISTORY = 8
HIGHEST_RANK = 512
"""No rank over this is tried: it would describe nothing in few components."""

_RANGE = re.compile(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?")


@dataclass(frozen=True)
class TCA:
    """Tensor component analysis of a run: which layers, which ranks, how often it is fitted again.

    Checked in `setup`, with everything else the monitor is asked for.

    Attributes:
        layers: Glob, ``re:`` expression, or a list of these, among the activation layers the monitor watches; None for all
            of them.
        ranks: Numbers of components to compare: a list, a range, or text such as ``"1:8"``, which includes 8 (in
            YAML with its quotation marks).
        nonnegative: Whether components are non-negative; ``"auto"`` decides for each layer by its first activations, and
            gives it up where a later one is negative.
        every: Snapshots between two fits; one more fit comes at the end.
        restarts: Random starts of each rank.
        history: Most snapshots a fit looks at, 8 or more; a longer run is thinned evenly in log(step).
        seed: Seed of the random starts; no global random stream is touched.
    """

    layers: str | Sequence[str] | None = None
    ranks: str | Sequence[int] = range(1, 9)
    nonnegative: bool | Literal["auto"] = "auto"
    every: int = 10
    restarts: int = 5
    history: int = HISTORY
    seed: int = 0

    def checked(self) -> "TCA":
        """The same settings with ranks as an ascending tuple of distinct numbers.

        Raises:
            ConfigError: A value cannot be honoured; the message names it.
        """
        if not any(self.nonnegative is choice for choice in (True, False)) and self.nonnegative != "auto":
            raise ConfigError(f"tca.nonnegative: expected true, false or 'auto', got {self.nonnegative!r}.")
        return replace(
            self,
            ranks=checked_ranks(self.ranks),
            every=_whole(self.every, "every", least=1),
            restarts=_whole(self.restarts, "restarts", least=1),
            history=_whole(self.history, "history", least=LEAST_HISTORY),
            seed=_whole(self.seed, "seed", least=0),
        )

    def plain(self) -> dict[str, Any]:
        """The settings in values JSON can hold; `from_plain` takes them back."""
        lists = {name: list(value) for name, value in asdict(self).items() if isinstance(value, tuple | list | range)}
        return {**asdict(self), **lists}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> "TCA":
        """Settings as `plain` gave them; fields this version does not know are ignored.

        Raises:
            ConfigError: A value cannot be honoured.
        """
        return cls(**{field.name: content[field.name] for field in fields(cls) if field.name in content}).checked()


def checked_ranks(ranks: str | Sequence[int]) -> tuple[int, ...]:
    """Ranks in ascending order, each once.

    >>> checked_ranks("1:4")
    (1, 2, 3, 4)
    >>> checked_ranks("1:2,6")
    (1, 2, 6)
    >>> checked_ranks([3, 1, 3])
    (1, 3)

    Raises:
        ConfigError: These are no ranks.
    """
    listed = _listed(ranks) if isinstance(ranks, str) else ranks
    if not isinstance(listed, Sequence) or not listed:
        raise ConfigError(f"tca.ranks: expected one rank or more, such as [1, 2, 3] or '1:8', got {ranks!r}.")
    if max(checked := {_whole(rank, "ranks", least=1) for rank in listed}) > HIGHEST_RANK:
        raise ConfigError(f"tca.ranks: expected ranks up to {HIGHEST_RANK}, got {max(checked)}.")
    return tuple(sorted(checked))


def most_components(shape: Sequence[int]) -> int:
    """Most components a tensor of this shape can need: with so many, every one is exact.

    >>> most_components((10, 3, 4))
    12
    """
    return math.prod(sorted(shape)[:-1])


def component_name(layer: str, component: int) -> str:
    """Record name of one component's loading.

    >>> component_name("net.1", 0)
    'component/net.1/0'
    """
    return f"{PREFIX}{layer}/{component}"


def logged_components(layers: Sequence[str], ranks: Sequence[int], *, room: int) -> tuple[str, ...]:
    """Record names loggers get: the first components of each layer, the same number for all.

    Args:
        layers: Layers with components.
        ranks: Ranks compared; no layer gets more names than the largest.
        room: Names left for components; no more than `MOST_LOGGED` are used.

    >>> logged_components(["a", "b"], [1, 2, 3], room=5)
    ('component/a/0', 'component/a/1', 'component/b/0', 'component/b/1')
    """
    room = max(0, min(MOST_LOGGED, room))
    slots = min(max(ranks), max(1, room // len(layers)))
    return tuple(component_name(layer, component) for layer in layers for component in range(slots))[:room]


def _listed(text: str) -> list[int]:
    """Ranks written as text."""
    listed: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= low <= high <= HIGHEST_RANK:
            raise ConfigError(
                f"tca.ranks: expected text such as '1:8', which includes 8, or '1,2,4', up to {HIGHEST_RANK}, got {text!r}."
            )
        listed += range(low, high + 1)
    return listed


def _whole(value: object, name: str, *, least: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ConfigError(f"tca.{name}: expected whole numbers, {least} or more, got {value!r}.")
    return number
