# SPDX-License-Identifier: Apache-2.0
"""Random weights of a network for a cyclic group, for the measures that look at its embedding and readout."""

import torch
from torch import Tensor


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(p: int = 23, d: int = 16, hidden: int = 64) -> dict[str, Tensor]:
    return {
        "embed.weight": random(p + 1, d),
        "fc_in.weight": random(hidden, d, seed=1),
        "fc_out.weight": random(d, hidden, seed=2),
        "head.weight": random(p, d, seed=3),
    }
