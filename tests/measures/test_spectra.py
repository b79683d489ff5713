# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.measures import (
    ActivationSpectra,
    WeightSpectra,
    effective_rank,
    participation_ratio,
    spectral_ranks,
    squared_singular_values,
    stable_rank,
)
from lightning_interp.measures import spectra as spectra_module


def random_matrix(rows, columns, *, seed=0, dtype=torch.float64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_squared_singular_values_equal_those_of_an_svd(shape, dtype):
    matrix = random_matrix(*shape, dtype=dtype)
    slow = torch.linalg.svdvals(matrix.double()).square()
    # Eigenvalues of the Gram matrix are exact to a few 1e-16 of the largest, which is about 20 here.
    torch.testing.assert_close(squared_singular_values(matrix), slow, rtol=0, atol=1e-13)


def test_squared_singular_values_do_not_depend_on_blocks(monkeypatch):
    matrix = random_matrix(50, 6)
    whole = squared_singular_values(matrix)
    monkeypatch.setattr(spectra_module, "GRAM_ROWS", 7)
    # Another order of 50 additions, values of order 100.
    torch.testing.assert_close(squared_singular_values(matrix), whole, rtol=1e-13, atol=0)


def test_squared_singular_values_refuse_a_matrix_too_large(monkeypatch):
    monkeypatch.setattr(spectra_module, "MAX_SIDE", 3)
    with pytest.raises(ShapeError, match=r"short side of `matrix` must be 1 \.\. 3, got \(4, 5\)"):
        squared_singular_values(torch.ones(4, 5))


@pytest.mark.parametrize("rank", [effective_rank, stable_rank, participation_ratio])
def test_ranks_count_equal_directions(rank):
    squares = torch.tensor([2.5] * 6 + [0.0] * 4, dtype=torch.float64)
    # exp and log of order 1 numbers: rounding of order 1e-15.
    assert rank(squares).item() == pytest.approx(6, rel=1e-14)


def test_effective_rank_is_the_exponential_entropy_of_energies():
    squares = torch.tensor([4.0, 1.0], dtype=torch.float64)
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert effective_rank(squares).item() == pytest.approx(math.exp(entropy), rel=1e-14)


def test_stable_rank_is_frobenius_over_spectral_norm_squared():
    matrix = random_matrix(5, 3)
    slow = matrix.square().sum() / torch.linalg.matrix_norm(matrix, 2) ** 2
    assert stable_rank(squared_singular_values(matrix)).item() == pytest.approx(slow.item(), rel=1e-13)


def test_participation_ratio_equals_the_trace_form():
    gram = random_matrix(5, 3).T @ random_matrix(5, 3)
    slow = gram.trace() ** 2 / (gram @ gram).trace()
    assert participation_ratio(squared_singular_values(random_matrix(5, 3))).item() == pytest.approx(slow.item(), rel=1e-13)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_spectral_ranks_are_ordered_and_scale_invariant(rows, columns, seed, scale):
    matrix = random_matrix(rows, columns, seed=seed)
    ranks, scaled = spectral_ranks(matrix), spectral_ranks(scale * matrix)
    # Rényi entropies fall with their order: 1, 2, infinity. Slack for rounding only.
    slack = 1 + 1e-12
    assert ranks["stable_rank"] <= ranks["participation_ratio"] * slack <= ranks["effective_rank"] * slack**2
    assert scaled == pytest.approx(ranks, rel=1e-9)


def test_spectral_ranks_of_a_zero_matrix_are_absent():
    assert spectral_ranks(torch.zeros(3, 3)) == {}


def test_weight_spectra_decompose_each_matrix_once(fake, monkeypatch):
    calls = []
    plain = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda gram: calls.append(gram.shape) or plain(gram))
    WeightSpectra()(fake(weights={"a": random_matrix(4, 3), "b": random_matrix(3, 5)}))
    assert calls == [(3, 3), (3, 3)]


def test_weight_spectra_mean_is_over_matrices(fake):
    values = WeightSpectra()(fake(weights={"a": torch.eye(4), "b": torch.eye(2), "bias": torch.ones(3)}))
    # Ranks 4 and 2.
    assert values["effective_rank"] == pytest.approx(3, rel=1e-14)
    assert {key for key in values if key.startswith("stable_rank/")} == {"stable_rank/a", "stable_rank/b"}


def test_weight_spectra_flatten_convolutions_to_out_by_rest(fake):
    kernel = random_matrix(4, 18).reshape(4, 2, 3, 3)
    values = WeightSpectra()(fake(weights={"conv": kernel}))
    assert values["effective_rank/conv"] == spectral_ranks(kernel.reshape(4, 18))["effective_rank"]


def test_weight_spectra_leave_out_single_rows_and_zero_matrices(fake):
    weights = {"row": torch.ones(1, 5), "zero": torch.zeros(3, 3), "w": torch.eye(3)}
    assert WeightSpectra()(fake(weights=weights))["stable_rank"] == pytest.approx(3, rel=1e-14)


def test_weight_spectra_skip_with_the_limit_where_all_are_too_large(fake, monkeypatch):
    monkeypatch.setattr(spectra_module, "MAX_SIDE", 2)
    with pytest.raises(MeasureSkipped, match="exceed 2"):
        WeightSpectra()(fake(weights={"w": torch.eye(3)}))


def test_weight_spectra_skip_without_matrices(fake):
    with pytest.raises(MeasureSkipped, match="no selected parameter is a matrix"):
        WeightSpectra()(fake(weights={"bias": torch.ones(3)}))


def test_activation_spectra_equal_those_of_the_covariance(fake):
    activations = random_matrix(30, 5, dtype=torch.float32) + 7
    values = ActivationSpectra()(fake(layer_values={"mlp": activations}))
    eigenvalues = torch.linalg.eigvalsh(torch.cov(activations.double().T))
    slow = eigenvalues.sum() ** 2 / eigenvalues.square().sum()
    # Both in float64 from the same float32 numbers; centring removes 7 from numbers of order 1, so 1e-15 relative.
    assert values["participation_ratio/mlp"] == pytest.approx(slow.item(), rel=1e-12)


def test_activation_spectra_leave_out_a_constant_layer(fake):
    layers = {"constant": torch.full((9, 4), 0.1), "mlp": random_matrix(9, 4)}
    values = ActivationSpectra()(fake(layer_values=layers))
    assert {key.split("/")[1] for key in values} == {"mlp"}


def test_activation_spectra_pass_on_why_no_layer_has_values(fake):
    with pytest.raises(MeasureSkipped, match="gelu cannot be hooked"):
        ActivationSpectra()(fake(layer_values={"gelu": torch.empty(0, 0)}))
