# SPDX-License-Identifier: Apache-2.0
"""Files and folders in the layouts of Hugging Face and others: one file, parts with an index, or parts of ranks."""

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.format import Found, Place

INDEX = ".index.json"


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
    names = sorted(set(weights.values())) if isinstance(weights, dict) else []
    if not names or not all(isinstance(name, str) and name and "/" not in name and "\\" not in name for name in names):
        raise CheckpointError(
            f"{place.files.shown(index)}: no usable `weight_map`, or one that leaves its folder. Restore the file."
        )
    return [place.checkpoint(kind, *(f"{folder}/{name}" for name in names))]


def refuse_ranks(place: Place) -> None:
    """Refuse a folder whose files each hold what one rank had.

    Raises:
        CheckpointError: It is such a folder.
    """
    names = place.names or ()
    if ".metadata" in names or ("latest" in names and any(name.startswith("global_step") for name in names)):
        raise CheckpointError(
            f"{place.files.shown(place.path)}: a checkpoint spread over ranks (DCP or DeepSpeed), which is not read. "
            "Merge it first (torch.distributed.checkpoint.format_utils, or zero_to_fp32.py) and give the result."
        )
