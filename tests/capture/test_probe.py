# SPDX-License-Identifier: Apache-2.0
import functools
import random

import numpy as np
import pytest
import torch
from batch_kinds import Graph
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from lightning_interp.capture import build_probe, is_map_style
from lightning_interp.capture.probe import SAMPLED_EXAMPLES, WHOLE_SPLIT_EXAMPLES, choose_indices, readable_labels

MANY = WHOLE_SPLIT_EXAMPLES + 100


class Numbers(Dataset):
    """Item i is the number i; a hundred of them unless said."""

    def __init__(self, count: int = 100) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


class Labelled(Numbers):
    """Numbers whose labels lie beside them."""

    def __init__(self, targets: object) -> None:
        super().__init__(len(targets))
        self.targets = targets


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(3)


def pairs(tokens: list[list[int]], labels: list[int]) -> TensorDataset:
    return TensorDataset(torch.tensor(tokens), torch.tensor(labels))


def loader(dataset: Dataset, **options: object) -> DataLoader:
    return DataLoader(dataset, **{"batch_size": 32, **options})


def test_build_probe_takes_a_small_split_whole_in_order():
    probe = build_probe(loader(Numbers(100), shuffle=True), None)
    assert torch.cat(probe.train.batches).tolist() == list(range(100)) == list(probe.train.indices)


def test_build_probe_keeps_the_loaders_batch_size():
    assert [len(batch) for batch in build_probe(loader(Numbers(70)), None).train.batches] == [32, 32, 6]


def test_build_probe_has_no_heldout_split_without_a_loader():
    assert build_probe(loader(Numbers()), None).heldout is None


def test_build_probe_reads_heldout_examples():
    probe = build_probe(loader(Numbers()), loader(Numbers(5)))
    assert probe.heldout.indices == (0, 1, 2, 3, 4)


def test_choose_indices_takes_the_largest_split_that_fits_whole():
    assert len(choose_indices(Numbers(WHOLE_SPLIT_EXAMPLES))) == WHOLE_SPLIT_EXAMPLES


def test_choose_indices_samples_distinct_examples_of_a_larger_split():
    chosen = choose_indices(Numbers(MANY))
    assert len(set(chosen)) == SAMPLED_EXAMPLES
    assert chosen == sorted(chosen)


def test_choose_indices_samples_where_examples_are_large():
    # 1,000 examples of 2^17 bytes are 125 MB, over the 64 MB of a whole split.
    assert len(choose_indices(TensorDataset(torch.zeros(1).expand(1_000, 2**15)))) == SAMPLED_EXAMPLES


def test_choose_indices_is_deterministic():
    torch.manual_seed(1)
    first = choose_indices(Numbers(MANY))
    torch.manual_seed(2)
    assert choose_indices(Numbers(MANY)) == first


def imbalanced() -> torch.Tensor:
    """Class 0 for nearly all, classes 1 and 2 ten times each."""
    labels = torch.zeros(MANY, dtype=torch.long)
    labels[100:110], labels[5_000:5_010] = 1, 2
    return labels


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(torch.zeros(MANY, 2), imbalanced()),
        Labelled(imbalanced()),
        Labelled(imbalanced().tolist()),
        Labelled(imbalanced().numpy()),
        Subset(Labelled(imbalanced()), range(MANY)),
    ],
    ids=["TensorDataset", "targets", "list", "numpy", "Subset"],
)
def test_choose_indices_is_stratified_where_labels_are_readable(dataset):
    # Round robin over the classes: all ten of each rare class, the rest from class 0.
    labels = imbalanced()[choose_indices(dataset)]
    assert torch.bincount(labels).tolist() == [SAMPLED_EXAMPLES - 20, 10, 10]


def test_choose_indices_takes_turns_over_more_classes_than_examples():
    labels = torch.arange(MANY) % 1_000
    assert len(set(labels[choose_indices(Labelled(labels))].tolist())) == SAMPLED_EXAMPLES


def test_readable_labels_of_a_subset_are_those_of_its_indices():
    assert readable_labels(Subset(Labelled(torch.tensor([5, 6, 7])), [2, 0])).tolist() == [7, 5]


@pytest.mark.parametrize(
    "dataset",
    [Numbers(), Labelled([0.5, 1.5]), Labelled([[1, 2], [3, 4]]), Labelled(["cat", "dog"]), Labelled([{"box": 1}])],
    ids=["none", "real", "two axes", "text", "dicts"],
)
def test_readable_labels_are_none_where_they_are_no_classes(dataset):
    assert readable_labels(dataset) is None


