# SPDX-License-Identifier: Apache-2.0
"""How one mode's factors follow from the others: least squares, or one HALS pass where nothing may be negative."""

from collections.abc import Callable
from functools import lru_cache

import torch

from lightning_interp.core.shapes import Float, Tensor

RIDGE = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Added to the diagonal of the normal equations, as a share of it; keeps models that degenerate solvable."""


Update = Callable[[Tensor, Tensor, Tensor], Tensor]
"""New factors of a mode, [model, component, size], from the old ones, the MTTKRP X_(n) Z and the Gram matrices Zᵀ Z: a
solution of min ‖X_(n) − F Zᵀ‖ for F, exact or a step towards it."""


def least_squares(
    old: Float[Tensor, "model component size"],  # noqa: ARG001 - the signature of every update
    mttkrp: Float[Tensor, "model component size"],
    grams: Float[Tensor, "model component component"],
) -> Float[Tensor, "model component size"]:
    """The exact minimizer, by Cholesky. Padding (zero rows of `grams` and `mttkrp`) stays zero.

    Two components that nearly cancel make the normal equations singular: a small relative ridge bounds the solution without
    an exception. Solved as Fᵀ G = Kᵀ, whose two triangular systems need no copy of K in another order of memory.
    """
    lower = torch.linalg.cholesky_ex(torch.addcmul(*_ridge(grams))).L
    halfway = torch.linalg.solve_triangular(lower.mT, mttkrp.mT, upper=True, left=False)
    solution: Tensor = torch.linalg.solve_triangular(lower, halfway, upper=False, left=False).mT
    return solution


def hals(
    old: Float[Tensor, "model component size"],
    mttkrp: Float[Tensor, "model component size"],
    grams: Float[Tensor, "model component component"],
) -> Float[Tensor, "model component size"]:
    """One pass of hierarchical alternating least squares: each component in turn, never negative.

    Component r becomes max(0, u_r + (K_r − Σ_q G_rq u_q) / G_rr). One pass, not the three or more of other packages: here
    the MTTKRP is cheap next to a pass, so fresh ones pay (measured in benchmarks/tca.py).

    References:
        Cichocki & Phan 2009, https://doi.org/10.1587/transfun.E92.A.708
    """
    new = old.clone()
    diagonal = torch.diagonal(grams, dim1=1, dim2=2)
    own = diagonal > torch.finfo(grams.dtype).tiny
    scale = torch.where(own, 1 / torch.where(own, diagonal, 1), 0)[:, :, None]
    for component in range(new.shape[1]):
        column = slice(component, component + 1)
        residual = torch.baddbmm(mttkrp[:, column], grams[:, column], new, alpha=-1)
        new[:, column].addcmul_(residual, scale[:, column]).clamp_min_(0)
    return new


def _ridge(grams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `addcmul` makes normal equations with a ridge of; the smallest numbers let padding be factorized, too."""
    unit, share = _units(grams.shape[1], grams.dtype, grams.device)
    return unit, grams, share


@lru_cache(maxsize=64)
def _units(width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The diagonal added everywhere, and what the entries of normal equations are multiplied with."""
    identity = torch.eye(width, dtype=dtype, device=device)
    return identity * torch.finfo(dtype).tiny, 1 + RIDGE[dtype] * identity
