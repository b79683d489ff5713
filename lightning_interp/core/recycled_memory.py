# SPDX-License-Identifier: Apache-2.0
"""Memory for large tensors that is used again and again, where many of the same sizes follow each other."""

import weakref

import torch
from torch import Tensor

LEAST = 2**20
"""Bytes from which on memory is used again; the allocator gives smaller pieces as fast."""


class RecycledMemory:
    """Memory for tensors on the CPU, taken back once the last tensor in it is gone, for the next one of as many bytes.

    Fresh memory costs more than what is written into it, because the system clears it page by page: .19 s for a copy of
    490 MB, .03 s into memory that was used before. Whoever keeps a tensor keeps its memory, and nobody writes into it. There
    is never more of it than there would be without this class: what is free is let go before anything fresh is taken.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = {}

    def take(self, nbytes: int) -> Tensor:
        """Bytes with any content, as a tensor with one axis.

        >>> RecycledMemory().take(8).shape, RecycledMemory().take(LEAST).dtype
        (torch.Size([8]), torch.uint8)
        """
        if nbytes < LEAST:
            return torch.empty(nbytes, dtype=torch.uint8)
        block = self._block(nbytes)
        # torch holds on to this array until no tensor shares its memory any more; its end is what tells.
        lease = block.numpy()[:]
        weakref.finalize(lease, self._take_back, block).atexit = False
        return torch.from_numpy(lease)

    def copy(self, tensor: Tensor) -> Tensor:
        """What ``tensor.clone()`` gives, where possible in memory that was used before."""
        nbytes = tensor.numel() * tensor.element_size()
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
        if not plain or nbytes < LEAST or tensor.layout != torch.strided or not tensor.is_contiguous():
            return tensor.clone()
        storage = self.take(nbytes).untyped_storage()
        # Set and not viewed: a module may do with its tensors what torch refuses for views.
        target = torch.empty(0, dtype=tensor.dtype).set_(storage, 0, tensor.shape, tensor.stride())
        return target.copy_(tensor.detach())

    def _block(self, nbytes: int) -> Tensor:
        try:
            return self._free[nbytes].pop()
        except (KeyError, IndexError):
            self._free.clear()
        return torch.empty(nbytes, dtype=torch.uint8)

    def _take_back(self, block: Tensor) -> None:
        self._free.setdefault(block.numel(), []).append(block)
