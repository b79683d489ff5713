# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from group_weights import random, weights

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.measures import (
    CyclicGroupTask,
    FourierPowerEmbedding,
    FourierPowerReadout,
    frequency_shares,
    tokens_by_exponent,
)
from lightning_interp.measures.fourier import fourier_basis


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frequency_shares_equal_the_powers_written_out(dtype):
    table = random(7, 3).to(dtype)
    rows = (fourier_basis(7) @ table.double()).square().sum(1)
    power = torch.stack([rows[2 * k - 1] + rows[2 * k] for k in (1, 2, 3)])
    # Seven float64 products to a sum
    assert torch.allclose(frequency_shares(table), power / power.sum(), rtol=1e-14, atol=0)


def test_frequency_shares_find_the_frequencies_of_a_table():
    angle = 2 * torch.pi * torch.arange(23).double()[:, None] / 23
    table = torch.cat([3 * (4 * angle).cos(), 5 + (9 * angle).sin()], dim=1)
    expected = torch.zeros(11, dtype=torch.float64)
    expected[3], expected[8] = 0.9, 0.1
    assert torch.allclose(frequency_shares(table), expected, rtol=0, atol=1e-14)


def test_frequency_shares_of_an_even_order_end_in_the_alternating_row():
    table = torch.tensor([1.0, -1.0]).repeat(5)[:, None]
    assert torch.allclose(frequency_shares(table), torch.eye(5, dtype=torch.float64)[4], rtol=0, atol=1e-14)


def test_frequency_shares_ignore_shift_scale_and_constant():
    table = random(23, 5)
    assert torch.allclose(frequency_shares(1e3 * table.roll(4, 0) + 9), frequency_shares(table), rtol=1e-9, atol=0)


@pytest.mark.parametrize("table", [torch.zeros(7, 3), torch.full((7, 3), 0.1)])
def test_frequency_shares_skip_rows_that_are_equal(table):
    with pytest.raises(MeasureSkipped, match="no frequency has any power"):
        frequency_shares(table)


def test_fourier_power_embedding_drops_the_extra_token(fake):
    found = FourierPowerEmbedding(CyclicGroupTask(23, "add"))(fake(weights=weights()))["fourier_power_embedding"]
    assert torch.equal(found, frequency_shares(weights()["embed.weight"][:23]))


def test_fourier_power_embedding_orders_tokens_by_logarithm_for_products(fake):
    found = FourierPowerEmbedding(CyclicGroupTask(23, "mul"))(fake(weights=weights()))["fourier_power_embedding"]
    assert torch.equal(found, frequency_shares(weights()["embed.weight"][tokens_by_exponent(23, "mul")]))


def test_fourier_power_readout_is_of_unembedding_times_mlp_output(fake):
    found = FourierPowerReadout(CyclicGroupTask(23, "add"))(fake(weights=weights()))["fourier_power_readout"]
    table = weights()["head.weight"] @ weights()["fc_out.weight"]
    assert torch.allclose(found, frequency_shares(table), rtol=1e-13, atol=0)


def test_fourier_power_skips_weights_that_are_not_finite(fake):
    found = weights()
    found["embed.weight"][0, 0] = float("nan")
    with pytest.raises(MeasureSkipped, match="not finite"):
        FourierPowerEmbedding(CyclicGroupTask(23, "add"))(fake(weights=found))
