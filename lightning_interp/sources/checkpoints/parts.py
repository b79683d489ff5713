# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in one file, or in parts: with an index, or numbered ``-00001-of-00003``."""

import re
from collections import defaultdict

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.format import Found, Place, Refused
from lightning_interp.sources.checkpoints.step_names import Named, named

INDEX = ".index.json"
MOST_PARTS = 10_000

_PART = re.compile(r"^(?P<before>.*?)[-_.]?(?P<part>\d{1,6})[-_]of[-_](?P<parts>\d{1,6})(?P<behind>.*)$")


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


def is_part(name: str) -> bool:
    """Whether the name of a file says that it is one of several parts."""
    return _PART.match(name) is not None


def counted_parts(place: Place, kinds: dict[str, str]) -> tuple[list[Found], list[Refused], set[str]]:
    """Checkpoints of a folder in parts `-00001-of-00003` that no index names.

    Args:
        place: The folder.
        kinds: Name of the format by the ending of a file's name.

    Returns:
        Those of which every part is there, those of which one is missing, and the names of all their files.
    """
    groups: dict[tuple[str, int, str], dict[int, str]] = defaultdict(dict)
    for name in place.names or ():
        match = _PART.match(name)
        if match and name.endswith(tuple(kinds)) and int(match["parts"]) <= MOST_PARTS:
            groups[match["before"], int(match["parts"]), match["behind"]][int(match["part"])] = name
    found, refused = [], []
    for (before, count, behind), parts in sorted(groups.items()):
        if any(name.endswith(INDEX) and name.startswith(before) for name in place.names or ()):
            continue  # the index says what belongs together
        # What the parts share says the step where it has one; else their folder is the checkpoint.
        shared = f"{place.path}/{before}{behind}"
        where = place.path if len(groups) == 1 and named(f"{before}{behind}") == Named() else shared
        first = 0 if 0 in parts else 1
        missing = [number for number in range(first, first + count) if number not in parts]
        if missing:
            width = len(str(count)) if count > 9999 else 5
            gone = ", ".join(f"{number:0{width}}" for number in missing[:5]) + (" ..." if len(missing) > 5 else "")
            text = f"of its {count} parts {len(missing)} are missing ({gone}). Get them, too; a part is not the whole"
            refused.append(place.refused(text, where))
            continue
        kind = next(kind for suffix, kind in kinds.items() if behind.endswith(suffix))
        paths = [f"{place.path}/{parts[number]}" for number in sorted(parts)]
        found.append(place.checkpoint(kind, *paths, name=where))
    return found, refused, {name for parts in groups.values() for name in parts.values()}
