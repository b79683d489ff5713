# SPDX-License-Identifier: Apache-2.0
"""Layouts of checkpoints that are recognized and not read."""

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.format import Place


def refuse(place: Place) -> None:
    """Refuse a folder whose files alone are no checkpoint, and say what makes one of them.

    Raises:
        CheckpointError: It is such a folder.
    """
    names = place.names or frozenset()
    if ".metadata" in names or ("latest" in names and any(name.startswith("global_step") for name in names)):
        raise CheckpointError(
            f"{place.files.shown(place.path)}: a checkpoint spread over ranks (DCP or DeepSpeed), which is not read. "
            "Merge it first (torch.distributed.checkpoint.format_utils, or zero_to_fp32.py) and give the result."
        )