class Noisy(Numbers):
    """Every item draws from every random stream there is."""

    def __init__(self) -> None:
        super().__init__()
        self.own = torch.Generator().manual_seed(3)
        self.transforms = [np.random.default_rng(4), random.Random(5)]
        held = np.random.RandomState(6)
        self.augment = lambda: held.rand()
        self.jitter = functools.partial(torch.rand, 1, generator=torch.Generator().manual_seed(7))

    def __getitem__(self, index: int) -> torch.Tensor:
        drawn = [random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, generator=self.own).item()]
        drawn += [self.transforms[0].random(), self.transforms[1].random(), self.augment(), self.jitter().item()]
        return torch.tensor(drawn)


def test_build_probe_moves_no_global_random_stream():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    build_probe(loader(Noisy()), loader(Noisy()))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_build_probe_moves_no_generator_held_by_the_data_set():
    dataset = Noisy()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    build_probe(loader(dataset), None)
    after = dataset[0]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert torch.equal(after, Noisy()[0])


def test_build_probe_moves_no_generator_held_by_the_collate_function():
    class Mixer:
        def __init__(self) -> None:
            self.generator = torch.Generator().manual_seed(1)

        def collate(self, items: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack(items) + torch.rand(1, generator=self.generator)

    mixer = Mixer()
    before = mixer.generator.get_state()
    build_probe(loader(Numbers(), collate_fn=mixer.collate), None)
    assert torch.equal(mixer.generator.get_state(), before)


def test_build_probe_moves_no_generator_of_the_transfers_owners():
    class Augments:
        def __init__(self) -> None:
            self.generator = torch.Generator().manual_seed(1)
            self.owners = (self,)

        def __call__(self, batch: torch.Tensor, split: str) -> torch.Tensor:
            return batch + torch.rand(1, generator=self.generator)

    transfer = Augments()
    before = transfer.generator.get_state()
    build_probe(loader(Numbers()), None, transfer=transfer)
    assert torch.equal(transfer.generator.get_state(), before)


def test_build_probe_leaves_loader_iterators_alone():
    shuffled = loader(Numbers(), shuffle=True, generator=torch.Generator().manual_seed(0))
    again = loader(Numbers(), shuffle=True, generator=torch.Generator().manual_seed(0))
    running = iter(shuffled)
    expected = [batch.tolist() for batch in again]
    first = next(running).tolist()
    build_probe(shuffled, shuffled)
    assert [first, *(batch.tolist() for batch in running)] == expected


def test_build_probe_uses_the_loaders_collate_fn():
    probe = build_probe(loader(Numbers(3), collate_fn=lambda items: {"x": torch.stack(items), "n": len(items)}), None)
    assert probe.train.batches[0]["x"].tolist() == [0, 1, 2]
    assert probe.train.batches[0]["n"] == 3


def test_build_probe_reads_dict_examples():
    class Dicts(Numbers):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"input_ids": torch.tensor([index]), "labels": torch.tensor(index)}

    batch = build_probe(loader(Dicts(2)), None).train.batches[0]
    assert {name: value.tolist() for name, value in batch.items()} == {"input_ids": [[0], [1]], "labels": [0, 1]}


def test_build_probe_uses_getitems_where_the_data_set_has_it():
    class Bulk(Numbers):
        def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
            return [torch.tensor(-index) for index in indices]

    assert build_probe(loader(Bulk(3)), None).train.batches[0].tolist() == [0, -1, -2]


def test_build_probe_takes_items_as_batches_without_a_batch_size():
    class Batches(Numbers):
        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.full((4,), index)

    probe = build_probe(DataLoader(Batches(2), batch_size=None), None)
    assert [batch.tolist() for batch in probe.train.batches] == [[0] * 4, [1] * 4]


def test_build_probe_takes_the_batch_size_of_a_batch_sampler():
    sampler = BatchSampler(SequentialSampler(range(5)), batch_size=2, drop_last=False)
    probe = build_probe(DataLoader(Numbers(5), batch_sampler=sampler), None)
    assert [len(batch) for batch in probe.train.batches] == [2, 2, 1]


