# SPDX-License-Identifier: Apache-2.0
"""Which examples of a data set a loader can ever draw: one data set split by two samplers is two splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
)

from lightning_interp.core.randomness import untouched_randomness
from lightning_interp.core.records import ProbeSplit

_INNER = ("sampler", "_sampler")
"""Where wrappers keep the sampler they wrap; the second is Lightning's, inside its `DistributedSamplerWrapper`."""
_WRAPPERS_DEEP = 8


def sampled_indices(loader: DataLoader[Any], *, most_batches: float | None = None) -> Sequence[int] | None:
    """Indices a loader draws from, ascending; None where its sampler does not tell.

    Args:
        loader: Loader of map-style data.
        most_batches: Batches taken of one pass, as ``overfit_batches`` limits them; it matters to fixed orders only, as
            shuffled passes come to every example.
    """
    count = _length(loader.dataset)
    if count is None:
        return None
    # With `batch_sampler=` the loader's own `sampler` is a default that nobody iterates.
    batched = loader.batch_sampler
    sampler: Any = loader.sampler if batched is None else batched
    for _ in range(_WRAPPERS_DEEP):
        chosen = _own_indices(sampler, count)
        if chosen is not None:
            return chosen
        inner = _inner(sampler)
        if inner is None:
            break
        sampler = inner
    first = _first_pass(loader, sampler, count, most_batches)
    if isinstance(sampler, SequentialSampler | RandomSampler):
        return range(min(first, _length(sampler.data_source) or count))
    if isinstance(sampler, DistributedSampler):
        return range(min(first, _length(sampler.dataset) or count))
    return range(count) if _passes_over_all(sampler, count, batches=sampler is batched) else None


def shared_examples(train: DataLoader[Any], heldout: DataLoader[Any], split: ProbeSplit) -> int:
    """How many examples of the held-out split are also drawn in training, from the same data set object."""
    with untouched_randomness():
        train_set, trained = _source(train.dataset, sampled_indices(train) or ())
        heldout_set, held = _source(heldout.dataset, split.indices)
        return len({*trained} & {*held}) if train_set is heldout_set else 0


def _own_indices(sampler: Any, count: int) -> list[int] | None:
    """The indices a sampler names itself: those of a subset sampler, those of positive weight of a weighted one."""
    if isinstance(sampler, WeightedRandomSampler):
        return torch.as_tensor(sampler.weights).nonzero().flatten().tolist()
    named = getattr(sampler, "indices", None)
    if not isinstance(named, Sequence | Tensor | np.ndarray) or len(named) == 0:
        return None
    try:
        indices = sorted({int(index) for index in named})
    except (TypeError, ValueError):
        return None
    return indices if indices[0] >= 0 and indices[-1] < count else None


def _inner(sampler: Any) -> Any:
    """The sampler inside a wrapper, None where there is none."""
    holders = [sampler, sampler.dataset] if isinstance(sampler, DistributedSampler) else [sampler]
    found = (getattr(holder, name, None) for holder in holders for name in _INNER)
    return next((inner for inner in found if inner is not None), None)


def _first_pass(loader: DataLoader[Any], sampler: Any, count: int, most_batches: float | None) -> int:
    """Examples of one pass where its order is fixed and it is cut short; otherwise all of them."""
    fixed = isinstance(sampler, SequentialSampler) or (isinstance(sampler, DistributedSampler) and not sampler.shuffle)
    if most_batches is None or most_batches == float("inf") or not fixed:
        return count
    ranks = sampler.num_replicas if isinstance(sampler, DistributedSampler) else 1
    return min(count, max(1, int(most_batches)) * batch_size_of(loader) * ranks)


def batch_size_of(loader: DataLoader[Any]) -> int:
    """Examples the loader puts into a batch; 1 where every item is a batch already, 64 where nobody says."""
    if loader.batch_sampler is None:
        return 1
    return int(loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 64)


def _passes_over_all(sampler: Any, count: int, *, batches: bool) -> bool:
    """Whether a sampler of unknown kind is long enough to show every example; a last batch may be dropped."""
    length = _length(sampler)
    if length is None:
        return False
    if not batches or isinstance(sampler, BatchSampler):
        return length >= count
    size = getattr(sampler, "batch_size", None)
    return isinstance(size, int) and (length + 1) * size > count


def _source(dataset: Any, indices: Sequence[int]) -> tuple[Any, Sequence[int]]:
    """The data set under all subsets, and the indices in it."""
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    return dataset, indices


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except Exception:  # none, or of a data set of the user's own that cannot tell it
        return None
