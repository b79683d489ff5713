# SPDX-License-Identifier: Apache-2.0
"""Core consistency: whether components interact, which a CP model says they do not."""

import torch

from lightning_interp.tca.compress import Compressed
from lightning_interp.tca.cp import CPFit


def core_consistency(fit: CPFit, compressed: Compressed) -> float:
    """CORCONDIA, 100 (1 − ‖T − I‖² / R): 100 where the data have no interaction between components, can be far below zero.

    T is the least-squares Tucker core of the data for the fitted factors and I the superdiagonal of ones that the CP
    model assumes. The data enter through their compressed core, which costs no pass over them. 60 to 80 and more is
    commonly taken as consistent; factors that are nearly collinear lower it even where the rank is right.

    Returns:
        In percent.

    References:
        Bro & Kiers 2003, https://doi.org/10.1002/cem.801
    """
    core = compressed.core
    factors = [factor.double() for factor in fit.factors]
    factors[0] = factors[0] * fit.cp_weights.double()
    for mode, (factor, basis) in enumerate(zip(factors, compressed.bases, strict=True)):
        transform = torch.linalg.pinv(factor) @ basis
        core = torch.tensordot(core, transform, dims=([mode], [1])).movedim(-1, mode)
    ideal = torch.zeros_like(core)
    diagonal = torch.arange(fit.rank, device=core.device)
    ideal[(diagonal,) * core.ndim] = 1
    return float(100 * (1 - (core - ideal).square().sum() / fit.rank))