def test_build_probe_applies_the_transfer_hook_to_every_batch():
    added = {"train": 1000, "heldout": 2000}
    probe = build_probe(loader(Numbers(40)), loader(Numbers(2)), transfer=lambda batch, split: batch + added[split])
    assert [int(batch[0]) for batch in (*probe.train.batches, *probe.heldout.batches)] == [1000, 1032, 2000]


def test_build_probe_batches_are_private_copies():
    data = torch.zeros(4)
    probe = build_probe(loader(TensorDataset(data), collate_fn=lambda items: data), None)
    data.add_(1)
    assert probe.train.batches[0].tolist() == [0.0] * 4


def test_cooccurrence_shows_the_classes_seen_with_each_token():
    probe = build_probe(loader(pairs([[0, 1], [1, 2]], [1, 0])), None)
    # Token 0 came with class 1, token 1 with both, token 2 with class 0.
    assert probe.cooccurrence.tolist() == [[False, True], [True, True], [True, False]]


def test_cooccurrence_ignores_a_constant_slot():
    probe = build_probe(loader(pairs([[0, 1, 3], [1, 2, 3]], [1, 0])), None)
    assert probe.cooccurrence.tolist() == [[False, True], [True, True], [True, False], [False, False]]


def test_cooccurrence_has_rows_for_tokens_only_heldout_data_has():
    probe = build_probe(loader(pairs([[0, 1], [1, 0]], [1, 0])), loader(pairs([[4, 0]], [2])))
    assert probe.cooccurrence.shape == (5, 3)
    assert not probe.cooccurrence[2:].any()


def test_cooccurrence_covers_the_whole_training_set_of_a_sampled_probe():
    tokens = torch.stack([torch.arange(MANY) % 50, torch.arange(MANY) % 49], dim=1)
    probe = build_probe(loader(TensorDataset(tokens, torch.arange(MANY) // 50 % 2)), None)
    assert len(probe.train.indices) == SAMPLED_EXAMPLES
    assert probe.cooccurrence.all()


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(torch.randn(4, 2), torch.zeros(4, dtype=torch.long)),
        TensorDataset(torch.zeros(4, 9, dtype=torch.long), torch.zeros(4, dtype=torch.long)),
        TensorDataset(torch.tensor([[0, 1], [1, 5000]]), torch.tensor([0, 1])),
        TensorDataset(torch.tensor([[0, 1], [1, -1]]), torch.tensor([0, 1])),
        Numbers(4),
    ],
    ids=["real inputs", "nine slots", "large vocabulary", "negative token", "no labels"],
)
def test_cooccurrence_is_none_for_other_data(dataset):
    assert build_probe(loader(dataset), None).cooccurrence is None


def test_build_probe_counts_cooccurrence_among_drawn_examples_only():
    dataset = pairs([[0, 1], [1, 2], [2, 0]], [1, 0, 1])
    probe = build_probe(loader(dataset, sampler=SubsetRandomSampler([0, 1])), None)
    assert probe.cooccurrence.tolist() == [[False, True], [True, True], [True, False]]


def test_choose_indices_samples_among_the_drawn():
    drawn = range(50, MANY)
    assert set(choose_indices(Numbers(MANY), drawn)) < set(drawn)
    assert len(choose_indices(Numbers(MANY), drawn)) == SAMPLED_EXAMPLES


def test_build_probe_keeps_two_samplers_of_one_data_set_apart():
    dataset = Numbers(10)
    probe = build_probe(
        loader(dataset, sampler=SubsetRandomSampler([7, 1, 3])), loader(dataset, sampler=SubsetRandomSampler([2, 0]))
    )
    assert (probe.train.indices, probe.heldout.indices) == ((1, 3, 7), (0, 2))


def test_build_probe_takes_no_more_than_the_training_does():
    dataset = Numbers(100)
    probe = build_probe(loader(dataset), loader(dataset), most_batches={"train": 2, "heldout": float("inf")})
    assert (len(probe.train.indices), len(probe.heldout.indices)) == (64, 100)


def test_is_map_style_tells_streams_apart():
    assert is_map_style(loader(Numbers()))
    assert not is_map_style(DataLoader(Stream()))
    assert not is_map_style([1, 2, 3])


def test_choose_indices_knows_the_size_of_examples_that_are_objects():
    class Graphs(Numbers):
        def __getitem__(self, index):
            return Graph(x=torch.zeros(2**16, 2))

    assert len(choose_indices(Graphs(1_000))) == SAMPLED_EXAMPLES
