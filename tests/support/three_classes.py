# SPDX-License-Identifier: Apache-2.0
"""Examples of three classes that the small trainings learn, without Lightning."""

import torch
from torch.utils.data import TensorDataset


def data(examples: int = 96) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(examples, 10, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
