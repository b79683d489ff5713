# SPDX-License-Identifier: Apache-2.0
"""Tucker compression: orthonormal bases of the modes and a small core that keeps what a CP model can see.

For a tensor X and orthonormal U_n, any model whose factors lie in the spans of the U_n has
‖X − X̂‖² = ‖X‖² − ‖G‖² + ‖G − Ĝ‖² with G = X ×_n U_nᵀ. So the error on the full tensor is known from the core alone.
"""

from dataclasses import dataclass

import torch

from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.tca.source import Data, as_double_gram

SMALL_SIDE = 128
"""Gram matrices up to this size are diagonalized; of larger ones only the leading subspace is found."""

SUBSPACE_ROUNDS, OVERSAMPLING = 4, 8

RESOLUTION = {(torch.float32, False): 1e-6, (torch.float32, True): 1e-12, (torch.float64, True): 1e-14}
"""Squared singular value, relative to the largest, that data of a precision and products of a precision (exact: float64)
still show: with a margin over size times the rounding."""


@dataclass(frozen=True)
class Compressed:
    """A Tucker model of a tensor.

    Attributes:
        core: G, one axis per mode, float64.
        bases: U_n, [size of mode n, size of the core's axis n], orthonormal columns by descending energy, float64.
        norm2: ‖X‖² of the tensor itself.
        spectra: Squared singular values found for each mode, descending.
        resolution: Squared singular value, relative to the largest, below which one cannot be told from rounding.
    """

    core: Float[Tensor, "..."]
    bases: tuple[Float[Tensor, "_ _"], ...]
    norm2: float
    spectra: tuple[Float[Tensor, " _"], ...]
    resolution: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """Sizes of the core's axes."""
        return tuple(self.core.shape)

    def leading(self, ranks: tuple[int, ...]) -> "Compressed":
        """The compression to fewer directions: the leading block, since directions are ordered by energy."""
        block = self.core[tuple(slice(0, rank) for rank in ranks)].contiguous()
        bases = tuple(basis[:, :rank].contiguous() for basis, rank in zip(self.bases, ranks, strict=True))
        return Compressed(block, bases, self.norm2, self.spectra, self.resolution)


def compress(data: Data, ranks: tuple[int, ...], *, exact: bool = False) -> Compressed:
    """Sequentially truncated higher-order SVD by Gram matrices.

    Two passes over the data, one for the Gram matrix of the first mode and one to project on its basis; the other modes
    see what is left. With the tensor in memory the smallest mode comes first, else the smallest mode that is not the
    snapshots. About 2 (d + r) |X| floating-point operations for a first mode of size d compressed to r.

    Args:
        data: The tensor.
        ranks: Directions to keep in each mode, at most its size.
        exact: Compute with float32 data in float64 throughout. Singular values below 3e-4 of the largest drown in the
            rounding of float32 Gram matrices; matters only for data with less noise than that.

    Returns:
        The compression; its error is at most √N times that of the best one (N modes).

    References:
        Vannieuwenhoven, Vandebril & Meerbergen 2012, https://doi.org/10.1137/110836067
    """
    first = _first_mode(data)
    gram = _first_gram(data, first, exact=exact)
    norm2 = float(torch.trace(gram)) if exact else data.norm2
    bases: dict[int, Tensor] = {}
    spectra: dict[int, Tensor] = {}
    bases[first], spectra[first] = leading_eigenvectors(gram, ranks[first])
    core = _project(data, first, bases[first], exact=exact)
    for mode in sorted((mode for mode in range(len(ranks)) if mode != first), key=lambda mode: data.shape[mode]):
        gram = _chunk_gram(core, mode, exact=exact)
        bases[mode], spectra[mode] = leading_eigenvectors(gram, ranks[mode])
        core = _multiply(core, mode, bases[mode])
    order = range(len(ranks))
    return Compressed(
        core.double().contiguous(),
        tuple(bases[n] for n in order),
        norm2,
        tuple(spectra[n] for n in order),
        RESOLUTION[data.dtype, exact or data.dtype == torch.float64],
    )


