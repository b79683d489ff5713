# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in one file, or in parts: with an index, or numbered ``-00001-of-00003``."""

import re
from collections.abc import Iterable

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.format import Found, Place

INDEX = ".index.json"
MOST_PARTS = 10_000

_NUMBERED = re.compile(r"^(?P<stem>.*?)[-_.]?(?P<number>\d{1,6})[-_]of[-_](?P<total>\d{1,6})(?P<suffix>\.\w+)$")


def file_or_folder(place: Place, kind: str, suffixes: tuple[str, ...], usual: str) -> list[Found] | None:
    """The place as one checkpoint: a file with one of some suffixes, or a folder with weights or their index inside.

    Raises:
        CheckpointError: The index cannot be used.
    """
    if place.names is None:
        return [place.checkpoint(kind, place.path)] if place.path.endswith(suffixes) else None
    weights = f"{place.path}/{usual}"
    if usual in place.names:
        return [place.checkpoint(kind, weights)]
    return indexed(place, kind, f"{weights}{INDEX}") if f"{usual}{INDEX}" in place.names else None


def indexed(place: Place, kind: str, index: str) -> list[Found]:
    """The place as a checkpoint in the files that an index names; only names of files beside it count.

    Raises:
        CheckpointError: The index cannot be used.
    """
    weights = place.files.json(index).get("weight_map")
    folder = index.rsplit("/", 1)[0]
    listed = list(weights.values()) if isinstance(weights, dict) else []
    names = sorted(set(listed)) if all(isinstance(name, str) for name in listed) else []
    if not names or len(names) > MOST_PARTS or not all(name and "/" not in name and "\\" not in name for name in names):
        raise CheckpointError(
            f"{place.files.shown(index)}: no usable `weight_map`, or one that leaves its folder. Restore the file."
        )
    return [place.checkpoint(kind, *(f"{folder}/{name}" for name in names))]


def numbered_parts(names: Iterable[str], suffixes: tuple[str, ...]) -> dict[str, tuple[list[str], str | None]]:
    """Parts without an index, by what their names begin with.

    Returns:
        The parts in their order, and what is missing; None where nothing is.

    >>> numbered_parts(["m-00001-of-00002.bin", "m-00002-of-00002.bin", "n-1-of-2.bin", "o.bin"], (".bin",))
    {'m': (['m-00001-of-00002.bin', 'm-00002-of-00002.bin'], None), 'n': (['n-1-of-2.bin'], 'part 2 of 2 is missing')}
    """
    groups: dict[tuple[str, int, str], dict[int, str]] = {}
    for name in sorted(names):
        match = _NUMBERED.match(name)
        if match and name.endswith(suffixes):
            key = match["stem"], int(match["total"]), match["suffix"]
            groups.setdefault(key, {})[int(match["number"])] = name
    found = {}
    for (stem, total, _), parts in groups.items():
        first = 0 if 0 in parts else 1
        missing = next((number for number in range(first, first + min(total, MOST_PARTS)) if number not in parts), None)
        told = None if missing is None and len(parts) == total else f"part {missing or total} of {total} is missing"
        found[stem] = [parts[number] for number in sorted(parts)], told
    return found
