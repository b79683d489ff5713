# SPDX-License-Identifier: Apache-2.0
"""The demo's network and data: the split leaks nothing, random streams are left alone, the network learns."""

import random
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from lightning_interp.core.errors import ConfigError
from lightning_interp.demo import ModularAddition, ModularAdditionData
from lightning_interp.demo.data import collate_pairs, modular_addition_table, ordered_split, unordered_split

P = 11


def pairs_of(tokens: torch.Tensor) -> set[tuple[int, int]]:
    return {(a, b) for a, b, _ in tokens.tolist()}


def test_table_answers_are_sums_modulo_p() -> None:
    tokens, answers = modular_addition_table(P)
    assert all((a + b) % P == c and equals == P for (a, b, equals), c in zip(tokens.tolist(), answers.tolist(), strict=True))


def test_split_keeps_mirror_pairs_together() -> None:
    data = ModularAdditionData(P, fraction=0.4, seed=3)
    train = pairs_of(data.train_set.tensors[0])
    assert {(b, a) for a, b in train} == train


def test_split_covers_every_pair_once() -> None:
    data = ModularAdditionData(P, fraction=0.4, seed=3)
    train, heldout = pairs_of(data.train_set.tensors[0]), pairs_of(data.heldout_set.tensors[0])
    assert len(train) + len(heldout) == len(data.train_set) + len(data.heldout_set) == P * P
    assert not train & heldout


@pytest.mark.parametrize("fraction", [0.3, 0.4, 0.6])
def test_split_takes_the_fraction_of_unordered_pairs(fraction: float) -> None:
    table = unordered_split(P, fraction=fraction, seed=0).reshape(P, P)
    assert int(table.triu().sum()) == round(fraction * P * (P + 1) / 2)


def test_split_is_decided_by_the_seed() -> None:
    first, again, other = (unordered_split(P, fraction=0.4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_data_draws_from_no_global_stream() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    ModularAdditionData(P, fraction=0.4, seed=3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_data_rejects_a_fraction_outside_0_and_1() -> None:
    with pytest.raises(ConfigError, match="`fraction` must lie between 0 and 1, got 1"):
        ModularAdditionData(P, fraction=1.0)


def test_training_batch_is_the_whole_training_set() -> None:
    data = ModularAdditionData(P, fraction=0.4, steps_per_epoch=3)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert all(torch.equal(tokens, data.train_set.tensors[0]) for tokens, _ in batches)


def test_batch_equals_collated_examples() -> None:
    data = ModularAdditionData(P)
    examples = [data.train_set[2], data.train_set[5]]
    expected = default_collate(examples)
    stacked = collate_pairs(data.train_set.__getitems__([2, 5]))
    for batch in (stacked, collate_pairs(examples)):
        assert all(torch.equal(one, other) for one, other in zip(batch, expected, strict=True))


def test_attention_equals_full_attention_at_the_last_position() -> None:
    torch.manual_seed(0)
    attention = ModularAddition(P, d_model=8, n_heads=2).attention.double()
    stream = torch.randn(5, 3, 8, dtype=torch.float64)
    query, key, value = (
        layer(stream).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (attention.query, attention.key, attention.value)
    )
    full = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    # the same sums in another order, in float64 with values of order 1
    torch.testing.assert_close(attention(stream), attention.out(full)[:, -1], rtol=1e-12, atol=1e-12)


def test_group_matrices_have_shapes_of_their_own() -> None:
    shapes = [tuple(parameter.shape) for parameter in ModularAddition(P, d_model=8).parameters()]
    assert shapes.count((P + 1, 8)) == shapes.count((P, 8)) == shapes.count((8, 32)) == 1


def test_learning_rate_warms_up_linearly() -> None:
    configured = ModularAddition(P, lr=1.0, warmup_steps=4).configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(6):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_network_memorizes_the_training_pairs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ModularAddition(P, d_model=16, lr=1e-2, weight_decay=0.0)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=200,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=ModularAdditionData(P, fraction=0.5))
    assert trainer.callback_metrics["train_accuracy"] == 1.0
    assert "val_loss" in trainer.callback_metrics


def test_ordered_split_separates_mirror_images():
    table = ordered_split(P, fraction=0.4, seed=0).reshape(P, P)
    assert table.sum() == round(0.4 * P * P)
    assert (table != table.T).any()


def test_data_refuses_an_unknown_split():
    with pytest.raises(ConfigError, match="`split` must be one of unordered, ordered, got 'mirror'"):
        ModularAdditionData(P, split="mirror")
