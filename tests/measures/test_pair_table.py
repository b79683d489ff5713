# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.measures import CyclicGroupTask, pair_table, tokens_by_exponent


def observation_of(build, task, *, share=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(task.p**2, task.p + 1, generator=generator)
    train = build["random_split"](task, share=share, seed=seed)
    return build["observe"](task, logits, train), logits, train


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_pair_table_rows_are_the_logits_of_their_pair(build, op):
    task = CyclicGroupTask(7, op)
    observation, logits, train = observation_of(build, task)
    table, tokens = pair_table(observation, task), tokens_by_exponent(7, op)
    rows = tokens[table.first] * 7 + tokens[table.second]
    assert torch.equal(table.logits, logits[rows][:, tokens].double())
    assert torch.equal(table.train, train[rows])
    assert torch.equal(table.label, table.target)
    assert len(rows.unique()) == task.order**2


def test_pair_table_reads_the_declared_columns(build):
    task = CyclicGroupTask(7, "sub", operands=(2, 0))
    observation, *_ = observation_of(build, CyclicGroupTask(7, "sub"))
    for split, tokens in observation.split_inputs.items():
        observation.split_inputs[split] = torch.stack([tokens[:, 1], tokens[:, 2], tokens[:, 0]], dim=1)
    assert torch.equal(pair_table(observation, task).label, pair_table(observation, task).target)


def test_pair_table_counts_a_pair_in_both_splits_as_trained(build):
    task = CyclicGroupTask(5, "add")
    observation, logits, train = observation_of(build, task)
    everything = build["observe"](task, logits, torch.ones_like(train))
    observation.split_inputs["train"] = everything.split_inputs["train"]
    observation.split_outputs["train"] = everything.split_outputs["train"]
    table = pair_table(observation, task)
    assert table.coverage == 1
    assert table.train.all()


def test_heldout_mirror_free_excludes_pairs_trained_in_reverse(build):
    task = CyclicGroupTask(7, "add")
    observation, _, train = observation_of(build, task)
    table = pair_table(observation, task)
    grid = train.reshape(7, 7)
    slow = ~grid & ~grid.T
    assert torch.equal(table.heldout(mirror_free=True), slow[table.first, table.second])


def test_pair_table_refuses_targets_of_another_operation(build):
    observation, *_ = observation_of(build, CyclicGroupTask(7, "add"))
    with pytest.raises(MeasureSkipped, match=r"only \d+% of the probe's targets are a sub b mod 7: check p, op"):
        pair_table(observation, CyclicGroupTask(7, "sub"))


def test_pair_table_allows_noisy_labels(build):
    task = CyclicGroupTask(7, "add")
    observation, *_ = observation_of(build, task)
    observation.split_outputs["train"].targets[:3] = 0
    table = pair_table(observation, task)
    assert 0 < int((table.label != table.target).sum()) <= 3


def test_pair_table_refuses_tokens_outside_the_group(build):
    observation, *_ = observation_of(build, CyclicGroupTask(7, "add"))
    with pytest.raises(MeasureSkipped, match=r"must cover 0 \.\. 6: operands and targets lie in 0 \.\. 7"):
        pair_table(observation, CyclicGroupTask(7, "add", operands=(0, 2)))


def test_pair_table_refuses_inputs_without_the_columns(build):
    observation, *_ = observation_of(build, CyclicGroupTask(7, "add"))
    with pytest.raises(MeasureSkipped, match=r"reads columns \(0, 5\) of token inputs"):
        pair_table(observation, CyclicGroupTask(7, "add", operands=(0, 5)))


def test_key_freqs_skip_where_answers_have_no_pair(build):
    task = CyclicGroupTask(7, "add")
    observation, *_ = observation_of(build, task, share=0.95)
    table = pair_table(observation, task)
    with pytest.raises(MeasureSkipped, match=r"key frequencies: \d of 7 answers have no pair"):
        table.key_freqs(among=table.heldout(mirror_free=True))


def test_pair_table_skips_a_probe_without_examples(fake):
    with pytest.raises(MeasureSkipped, match="no pairs of the task"):
        pair_table(fake(), CyclicGroupTask(7, "add"))


def test_pair_table_refuses_inputs_that_are_not_tokens(build):
    task = CyclicGroupTask(7, "add")
    observation, *_ = observation_of(build, task)
    observation.split_inputs["train"] = observation.split_inputs["train"].float()
    with pytest.raises(MeasureSkipped, match=r"train inputs are \(\d+, 3\) of torch\.float32"):
        pair_table(observation, task)
