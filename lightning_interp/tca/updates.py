# SPDX-License-Identifier: Apache-2.0
"""How one mode's factors follow from the others: least squares, or one HALS pass where nothing may be negative."""

from collections.abc import Callable

import torch

from lightning_interp.shapes import Float, Tensor

RIDGE = 1e-12
"""Added to the normal equations, relative to their mean diagonal; keeps models that degenerate solvable."""


Update = Callable[[Tensor, Tensor, Tensor], Tensor]
"""New factors of a mode, [model, component, size], from the old ones, the MTTKRP X_(n) Z and the Gram matrices Zᵀ Z: a
solution of min ‖X_(n) − F Zᵀ‖ for F, exact or a step towards it."""


def least_squares(
    old: Float[Tensor, "model component size"],  # noqa: ARG001 - the signature of every update
    mttkrp: Float[Tensor, "model component size"],
    grams: Float[Tensor, "model component component"],
) -> Float[Tensor, "model component size"]:
    """The exact minimizer, by Cholesky. Padding (zero rows of `grams`) stays zero.

    Two components that nearly cancel make the normal equations singular: a relative ridge of 1e-12 (1e-6 in float32) bounds
    the solution without an exception.
    """
    factor = torch.linalg.cholesky_ex(_ridged(grams)).L
    solution: Tensor = torch.cholesky_solve(mttkrp, factor)
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


def _ridged(grams: Tensor) -> Tensor:
    """Normal equations with a ridge, and ones on the diagonal of the padding so that they can be factorized."""
    diagonal = torch.diagonal(grams, dim1=1, dim2=2)
    mean = diagonal.mean(dim=1, keepdim=True)
    ridge = RIDGE if grams.dtype == torch.float64 else 1e-6
    return grams + torch.diag_embed(torch.where(diagonal > 0, ridge * mean, torch.ones_like(diagonal)))
