# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lightning_interp.capture import is_map_style, shared_examples
from lightning_interp.capture.sampled_indices import sampled_indices
from lightning_interp.core.records import ProbeSplit
from lightning_interp.demo.data import FullBatchSampler

DATA = TensorDataset(torch.arange(10))
SUBSET = SubsetRandomSampler([4, 2, 9])


class Some(Sampler[int]):
    """A sampler of one's own: so many indices, who knows which."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Any:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


class Endless(Sampler[int]):
    """A sampler without a length."""

    def __iter__(self) -> Any:
        while True:
            yield 0


def drawn(**options: Any) -> list[int] | None:
    found = sampled_indices(DataLoader(DATA, **options))
    return None if found is None else list(found)


@pytest.mark.parametrize(
    "sampler",
    [
        SequentialSampler(DATA),
        RandomSampler(DATA),
        RandomSampler(DATA, replacement=True, num_samples=3),
        DistributedSampler(DATA, num_replicas=3, rank=1),
        WeightedRandomSampler([1.0] * 10, 2),
        FullBatchSampler(10, 5),
        Some(10),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_drawn_indices_are_all_of_the_data_set(sampler: Any) -> None:
    assert drawn(sampler=sampler, batch_size=4) == list(range(10))


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": SUBSET},
        {"sampler": SUBSET, "batch_size": None},
        {"batch_sampler": BatchSampler(SUBSET, 2, drop_last=False)},
        {"sampler": DistributedSamplerWrapper(SUBSET, num_replicas=2, rank=0)},
    ],
    ids=["sampler", "no batches", "batch sampler", "distributed"],
)
def test_drawn_indices_are_those_of_a_subset_sampler(options: dict[str, Any]) -> None:
    assert drawn(**options) == [2, 4, 9]


def test_drawn_indices_leave_out_examples_of_no_weight() -> None:
    assert drawn(sampler=WeightedRandomSampler([0.0] * 8 + [1.0, 2.0], 4)) == [8, 9]


def test_drawn_indices_are_those_of_a_shorter_data_source() -> None:
    assert drawn(sampler=SequentialSampler(range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize("sampler", [Some(5), Endless()], ids=["short", "endless"])
def test_drawn_indices_are_unknown_of_other_samplers(sampler: Any) -> None:
    loader = DataLoader(DATA, sampler=sampler)
    assert sampled_indices(loader) is None
    assert not is_map_style(loader)


@pytest.mark.parametrize(("count", "known"), [(3, True), (1, False)])
def test_drawn_indices_of_a_batch_sampler_need_enough_batches(count: int, known: bool) -> None:
    sampler = Some(count)
    sampler.batch_size = 4
    # Two batches of four, and a dropped one of two, are the ten examples; one batch is not.
    assert (drawn(batch_sampler=sampler) is not None) == known


def test_drawn_indices_are_unknown_of_a_batch_sampler_without_a_size() -> None:
    assert drawn(batch_sampler=Some(100)) is None


def test_drawn_indices_of_a_fixed_order_end_with_the_batches_taken() -> None:
    loader = DataLoader(DATA, batch_size=3)
    assert list(sampled_indices(loader, most_batches=2)) == list(range(6))
    assert list(sampled_indices(loader, most_batches=float("inf"))) == list(range(10))


def test_drawn_indices_of_a_shuffled_order_do_not() -> None:
    assert len(sampled_indices(DataLoader(DATA, batch_size=3, shuffle=True), most_batches=1)) == 10


def split_of(*indices: int) -> ProbeSplit:
    return ProbeSplit((), indices)


def test_shared_examples_counts_overlap_of_one_data_set() -> None:
    train = DataLoader(Subset(DATA, [0, 1, 2]))
    assert shared_examples(train, DataLoader(Subset(DATA, [2, 3])), split_of(0, 1)) == 1
    assert shared_examples(train, DataLoader(DATA, sampler=SUBSET), split_of(2, 4, 9)) == 1
    assert shared_examples(train, DataLoader(TensorDataset(torch.arange(3))), split_of(0, 1, 2)) == 0
