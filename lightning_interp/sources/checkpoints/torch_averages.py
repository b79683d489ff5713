# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of `torch.save` once more, for the averaged weights in them: only where these are asked for."""

from functools import partial

from lightning_interp.sources.checkpoints.format import Found, Place
from lightning_interp.sources.checkpoints.torch_save import header_of, tensors_of

NAME = "torch averages"
SUFFIXES: tuple[str, ...] = ()


def matches(_place: Place) -> list[Found] | None:
    """None: what is found is a checkpoint of `torch_save`."""
    return None


header = partial(header_of, averaged=True)
tensors = partial(tensors_of, averaged=True)
