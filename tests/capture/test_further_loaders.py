# SPDX-License-Identifier: Apache-2.0
"""Validation loaders beside the first: their names, and the room they share in the probe."""

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_interp.capture import FurtherLoader, further_loaders, read_further, room_beside
from lightning_interp.capture.further_loaders import Room
from lightning_interp.capture.probe import SAMPLED_EXAMPLES, WHOLE_SPLIT_BYTES, WHOLE_SPLIT_EXAMPLES
from lightning_interp.core.batches import byte_count
from lightning_interp.core.records import ProbeSplit


def loader(count: int, width: int = 2) -> DataLoader:
    return DataLoader(TensorDataset(torch.arange(count * width).reshape(count, width).float()), batch_size=16)


def test_loaders_are_called_by_key_or_by_place():
    one, two, three = loader(1), loader(2), loader(3)
    assert [(each.name, each.index) for each in further_loaders([one, two, three])] == [
        ("dataloader_idx_1", 1),
        ("dataloader_idx_2", 2),
    ]
    nested = further_loaders({"day": one, "night": {"rain": two, "fog": three}}, [1, 5, float("inf")])
    assert [(each.name, each.index, each.most_batches) for each in nested] == [
        ("night/rain", 1, 5),
        ("night/fog", 2, float("inf")),
    ]
    assert further_loaders(one) == []


def test_read_further_takes_a_small_loader_whole_with_its_place():
    split = read_further(FurtherLoader("night", loader(40), 2), room_beside(None))
    assert split.indices == tuple(range(40)) and split.loader == 2


def test_further_loaders_share_what_the_first_leaves_in_bytes():
    first = ProbeSplit((torch.zeros(WHOLE_SPLIT_BYTES // 8),))  # half of the room
    assert room_beside(first) == Room(WHOLE_SPLIT_EXAMPLES, WHOLE_SPLIT_BYTES // 2, 0)
    room = Room(WHOLE_SPLIT_EXAMPLES, 4000, 2)
    split = read_further(FurtherLoader("night", loader(1000), 1), room)
    assert sum(map(byte_count, split.batches)) <= 2000 < sum(map(byte_count, split.batches)) + 8
    assert room.after(split).share == (WHOLE_SPLIT_EXAMPLES - len(split.indices), 4000 - 8 * len(split.indices))


def test_a_loader_without_room_gives_nothing():
    assert read_further(FurtherLoader("night", loader(1000), 1), Room(100, 7, 1)) is None


def test_a_large_loader_is_sampled_within_its_share():
    split = read_further(FurtherLoader("night", loader(1000), 1), Room(900, WHOLE_SPLIT_BYTES, 1))
    assert len(split.indices) == SAMPLED_EXAMPLES


def test_reading_draws_nothing_from_the_streams_of_training():
    class Noisy(Dataset):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(2) + index

    before = torch.get_rng_state()
    read_further(FurtherLoader("night", DataLoader(Noisy(), batch_size=4, shuffle=True), 1), room_beside(None))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_transfer_is_told_which_loader_it_is():
    told = []

    def transfer(batch, split, dataloader_idx=0):
        told.append((split, dataloader_idx))
        return batch

    read_further(FurtherLoader("night", loader(4), 3), room_beside(None), transfer=transfer)
    assert told == [("heldout", 3)]
