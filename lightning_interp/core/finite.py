# SPDX-License-Identifier: Apache-2.0
"""Whether all numbers of a tensor are finite, without a mask as large as the tensor."""

import math

import torch
from torch import Tensor

BLOCK = 2**18
"""Numbers that are looked at together: they stay in the processor's cache."""


def all_finite(tensor: Tensor) -> bool:
    """Whether a floating tensor on the CPU holds neither NaN nor infinity.

    A sum of squares that is finite shows it; of a block whose sum is not, each number is looked at.

    >>> all_finite(torch.full((3,), 1e30)), all_finite(torch.tensor([1.0, torch.nan]))
    (True, False)
    """
    flat = tensor.detach().reshape(-1)
    for block in (flat,) if flat.numel() <= BLOCK else torch.split(flat, BLOCK):
        wide = block if block.dtype == torch.float64 else block.float()
        if not math.isfinite(torch.dot(wide, wide).item()) and not bool(torch.isfinite(wide).all()):
            return False
    return True
