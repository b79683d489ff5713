# SPDX-License-Identifier: Apache-2.0
"""Examples that cannot be read cost themselves; the data set is afterwards as it was before."""

from typing import Any

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from lightning_interp.capture import build_probe, data_sets_kept
from lightning_interp.capture import readable_examples as patience


class Files(Dataset[torch.Tensor]):
    """Examples in files, some of which are damaged; or a reader that fails at every so many calls."""

    def __init__(self, examples: int, damaged: set[int] = frozenset(), every: int = 0) -> None:  # type: ignore[assignment]
        self.examples, self.damaged, self.every = examples, damaged, every
        self.calls = 0
        self.handle: Any = None

    def __len__(self) -> int:
        return self.examples

    def __getitem__(self, index: int) -> torch.Tensor:
        self.calls += 1
        self.handle = self.handle or object()
        self.cache = index
        if index in self.damaged or (self.every and self.calls % self.every == 0):
            raise OSError(f"damaged {index}")
        return torch.tensor([float(index)])


def read(dataset: Dataset[Any]) -> list[int]:
    """Examples of the probe of a training on this data set."""
    probe = build_probe(DataLoader(dataset, batch_size=8), None)
    values = [int(value) for batch in probe.train.batches for value in batch.flatten()]
    assert tuple(values) == probe.train.indices
    return values


def test_damaged_examples_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert read(Files(20, {0, 3, 17})) == [index for index in range(20) if index not in {0, 3, 17}]
    assert "the probe is without 3 of 20 examples that cannot be read (example 0: OSError: damaged 0)" in caplog.text


def test_an_example_that_fails_once_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    assert read(Files(20, every=7)) == list(range(20))
    assert caplog.text == ""


def test_batches_that_the_data_set_makes_itself_are_read_singly() -> None:
    loader = DataLoader(Files(5, {2}), batch_size=None)
    assert [int(batch) for batch in build_probe(loader, None).train.batches] == [0, 1, 3, 4]


def test_a_data_set_that_answers_for_several_is_asked_again_for_those_it_has() -> None:
    class Several(Files):
        def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, list[int]]:
            return torch.stack([self[index] for index in indices]), indices

    loader = DataLoader(Several(10, {4}), batch_size=5, collate_fn=lambda answer: answer)
    batches = build_probe(loader, None).train.batches
    assert [batch[1] for batch in batches] == [[0, 1, 2, 3], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("examples", [5, 500])
def test_data_that_cannot_be_read_at_all_is_an_error_soon(examples: int) -> None:
    files = Files(examples, set(range(examples)))
    with pytest.raises(OSError, match="damaged"):
        read(files)
    assert files.calls <= 100


def test_failures_that_take_long_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MOST_FAILING_S", 0.0)
    with pytest.raises(OSError, match="damaged 3"):
        read(Files(20, {3}))


def test_counters_and_files_of_the_data_set_are_as_before() -> None:
    one, other = Files(20, every=3), Files(20)
    loader = DataLoader(ConcatDataset([Subset(one, range(10)), other]), batch_size=8)
    with data_sets_kept(loader, None):
        build_probe(loader, None)
        assert one.calls and other.handle is not None
    assert (one.calls, other.calls, other.handle, hasattr(other, "cache")) == (0, 0, None, False)
