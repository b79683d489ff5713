# SPDX-License-Identifier: Apache-2.0
"""Validation loaders beside the first: what each is called, and how much of it the probe takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_interp.core.batches import byte_count, example_count
from lightning_interp.core.records import ProbeSplit

MOST_LOADERS = 8
"""Most validation loaders that the probe takes examples from, the first among them."""


@dataclass(frozen=True)
class FurtherLoader:
    """A validation loader that is not the first.

    Attributes:
        name: Its key where the loaders have keys, else ``dataloader_idx_1`` and so on, as Lightning logs them.
        data: The loader.
        index: Its place among all of them, 1 or more.
        most_batches: Batches taken of one pass over it.
    """

    name: str
    data: Any
    index: int
    most_batches: float = float("inf")


@dataclass(frozen=True)
class Room:
    """What may still be taken of the loaders that are left.

    Attributes:
        examples: Number of examples.
        size: Bytes.
        loaders: Loaders that share it.
    """

    examples: int
    size: int
    loaders: int

    @property
    def share(self) -> tuple[int, int]:
        """Examples and bytes of the next loader."""
        return self.examples // max(1, self.loaders), self.size // max(1, self.loaders)

    def after(self, split: ProbeSplit | None) -> "Room":
        """What is left once a loader gave these examples."""
        batches = () if split is None else split.batches
        examples, size = sum(map(example_count, batches)), sum(map(byte_count, batches))
        return Room(max(0, self.examples - examples), max(0, self.size - size), self.loaders - 1)


def first_loader(loaders: Any) -> Any:
    """The loader, or the first of several."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return next(iter(loaders), None) if isinstance(loaders, list | tuple) else loaders


def further_loaders(loaders: Any, most_batches: Sequence[float] = ()) -> list[FurtherLoader]:
    """All loaders but the first.

    Args:
        loaders: What a training validates on: a loader, or loaders in lists, tuples and mappings.
        most_batches: Batches taken of one pass over each.

    >>> [each.name for each in further_loaders({"day": object(), "night": object()})]
    ['night']
    >>> [each.name for each in further_loaders([object(), object()])]
    ['dataloader_idx_1']
    """
    found = []
    for index, (key, data) in enumerate(_flat(loaders)):
        name = key or name_by_place(index)
        limit = most_batches[index] if index < len(most_batches) else float("inf")
        found.append(FurtherLoader(name, data, index, limit))
    return found[1:]


def name_by_place(index: int) -> str:
    """What Lightning adds to the names of what is logged of a loader without a key."""
    return f"dataloader_idx_{index}"


def _flat(loaders: Any, key: str = "", depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Each loader with its key, empty where it has none, in the order in which Lightning counts them."""
    if isinstance(loaders, Mapping) and depth:
        for name, inner in loaders.items():
            yield from _flat(inner, f"{key}/{name}" if key else str(name), depth - 1)
    elif isinstance(loaders, list | tuple) and depth:
        for inner in loaders:
            yield from _flat(inner, "", depth - 1)
    else:
        yield key, loaders
