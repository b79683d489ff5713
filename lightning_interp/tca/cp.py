# SPDX-License-Identifier: Apache-2.0
"""A fitted CP model: weights, unit-norm factors, and how well and how surely it describes its tensor."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.shapes import Float, Tensor

if TYPE_CHECKING:
    from tensorly.cp_tensor import CPTensor


@dataclass(frozen=True)
class CPFit:
    """A rank-R CP model, X ~ sum over r of cp_weights[r] * a_r ∘ b_r ∘ c_r (∘ is the outer product).

    Attributes:
        cp_weights: λ of Kolda & Bader, one per component, none negative; unit of the tensor's entries. Components are in
            descending order of it unless a run is followed, where they keep their order.
        factors: One matrix per axis, (snapshot, stimulus, unit) for activations; columns have unit norm. Signs: every
            column but those of axis 1 has a non-negative sum of cubes, so that a component rises rather than falls.
        relative_error: ‖X − X̂‖_F / ‖X‖_F over the observed entries of the uncompressed tensor; 0 is exact. NaN where the
            model did not come from a fit.
        converged: Whether the sweeps ended because the error no longer fell.
        n_iter: Sweeps over all modes.
        flags: What to know before reading the components: ``degenerate`` (two components nearly cancel: two-factor
            degeneracy), ``rank_deficient`` (a mode has fewer independent directions than components),
            ``rank_above_mode_size``, ``constant_slices`` (all slices of a mode are multiples of one),
            ``vanishing_component`` (a component carries nothing), ``not_converged``.

    References:
        Kolda & Bader 2009, https://doi.org/10.1137/07070111X, section 3
    """

    cp_weights: Float[Tensor, " rank"]
    factors: tuple[Float[Tensor, "_ rank"], ...]
    relative_error: float
    converged: bool
    n_iter: int
    flags: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Number of components."""
        return self.cp_weights.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the tensor's axes."""
        return tuple(factor.shape[0] for factor in self.factors)

    def full(self) -> Tensor:
        """The model as a tensor, of the size of the data."""
        rows = self.factors[0] * self.cp_weights
        columns = khatri_rao(self.factors[1:])
        return (rows @ columns.T).reshape(self.shape)

    def variance_shares(self) -> Float[Tensor, " rank"]:
        """Each component's share of the model's energy, λ_r² over the sum of squares; adds up to 1.

        Components that overlap share energy among them; this counts each by itself.
        """
        energy = self.cp_weights.double().square()
        return energy / energy.sum().clamp_min(torch.finfo(torch.float64).tiny)

    def to(self, device: str | torch.device) -> "CPFit":
        """The same model on another device."""
        return replace(
            self, cp_weights=self.cp_weights.to(device), factors=tuple(factor.to(device) for factor in self.factors)
        )

    def to_tensorly(self) -> "CPTensor":
        """The model as `tensorly.cp_tensor.CPTensor`, in arrays of tensorly's current backend."""
        import tensorly
        from tensorly.cp_tensor import CPTensor

        arrays = [tensor.cpu() for tensor in (self.cp_weights, *self.factors)]
        if tensorly.get_backend() != "pytorch":
            arrays = [tensorly.tensor(array.numpy()) for array in arrays]
        return CPTensor((arrays[0], arrays[1:]))

    @classmethod
    def from_tensorly(cls, cp_tensor: "CPTensor") -> "CPFit":
        """A model made by tensorly, in this package's order, scale and signs; its `relative_error` is NaN."""
        import tensorly

        weights, factors = cp_tensor
        matrices = [_as_tensor(tensorly.to_numpy(factor)) for factor in factors]
        rank = matrices[0].shape[1]
        lam = torch.ones(rank, dtype=matrices[0].dtype) if weights is None else _as_tensor(tensorly.to_numpy(weights))
        return arranged(lam, matrices, relative_error=math.nan, converged=False, n_iter=0)


def khatri_rao(factors: "tuple[Tensor, ...] | list[Tensor]") -> Float[Tensor, "row rank"]:
    """Column-wise Kronecker product, the first factor varying slowest (the order of a row-major unfolding)."""
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None, :] * factor[None, :, :]).flatten(0, 1)
    return product


def arranged(
    weights: Float[Tensor, " rank"],
    factors: "list[Tensor] | tuple[Tensor, ...]",
    *,
    relative_error: float,
    converged: bool,
    n_iter: int,
    flags: tuple[str, ...] = (),
) -> CPFit:
    """A `CPFit` with unit-norm columns, non-negative weights in descending order, and its sign convention."""
    if len(factors) < 2 or any(factor.ndim != 2 or factor.shape[1] != weights.shape[0] for factor in factors):
        shapes = [tuple(factor.shape) for factor in factors]
        raise ShapeError(f"CPFit: expected matrices with {weights.shape[0]} columns, one per axis, got shapes {shapes}.")
    unit = []
    for factor in factors:
        norms = torch.linalg.vector_norm(factor, dim=0)
        weights = weights * norms
        unit.append(factor / torch.where(norms > 0, norms, 1))
    signs = [_orientation(factor) for factor in unit]
    signs[1] = torch.sign(weights) * torch.stack([sign for axis, sign in enumerate(signs) if axis != 1]).prod(dim=0)
    signs[1] = torch.where(signs[1] == 0, 1, signs[1])
    order = torch.argsort(weights.abs(), descending=True, stable=True)
    oriented = tuple((factor * sign)[:, order].contiguous() for factor, sign in zip(unit, signs, strict=True))
    return CPFit(weights.abs()[order], oriented, relative_error, converged, n_iter, flags)


def _orientation(factor: Float[Tensor, "_ rank"]) -> Float[Tensor, " rank"]:
    return torch.where(factor.pow(3).sum(dim=0) < 0, -1.0, 1.0).to(factor.dtype)


def _as_tensor(array: object) -> Tensor:
    tensor = torch.as_tensor(array)
    return tensor if tensor.is_floating_point() else tensor.double()
