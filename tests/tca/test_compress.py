# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.tca import source
from lightning_interp.tca.compress import compress, leading_eigenvectors
from lightning_interp.tca.source import Data

SHAPES = [((6, 7, 8), (3, 4, 5)), ((9, 4, 5), (3, 4, 2)), ((4, 5, 6, 3), (2, 3, 3, 2)), ((1, 5, 6), (1, 3, 3))]


def unfold(tensor, mode):
    return tensor.movedim(mode, 0).reshape(tensor.shape[mode], -1)


def expand(core, bases):
    for mode, basis in enumerate(bases):
        core = torch.tensordot(core, basis, dims=([mode], [1])).movedim(-1, mode)
    return core


def slow_sequential_hosvd(tensor, ranks, first):
    """Singular vectors of one unfolding after the other, `first` first, then by size; returns the projected tensor."""
    order = [first, *sorted((m for m in range(tensor.ndim) if m != first), key=lambda m: tensor.shape[m])]
    core, bases = tensor, {}
    for mode in order:
        bases[mode] = torch.linalg.svd(unfold(core, mode), full_matrices=False).U[:, : ranks[mode]]
        core = torch.tensordot(core, bases[mode], dims=([mode], [0])).movedim(-1, mode)
    return expand(core, [bases[mode] for mode in range(tensor.ndim)])


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("shape", "ranks"), SHAPES)
@pytest.mark.parametrize("streamed", [False, True])
def test_compress_is_the_sequentially_truncated_hosvd(planted, shape, ranks, streamed):
    tensor = random(shape)
    modes = range(1, len(shape)) if streamed else range(len(shape))
    slow = slow_sequential_hosvd(tensor, ranks, min(modes, key=lambda mode: shape[mode]))
    found = compress(Data(planted.CountingSource(tensor) if streamed else tensor, device="cpu"), ranks)
    # projections onto the same subspaces; Gram matrices lose half of float64's 16 digits only for tiny singular values
    torch.testing.assert_close(expand(found.core, found.bases), slow, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("shape", "ranks"), SHAPES)
def test_compress_error_is_within_root_n_of_every_mode_truncated_alone(shape, ranks):
    tensor = random(shape)
    found = compress(Data(tensor, device="cpu"), ranks)
    # sum over modes of the energy beyond the rank bounds the squared error (Vannieuwenhoven et al. 2012, theorem 6.5)
    beyond = sum(float(torch.linalg.svdvals(unfold(tensor, mode))[rank:].square().sum()) for mode, rank in enumerate(ranks))
    assert float((tensor - expand(found.core, found.bases)).square().sum()) <= beyond * (1 + 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compress_to_full_size_loses_nothing(dtype):
    tensor = random((6, 7, 8), dtype=dtype)
    found = compress(Data(tensor, device="cpu"), (6, 7, 8), exact=True)
    # the core is made in the tensor's precision: float32 rounds each of three products
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(expand(found.core, found.bases), tensor.double(), rtol=0, atol=tolerance)


def test_compress_bases_are_orthonormal():
    for basis in compress(Data(random((6, 7, 8)), device="cpu"), (3, 4, 5)).bases:
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), rtol=0, atol=1e-12)


def test_compress_knows_the_error_of_models_in_its_spans(planted):
    tensor = random((6, 7, 8))
    found = compress(Data(tensor, device="cpu"), (3, 4, 5))
    inside = [random((size, 2), seed) for seed, size in enumerate(found.ranks)]
    outside = [basis @ factor for basis, factor in zip(found.bases, inside, strict=True)]
    weights = torch.tensor([2.0, 0.5], dtype=torch.float64)
    direct = float((tensor - planted.full(weights, outside)).square().sum())
    in_core = float((found.core - planted.full(weights, inside)).square().sum())
    assert found.norm2 - float(found.core.square().sum()) + in_core == pytest.approx(direct, rel=1e-12)


