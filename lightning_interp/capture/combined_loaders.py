# SPDX-License-Identifier: Apache-2.0
"""Several loaders that a training draws from at once: its batch is then a dict, or a list, of a batch from each."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lightning_interp.capture.probe import choose_indices, is_map_style
from lightning_interp.capture.readable_examples import ExampleReader, data_sets_kept
from lightning_interp.capture.sampled_indices import batch_size_of, sampled_indices
from lightning_interp.core.randomness import untouched_randomness
from lightning_interp.core.records import Batch

CYCLED = "max_size_cycle"
"""Lightning's mode that begins the shorter loaders again; in every other the probe ends with the shortest."""


def is_combined(loaders: Any) -> bool:
    """Whether these are loaders in a collection and no loader of its own, such as a list of batches."""
    inner = list(loaders.values()) if isinstance(loaders, Mapping) else loaders
    return isinstance(inner, list | tuple) and any(isinstance(each, DataLoader) for each in inner)


def combined(loaders: Any, mode: str) -> Any:
    """A loader for the probe whose batches are those of several; the loaders themselves where one cannot be read by index.

    Args:
        loaders: Loaders by name, or in a list or tuple.
        mode: How Lightning combines them.
    """
    inner = list(loaders.values()) if isinstance(loaders, Mapping) else list(loaders)
    if not all(map(is_map_style, inner)):
        return loaders
    names = list(loaders) if isinstance(loaders, Mapping) else None
    try:
        with untouched_randomness(*(loader.dataset for loader in inner)), data_sets_kept(*inner):
            batches = CombinedBatches(inner, names, kind=type(loaders), cycled=mode == CYCLED)
    except Exception:  # data of the user's own that cannot be read: what passes is all there is
        return loaders
    return DataLoader(batches, batch_size=None, collate_fn=_as_it_is)


def first_batch(batch: Batch) -> Batch:
    """The batch of the first loader in one of several."""
    return next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]


class CombinedBatches(Dataset[Batch]):
    """Batches of several loaders of map-style data side by side, read when they are asked for.

    Args:
        loaders: The loaders; neither they nor their samplers' iterators are advanced.
        names: Their names, None where batches come in a list or a tuple.
        kind: Class of the collection that the loaders are in.
        cycled: Whether shorter loaders begin again.
    """

    def __init__(self, loaders: list[DataLoader[Any]], names: list[str] | None, *, kind: type, cycled: bool) -> None:
        self.datasets = [loader.dataset for loader in loaders]
        self.collates = [loader.collate_fn for loader in loaders]
        self._names, self._cycled, self._tuples = names, cycled, issubclass(kind, tuple)
        self._chunks = [_chunks(loader) for loader in loaders]

    def __len__(self) -> int:
        lengths = list(map(len, self._chunks))
        return max(lengths) if self._cycled and min(lengths) else min(lengths)

    def __getitem__(self, index: int) -> Batch:
        batches = [
            collate(ExampleReader(dataset).fetch(chunks[index % len(chunks)]))
            for dataset, collate, chunks in zip(self.datasets, self.collates, self._chunks, strict=True)
        ]
        if self._names is not None:
            return dict(zip(self._names, batches, strict=True))
        return tuple(batches) if self._tuples else batches


def _chunks(loader: DataLoader[Any]) -> list[list[int]]:
    """Indices of each batch of what the probe takes of a loader."""
    indices, size = choose_indices(loader.dataset, sampled_indices(loader)), batch_size_of(loader)
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _as_it_is(batch: Batch) -> Batch:
    return batch
