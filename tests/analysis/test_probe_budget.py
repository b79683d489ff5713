# SPDX-License-Identifier: Apache-2.0
import torch

from lightning_interp.analysis.probe_budget import PROBE_SECONDS, cut_probe, cut_sizes
from lightning_interp.records import Probe, ProbeSplit


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


def test_cut_probe_keeps_the_first_examples():
    cut = cut_probe(PROBE, {"train": 5, "heldout": 2})
    assert [len(batch["x"]) for batch in cut.train.batches] == [4, 1]
    assert [len(batch["x"]) for batch in cut.heldout.batches] == [2]
    assert cut.train.indices == (0, 1, 2, 3, 4)


def test_cut_probe_leaves_tensors_that_are_not_per_example():
    batch = cut_probe(PROBE, {"train": 3}).train.batches[0]
    assert (batch["scale"].ndim, len(batch["table"])) == (0, 9)


def test_cut_probe_without_sizes_changes_nothing():
    assert cut_probe(PROBE, {}).train is PROBE.train
