# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in several files that an index names, in the Hugging Face layout."""

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.format import Match, Place

INDEX = ".index.json"


def hugging_face_folder(place: Place, weights: str) -> list[Match] | None:
    """A folder that is one checkpoint: it holds a file of weights by its usual name, or the index of its parts.

    Raises:
        CheckpointError: The index cannot be used.
    """
    names = place.names or ()
    if weights in names:
        return [Match(place.path, (f"{place.path}/{weights}",))]
    return [Match(place.path, indexed(place, f"{place.path}/{weights}{INDEX}"))] if f"{weights}{INDEX}" in names else None


def indexed(place: Place, index: str) -> tuple[str, ...]:
    """Files that an index names; only names of files beside it count.

    Raises:
        CheckpointError: The index cannot be used.
    """
    weights = place.files.json(index).get("weight_map")
    folder = index.rsplit("/", 1)[0]
    names = sorted(set(weights.values())) if isinstance(weights, dict) else []
    if not names or not all(isinstance(name, str) and name and "/" not in name and "\\" not in name for name in names):
        raise CheckpointError(
            f"{place.files.shown(index)}: no usable `weight_map`, or one that leaves its folder. Restore the file."
        )
    return tuple(f"{folder}/{name}" for name in names)
