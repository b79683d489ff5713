# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from batch_kinds import MAKES, Graph
from torch.nn.utils.rnn import pack_sequence

from lightning_interp.analysis.probe_budget import PROBE_SECONDS, cut_loaders, cut_probe, cut_sizes
from lightning_interp.core.records import Probe, ProbeSplit


def split(*sizes: int) -> ProbeSplit:
    batches = tuple({"x": torch.zeros(size, 2), "scale": torch.tensor(1.0), "table": torch.zeros(9)} for size in sizes)
    return ProbeSplit(batches, tuple(range(sum(sizes))))


PROBE = Probe(split(4, 4, 2), split(4))


def test_cut_sizes_leaves_a_fast_probe_whole():
    assert cut_sizes(PROBE, PROBE_SECONDS) == {}


def test_cut_sizes_are_in_proportion_to_the_time():
    assert cut_sizes(PROBE, 2 * PROBE_SECONDS) == {"train": 5, "heldout": 2}


def test_cut_sizes_keep_one_example_at_least():
    assert cut_sizes(PROBE, 1000 * PROBE_SECONDS) == {"train": 1, "heldout": 1}


FURTHER = Probe(split(4), split(4), loaders={"day": split(10), "night": split(20)})


def test_cut_loaders_leaves_fast_loaders_whole_and_the_splits_alone():
    assert cut_loaders(FURTHER, {"heldout/day": 2.0, "heldout/night": 2.0}) == {}
    assert cut_sizes(FURTHER, 2 * PROBE_SECONDS) == {"train": 2, "heldout": 2}


def test_cut_loaders_together_take_the_time_of_one_pass():
    assert cut_loaders(FURTHER, {"heldout/day": 5.0, "heldout/night": 15.0}) == {"heldout/day": 2, "heldout/night": 5}


def test_a_loader_without_outputs_is_left_out():
    sizes = cut_loaders(FURTHER, {"heldout/day": 1.0})
    assert sizes == {"heldout/night": 0}
    assert list(cut_probe(FURTHER, sizes).loaders) == ["day"]


def numbered(*sizes: int) -> ProbeSplit:
    batches = torch.arange(sum(sizes)).split(list(sizes))
    return ProbeSplit(batches, tuple(range(sum(sizes))))


def test_cut_probe_keeps_one_example_of_each_equal_stretch():
    cut = cut_probe(Probe(numbered(40, 40, 20)), {"train": 10}).train
    kept = torch.cat(cut.batches)
    assert (kept // 10).tolist() == list(range(10))
    assert cut.indices == tuple(kept.tolist())


def test_cut_probe_is_deterministic():
    cuts = [cut_probe(Probe(numbered(30)), {"train": 7}).train.indices for _ in range(2)]
    assert cuts[0] == cuts[1]


def test_cut_probe_keeps_classes_that_alternate():
    # Every tenth example of period ten would be one class; 100 of 1,000 miss one of ten with probability 10 * 0.9^100.
    cut = cut_probe(Probe(numbered(1_000)), {"train": 100}).train
    assert len(set((cut.batches[0] % 10).tolist())) == 10


def test_cut_probe_leaves_out_batches_nothing_is_kept_of():
    cut = cut_probe(Probe(numbered(*[1] * 10)), {"train": 2}).train
    assert [len(batch) for batch in cut.batches] == [1, 1]


def test_cut_probe_keeps_the_indices_of_items_that_are_batches():
    split = ProbeSplit((torch.zeros(4), torch.ones(4)), (10, 11))
    assert cut_probe(Probe(split), {"train": 2}).train.indices == (10, 11)


def test_cut_probe_keeps_a_short_split_whole():
    assert cut_probe(PROBE, {"heldout": 9}).heldout is PROBE.heldout


def test_cut_probe_leaves_tensors_that_are_not_per_example():
    batch = cut_probe(PROBE, {"train": 3}).train.batches[0]
    assert (batch["scale"].ndim, len(batch["table"])) == (0, 9)


def test_cut_probe_without_sizes_changes_nothing():
    assert cut_probe(PROBE, {}).train is PROBE.train


@pytest.mark.parametrize("kind", MAKES)
def test_cut_probe_cuts_batches_of_every_kind(kind):
    x, y = torch.arange(24.0).reshape(12, 2), torch.arange(12)
    given = Probe(ProbeSplit((MAKES[kind](x[:8], y[:8]), MAKES[kind](x[8:], y[8:])), tuple(range(12))))
    cut = cut_probe(given, {"train": 6}).train
    assert [type(batch) for batch in cut.batches] == [type(batch) for batch in given.train.batches]
    assert torch.cat([batch.y for batch in cut.batches]).tolist() == list(cut.indices)
    assert len(cut.indices) == 6


def test_cut_probe_keeps_batches_that_cannot_be_cut_as_a_whole():
    packed = [pack_sequence([torch.full((2,), float(3 * number + k)) for k in range(3)]) for number in range(8)]
    cut = cut_probe(Probe(ProbeSplit(tuple(packed), tuple(range(24)))), {"train": 12}).train
    assert 4 <= len(cut.batches) <= 5
    assert cut.indices == tuple(int(value) for batch in cut.batches for value in batch.data[:3])


def test_cut_probe_of_one_graph_is_that_graph():
    graph = Graph(x=torch.zeros(5, 2), edge_index=torch.zeros(2, 9, dtype=torch.long))
    assert cut_probe(Probe(ProbeSplit((graph,), (0,))), {"train": 1}).train.batches == (graph,)