def leading_eigenvectors(gram: Tensor, count: int) -> tuple[Float[Tensor, "size count"], Float[Tensor, " count"]]:
    """Leading eigenvectors and eigenvalues of a symmetric positive matrix, descending.

    Large matrices: block subspace iteration from a fixed random start, then Rayleigh-Ritz; directions within the noise floor
    are found only roughly, which costs nothing since they are interchangeable.
    """
    size = gram.shape[0]
    if size <= SMALL_SIDE or count + OVERSAMPLING >= size // 2:
        values, vectors = torch.linalg.eigh(gram)
        return vectors[:, -count:].flip(1), values[-count:].flip(0).clamp_min(0)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, count + OVERSAMPLING, generator=generator, dtype=gram.dtype).to(gram.device)
    basis = torch.linalg.qr(gram @ start).Q
    for _ in range(SUBSPACE_ROUNDS):
        basis = torch.linalg.qr(gram @ (gram @ basis)).Q
    values, rotation = torch.linalg.eigh(basis.T @ gram @ basis)
    return basis @ rotation[:, -count:].flip(1), values[-count:].flip(0).clamp_min(0)


def _first_mode(data: Data) -> int:
    modes = range(len(data.shape)) if data.resident is not None else range(1, len(data.shape))
    return min(modes, key=lambda mode: data.shape[mode])


def _first_gram(data: Data, mode: int, *, exact: bool) -> Tensor:
    if mode == 0:
        assert data.resident is not None
        return as_double_gram(data.resident.reshape(data.shape[0], -1), exact=exact)
    gram = torch.zeros(data.shape[mode], data.shape[mode], dtype=torch.float64, device=data.device)
    for _, chunk in data.chunks():
        gram += _chunk_gram(chunk, mode, exact=exact)
    return gram


def _project(data: Data, mode: int, basis: Tensor, *, exact: bool) -> Tensor:
    """The data times the transposed basis; in float64 where `exact`."""
    if mode == 0 and not exact:
        assert data.resident is not None
        return _multiply(data.resident, 0, basis)
    if mode == 0:
        blocks = torch.split(data.resident.reshape(data.shape[0], -1), 2**20 // data.shape[0] + 1, dim=1)  # type: ignore[union-attr]
        return torch.cat([basis.T @ block.double() for block in blocks], dim=1).reshape(-1, *data.shape[1:])
    return torch.cat([_multiply(chunk.double() if exact else chunk, mode, basis) for _, chunk in data.chunks()])


def _chunk_gram(chunk: Tensor, mode: int, *, exact: bool) -> Tensor:
    """Gram matrix of an unfolding without copying it: one product for each entry of the modes before it."""
    if mode == 0:
        return as_double_gram(chunk.reshape(chunk.shape[0], -1), exact=exact)
    if mode == chunk.ndim - 1:
        return as_double_gram(chunk.reshape(-1, chunk.shape[-1]).T, exact=exact)
    blocks = chunk.reshape(-1, *chunk.shape[mode:]).flatten(2)
    wide = blocks.double() if exact else blocks
    return torch.bmm(wide, wide.mT).double().sum(dim=0)


def _multiply(tensor: Tensor, mode: int, basis: Tensor) -> Tensor:
    """Mode product with the transposed basis, in the tensor's precision."""
    small = basis.to(tensor.dtype)
    if mode == 0:
        return (small.T @ tensor.reshape(tensor.shape[0], -1)).reshape(small.shape[1], *tensor.shape[1:])
    if mode == tensor.ndim - 1:
        return tensor @ small
    blocks = tensor.reshape(-1, *tensor.shape[mode:]).flatten(2)
    return (small.T @ blocks).reshape(*tensor.shape[:mode], small.shape[1], *tensor.shape[mode + 1 :])
