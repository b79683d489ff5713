# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from batch_kinds import MAKES

from lightning_interp.capture import StreamedProbe


def offered(*, heldout: bool, train: int = 0, validation: int = 0, size: int = 64) -> StreamedProbe:
    """A passing probe that saw so many batches of each split."""
    passing = StreamedProbe(heldout=heldout)
    for split, count in (("train", train), ("heldout", validation)):
        for number in range(count):
            passing.offer(split, (torch.full((size,), number), torch.zeros(size)))
    return passing


def test_passing_probe_takes_512_examples_and_no_more():
    probe = offered(heldout=False, train=20).probe()
    assert [int(x[0]) for x, _ in probe.train.batches] == list(range(8))


def test_passing_probe_stops_at_64_megabytes():
    passing = StreamedProbe(heldout=False)
    for _ in range(3):
        passing.offer("train", torch.zeros(1, 2**23))  # 32 MB of float32
    assert len(passing.probe().train.batches) == 2


def test_passing_probe_copies_batches():
    passing, batch = StreamedProbe(heldout=False), {"x": torch.zeros(2)}
    passing.offer("train", batch)
    batch["x"].add_(1)
    assert passing.probe().train.batches[0]["x"].tolist() == [0.0, 0.0]


def test_passing_probe_is_complete_when_both_splits_are_full():
    assert not offered(heldout=True, train=8).complete
    assert offered(heldout=True, train=8, validation=8).complete


def test_passing_probe_waits_for_no_heldout_batches_where_none_will_come():
    assert offered(heldout=False, train=8).complete


def test_passing_probe_takes_a_short_validation_set_as_all_there_is():
    passing = offered(heldout=True, train=8, validation=2)
    passing.ended("heldout")
    passing.offer("heldout", torch.zeros(64))
    assert passing.complete
    assert len(passing.probe().heldout.batches) == 2


def test_passing_probe_is_not_complete_after_a_validation_without_batches():
    passing = offered(heldout=True, train=8)
    passing.ended("heldout")
    assert not passing.complete


def test_passing_probe_is_none_where_no_training_batch_passed():
    assert offered(heldout=True, validation=1).probe() is None


def test_passing_probe_has_no_heldout_split_where_no_batch_passed():
    assert offered(heldout=True, train=1).probe().heldout is None


def first_values(passing: StreamedProbe) -> list[int]:
    return [int(x[0]) for x, _ in passing.probe().heldout.batches]


def sanity(*values: int, size: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.full((size,), value), torch.zeros(size)) for value in values]


def test_passing_probe_drops_sanity_batches_when_a_validation_shows_them_again():
    passing = offered(heldout=True, train=8)
    passing.offer_sanity(sanity(0, 1), whole=False)
    assert not passing.complete
    for batch in sanity(0, 1, 2):
        passing.offer("heldout", batch)
    assert first_values(passing) == [0, 1, 2]


def test_passing_probe_uses_sanity_batches_where_no_validation_came():
    passing = offered(heldout=True, train=8)
    passing.offer_sanity(sanity(5, 6), whole=False)
    assert first_values(passing) == [5, 6]


def test_passing_probe_takes_a_whole_sanity_check_as_all_there_is():
    passing = offered(heldout=True, train=8)
    passing.offer_sanity(sanity(5), whole=True)
    assert passing.complete
    passing.offer("heldout", sanity(7)[0])
    assert first_values(passing) == [5]


def test_passing_probe_keeps_a_sanity_check_that_filled_it():
    passing = offered(heldout=True, train=8)
    passing.offer_sanity(sanity(*range(9)), whole=False)
    assert passing.complete
    assert first_values(passing) == list(range(8))


@pytest.mark.parametrize("kind", MAKES)
def test_passing_probe_copies_batches_of_every_kind(kind):
    passing, batch = StreamedProbe(heldout=False), MAKES[kind](torch.ones(600, 2), torch.arange(600))
    passing.offer("train", batch)
    assert passing.complete
    batch.x.zero_()
    (kept,) = passing.probe().train.batches
    assert type(kept) is type(batch)
    assert kept.x.min().item() == 1.0