def test_leading_is_the_block_of_strongest_directions():
    found = compress(Data(random((6, 7, 8)), device="cpu"), (5, 6, 7)).leading((2, 3, 4))
    direct = torch.einsum("ijk,ia,jb,kc->abc", random((6, 7, 8)), *found.bases)
    torch.testing.assert_close(found.core, direct, rtol=0, atol=1e-12)
    assert [tuple(basis.shape) for basis in found.bases] == [(6, 2), (7, 3), (8, 4)]


def test_compress_spectrum_of_the_first_mode_is_its_squared_singular_values():
    tensor = random((6, 7, 8))
    expected = torch.linalg.svdvals(unfold(tensor, 0)).square()
    torch.testing.assert_close(compress(Data(tensor, device="cpu"), (4, 4, 4)).spectra[0], expected[:4])


def test_compress_spectra_descend():
    for spectrum in compress(Data(random((6, 7, 8)), device="cpu"), (6, 7, 8)).spectra:
        assert bool((spectrum.diff() <= 0).all())


def test_compress_takes_two_passes(planted):
    counting = planted.CountingSource(random((6, 7, 8)))
    data = Data(counting, device="cpu")
    counting.reads.clear()
    compress(data, (3, 4, 5))
    assert counting.passes == 2


def test_compress_reads_no_more_than_a_chunk_at_a_time(planted, monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", 1)
    counting = planted.CountingSource(random((6, 7, 8)))
    compress(Data(counting, device="cpu"), (3, 4, 5))
    assert {stop - start for start, stop in counting.reads} == {1}


@pytest.mark.parametrize("exact", [False, True])
def test_compress_does_not_depend_on_the_chunks(planted, monkeypatch, exact):
    tensor = random((6, 7, 8))
    whole = compress(Data(planted.CountingSource(tensor), device="cpu"), (3, 4, 5), exact=exact)
    monkeypatch.setattr(source, "CHUNK_BYTES", 1)
    single = compress(Data(planted.CountingSource(tensor), device="cpu"), (3, 4, 5), exact=exact)
    torch.testing.assert_close(expand(whole.core, whole.bases), expand(single.core, single.bases), rtol=0, atol=1e-12)


def test_compress_exact_sees_directions_that_float32_gram_matrices_lose():
    # singular values 1 and 1e-5: the square of their ratio, 1e-10, drowns in float32 but not in products in float64
    ends = [torch.linalg.qr(random((size, 2), seed)).Q for seed, size in enumerate((20, 30, 40))]
    tensor = sum(scale * torch.einsum("i,j,k->ijk", *[end[:, n] for end in ends]) for n, scale in enumerate((1, 1e-5)))
    found = compress(Data(tensor.float(), device="cpu"), (2, 2, 2), exact=True)
    for basis, end in zip(found.bases, ends, strict=True):
        # the float32 entries carry rounding of 6e-8 * 1e-2 each, against a component of 1e-5: cosines of .99 and more
        assert float((basis[:, 1] @ end[:, 1]).abs()) > 0.99


@pytest.mark.parametrize("size", [40, 300])  # diagonalized, and found by subspace iteration
def test_leading_eigenvectors_are_those_of_eigh(size):
    basis = torch.linalg.qr(random((size, size))).Q
    values = torch.cat([torch.tensor([9.0, 5.0, 2.0]), torch.full((size - 3,), 0.01)]).double()
    gram = (basis * values) @ basis.T
    vectors, found = leading_eigenvectors(gram, 3)
    torch.testing.assert_close(found, values[:3], rtol=1e-8, atol=0)
    # four rounds of two products: (0.01 / 2) ** 8 is left of the rest
    torch.testing.assert_close((vectors.T @ basis[:, :3]).abs(), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-8)


def test_leading_eigenvectors_of_a_large_matrix_of_low_rank_are_orthonormal():
    half = random((300, 2))
    vectors, values = leading_eigenvectors(half @ half.T, 6)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-10)
    assert bool((values >= 0).all())
