# SPDX-License-Identifier: Apache-2.0
"""Three ranks of a matrix from one spectrum: effective rank, stable rank and participation ratio."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import Observation, Split
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.label import NO_LABELS, Chart, Label, Labels
from lightning_interp.measures.preconditions import layer_activations, layer_means
from lightning_interp.measures.weights import weight_matrices

MAX_SIDE = 2048
"""Longest short side decomposed; one eigenvalue problem of this size takes about two seconds of one core."""

GRAM_ROWS = 8192
"""Rows turned to float64 at a time while the Gram matrix is summed."""

RANKS = ("effective_rank", "stable_rank", "participation_ratio")


def squared_singular_values(matrix: Float[Tensor, "row column"]) -> Float64[Tensor, " value"]:
    """Squares of the singular values, descending: eigenvalues of the smaller Gram matrix in float64.

    Squaring costs small singular values their digits (absolute error about 1e-16 of the largest square), which the
    three ranks below do not see because they weight by the squares. For an m x n matrix with m >= n: 2 m n^2 + 4/3 n^3
    floating-point operations, once for all three ranks.

    Args:
        matrix: Any real matrix.

    Returns:
        min(row, column) values, squared unit of the entries, none negative.

    Raises:
        ShapeError: The matrix is empty or its short side exceeds `MAX_SIDE`.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if not 0 < tall.shape[1] <= MAX_SIDE:
        raise ShapeError(
            f"squared_singular_values: the short side of `matrix` must be 1 .. {MAX_SIDE}, got {tuple(matrix.shape)}. "
            "Measure a block of it instead."
        )
    gram = torch.zeros(tall.shape[1], tall.shape[1], dtype=torch.float64, device=matrix.device)
    for block in torch.split(tall, GRAM_ROWS):
        wide = block.double()
        gram.addmm_(wide.T, wide)
    ascending: Tensor = torch.linalg.eigvalsh(gram)
    return ascending.clamp_min(0).flip(0)


def effective_rank(squares: Float64[Tensor, " value"]) -> Float64[Tensor, ""]:
    """Effective rank: exponential of the entropy of p_i = s_i^2 / sum s^2.

    Roy and Vetterli define it with p_i = s_i / sum s; this is the form with energies, the entropy of the covariance
    spectrum.

    Args:
        squares: Squared singular values, not all zero.

    Returns:
        A number from 1 (one direction) to the number of values (all equal).

    References:
        Roy & Vetterli 2007, https://ieeexplore.ieee.org/document/7098875
    """
    share = squares / squares.sum()
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()


def stable_rank(squares: Float64[Tensor, " value"]) -> Float64[Tensor, ""]:
    """Stable rank ||A||_F^2 / ||A||_2^2 = sum s^2 / max s^2, from 1 to the number of values.

    Args:
        squares: Squared singular values, not all zero.
    """
    return squares.sum() / squares.max()


def participation_ratio(squares: Float64[Tensor, " value"]) -> Float64[Tensor, ""]:
    """Participation ratio (sum s^2)^2 / sum s^4, from 1 to the number of values.

    Args:
        squares: Squared singular values, not all zero.
    """
    share = squares / squares.sum()
    return 1 / share.square().sum()


def centered(activations: Float[Tensor, "stimulus unit"]) -> Float64[Tensor, "stimulus unit"]:
    """Activations minus their mean over stimuli; exactly zero where only rounding is left of them."""
    wide = activations.double()
    rest = wide - wide.mean(dim=0)
    # The mean of equal numbers can miss them by an ulp: 1e-12 of the original norm is far above that, far below signal.
    return rest if rest.norm() > 1e-12 * wide.norm() else torch.zeros_like(rest)


def spectral_ranks(matrix: Float[Tensor, "row column"]) -> dict[str, float]:
    """All three ranks by name from one decomposition; empty for a matrix of zeros, which has none.

    Raises:
        ShapeError: See `squared_singular_values`.
    """
    squares = squared_singular_values(matrix)
    if not squares.sum() > 0:
        return {}
    values = (effective_rank(squares), stable_rank(squares), participation_ratio(squares))
    return {name: value.item() for name, value in zip(RANKS, values, strict=True)}


def ranks_by_name(matrices: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """``{rank: {matrix: value}}`` of every matrix within `MAX_SIDE` that is not zero.

    Raises:
        MeasureSkipped: No matrix qualifies.
    """
    within = {name: matrix for name, matrix in matrices.items() if min(matrix.shape) <= MAX_SIDE}
    if not within:
        raise MeasureSkipped(f"both sides of every matrix exceed {MAX_SIDE}: select smaller ones with parameters=")
    ranks = {name: values for name, matrix in within.items() if (values := spectral_ranks(matrix))}
    if not ranks:
        raise MeasureSkipped("every matrix is zero")
    return {rank: {name: values[rank] for name, values in ranks.items()} for rank in RANKS}


_rank = partial(Label, section="weights", chart=Chart("spectra and sparsity", "ranks of the weights"))


class WeightSpectra(Measure):
    """``effective_rank``, ``stable_rank``, ``participation_ratio`` of the weight matrices, dimensionless.

    The plain names are unweighted means over the selected matrices, ``<name>/<parameter>`` the single ones. Parameters
    with more than two axes are read as [out, rest]. Left out: zero matrices, those with one row or column, and those
    with both sides over `MAX_SIDE`. At the jump of held-out accuracy the effective rank is still well above its final
    value: compression marks cleanup, not onset.
    """

    name: ClassVar[str] = "weight_spectra"
    names: ClassVar[Labels] = {
        "effective_rank": _rank(
            "effective rank",
            about="exp of the entropy of the normalized singular values; mean over matrices; detail per matrix, and per "
            "layer of activations; one eigenvalue problem a matrix for all three ranks",
        ),
        "stable_rank": _rank("stable rank", about="squared Frobenius norm over squared spectral norm"),
        "participation_ratio": _rank(
            "participation ratio", about="squared sum over sum of squares of the covariance spectrum"
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `spectral_ranks`."""
        ranks = ranks_by_name(weight_matrices(observation))
        return {key: value for rank in RANKS for key, value in layer_means(rank, ranks[rank]).items()}


class ActivationSpectra(Measure):
    """``effective_rank/<layer>``, ``stable_rank/<layer>``, ``participation_ratio/<layer>`` of activations, dimensionless.

    Activations are centered over the stimuli, so this is the spectrum of their covariance. Layers that give the same
    output for every stimulus are left out. There is no mean over layers: the plain names belong to the weights.

    Args:
        split: Split of the probe the activations come from.
    """

    name: ClassVar[str] = "activation_spectra"
    names: ClassVar[Labels] = NO_LABELS
    needs: ClassVar[frozenset[Need]] = frozenset({"activations"})
    cost: ClassVar[Cost] = "forward"

    def __init__(self, split: Split = "train") -> None:
        self.split: Split = split

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `spectral_ranks`."""
        layers = layer_activations(observation, self.split)
        ranks = ranks_by_name({layer: centered(values) for layer, values in layers.items()})
        return {f"{rank}/{layer}": value for rank in RANKS for layer, value in ranks[rank].items()}
