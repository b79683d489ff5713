# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from group_weights import random, weights

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.measures import CyclicGroupTask, GiniEmbedding, GiniReadout, fourier_gini, gini, tokens_by_exponent
from lightning_interp.measures.fourier import fourier_basis


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fourier_gini_equals_the_gini_of_norms_written_out(dtype):
    table = random(7, 3).to(dtype)
    rows = fourier_basis(7) @ table.double()
    norms = torch.stack([(rows[2 * k - 1].square().sum() + rows[2 * k].square().sum()).sqrt() for k in (1, 2, 3)])
    assert fourier_gini(table).item() == pytest.approx(gini(norms).item(), abs=1e-14)


def test_fourier_gini_of_one_frequency_is_one_minus_one_over_frequencies():
    angle = 2 * torch.pi * 3 * torch.arange(23).double() / 23
    # 11 frequencies; rounding leaves 1e-16 of the signal in each of the other ten.
    assert fourier_gini(angle.cos()[:, None]).item() == pytest.approx(1 - 1 / 11, abs=1e-14)


def test_fourier_gini_ignores_shift_and_constant():
    table = random(23, 5)
    assert fourier_gini(table.roll(4, 0) + 9).item() == pytest.approx(fourier_gini(table).item(), abs=1e-13)


def test_gini_embedding_drops_the_extra_token(fake):
    values = GiniEmbedding(CyclicGroupTask(23, "add"))(fake(weights=weights()))
    assert values == {"gini_embedding": fourier_gini(weights()["embed.weight"][:23]).item()}


def test_gini_embedding_accepts_the_transposed_layout(fake):
    task = CyclicGroupTask(23, "add", embedding="embed.weight", unembedding="head.weight", mlp_out="none")
    turned = {name: tensor.T for name, tensor in weights().items()}
    assert GiniEmbedding(task)(fake(weights=turned)) == GiniEmbedding(task)(fake(weights=weights()))


def test_gini_embedding_orders_tokens_by_logarithm_for_products(fake):
    values = GiniEmbedding(CyclicGroupTask(23, "mul"))(fake(weights=weights()))
    table = weights()["embed.weight"][tokens_by_exponent(23, "mul")]
    assert values["gini_embedding"] == fourier_gini(table).item()


def test_gini_readout_is_of_unembedding_times_mlp_output(fake):
    found = weights()
    value = GiniReadout(CyclicGroupTask(23, "add"))(fake(weights=found))["gini_readout"]
    assert value == pytest.approx(fourier_gini(found["head.weight"] @ found["fc_out.weight"]).item(), abs=1e-14)


def test_gini_readout_accepts_the_transposed_layout(fake):
    task = CyclicGroupTask(23, "add", "embed.weight", "head.weight", "fc_out.weight")
    turned = {name: tensor.T for name, tensor in weights().items()}
    plain, other = (GiniReadout(task)(fake(weights=w))["gini_readout"] for w in (weights(), turned))
    assert other == pytest.approx(plain, abs=1e-14)


def test_gini_readout_without_an_mlp_is_of_the_unembedding(fake):
    found = {name: weights()[name] for name in ("embed.weight", "head.weight")}
    value = GiniReadout(CyclicGroupTask(23, "add"))(fake(weights=found))
    assert value == {"gini_readout": fourier_gini(found["head.weight"]).item()}


def test_gini_measures_skip_with_the_candidates_where_names_are_open(fake):
    observation = fake(weights={"a": random(23, 4), "b": random(23, 4)})
    with pytest.raises(MeasureSkipped, match=r"candidates: a \(23, 4\), b \(23, 4\)"):
        GiniEmbedding(CyclicGroupTask(23, "add"))(observation)


def test_gini_embedding_skips_weights_that_are_not_finite(fake):
    found = weights()
    found["embed.weight"][0, 0] = float("nan")
    with pytest.raises(MeasureSkipped, match="not finite"):
        GiniEmbedding(CyclicGroupTask(23, "add"))(fake(weights=found))
