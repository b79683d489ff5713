# SPDX-License-Identifier: Apache-2.0
"""The probe: fixed examples chosen once, read from the data sets without disturbing loaders or random streams."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from lightning_interp.capture.further_loaders import FurtherLoader, Room
from lightning_interp.capture.readable_examples import ExampleReader
from lightning_interp.capture.sampled_indices import batch_size_of, sampled_indices
from lightning_interp.core.batches import byte_count, to_cpu
from lightning_interp.core.randomness import untouched_randomness
from lightning_interp.core.records import Batch, Probe, ProbeSplit, Split

WHOLE_SPLIT_EXAMPLES = 16_384
"""A split of up to this many examples is taken whole, if it is no larger than..."""
WHOLE_SPLIT_BYTES = 64 * 2**20
"""...this many bytes."""
SAMPLED_EXAMPLES = 512
"""Otherwise so many are sampled, evenly over the classes where labels can be read."""
_SEED = 0
_MOST_TOKENS = 1024

Transfer = Callable[..., Batch]
"""What the training does to a batch of a split between loader and step (``on_before/after_batch_transfer``): called with the
batch, the `Split`, and of a further validation loader its index.

May have an attribute `owners`: objects whose generators it draws from."""


def as_loaded(batch: Batch, split: Split, dataloader_idx: int = 0) -> Batch:  # noqa: ARG001 - a `Transfer` is told where from
    """The transfer of a training that has none: batches stay as the loader gives them."""
    return batch


def is_map_style(loader: object) -> bool:
    """Whether the examples a loader draws are known and can be read by index, without touching its iterator."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    with untouched_randomness():  # a sampler of the user's own runs when it is asked for its length or its indices
        return sampled_indices(loader) is not None


def build_probe(
    train: DataLoader[Any],
    heldout: DataLoader[Any] | None,
    *,
    transfer: Transfer = as_loaded,
    most_batches: Mapping[Split, float] | None = None,
) -> Probe:
    """Choose and read the probe from map-style data.

    Args:
        train: Training loader; its sampler is asked what it draws from, neither it nor the iterator is advanced.
        heldout: First validation loader, or None.
        transfer: Applied to every batch, as the training would.
        most_batches: Batches the training takes of one pass over a split, where that is limited.

    Returns:
        The probe, tensors on the CPU.
    """
    limits = most_batches or {}
    owners = [train.dataset, train.collate_fn, transfer, *getattr(transfer, "owners", ())]
    owners += [heldout.dataset, heldout.collate_fn] if heldout is not None else []
    with untouched_randomness(*owners), torch.no_grad():
        drawn = sampled_indices(train, most_batches=limits.get("train"))
        train_split = _read_split(train, drawn, lambda batch: transfer(batch, "train"))
        heldout_split = None
        if heldout is not None:
            held = sampled_indices(heldout, most_batches=limits.get("heldout"))
            heldout_split = _read_split(heldout, held, lambda batch: transfer(batch, "heldout"))
        return Probe(train_split, heldout_split, _cooccurrence(train.dataset, drawn, train_split, heldout_split))


def room_beside(first: ProbeSplit | None) -> Room:
    """What further loaders may take beside the examples of the first, all of them together."""
    return replace(Room(WHOLE_SPLIT_EXAMPLES, WHOLE_SPLIT_BYTES, 1).after(first), examples=WHOLE_SPLIT_EXAMPLES)


def read_further(loader: FurtherLoader, room: Room, *, transfer: Transfer = as_loaded) -> ProbeSplit | None:
    """Choose and read examples of a further validation loader, of map-style data.

    Args:
        loader: The loader; neither it nor its sampler's iterator is advanced.
        room: What is left for it and those after it.
        transfer: Applied to every batch, as the training would.

    Returns:
        The examples, None if not one of them has room.
    """
    data = loader.data
    with untouched_randomness(data.dataset, data.collate_fn, transfer, *getattr(transfer, "owners", ())), torch.no_grad():
        drawn = sampled_indices(data, most_batches=loader.most_batches)
        most, most_bytes = room.share
        indices = choose_indices(data.dataset, drawn, most=most, most_bytes=most_bytes)
        if not indices:
            return None
        split = _read_indices(data, indices, lambda batch: transfer(batch, "heldout", loader.index))
        return replace(split, loader=loader.index)


def _read_split(loader: DataLoader[Any], drawn: Sequence[int] | None, transfer: Callable[[Batch], Batch]) -> ProbeSplit:
    return _read_indices(loader, choose_indices(loader.dataset, drawn), transfer)


def _read_indices(loader: DataLoader[Any], indices: list[int], transfer: Callable[[Batch], Batch]) -> ProbeSplit:
    whole = loader.batch_size is None and loader.batch_sampler is None  # each item is a batch already
    size, reader = batch_size_of(loader), ExampleReader(loader.dataset, singly=whole)
    if whole:
        items = [reader.fetch([index]) for index in indices]
        batches = [loader.collate_fn(item[0]) for item in items if item is not None]
    else:
        chunks = [reader.fetch(indices[start : start + size]) for start in range(0, len(indices), size)]
        batches = [loader.collate_fn(chunk) for chunk in chunks if chunk is not None]
    reader.finish()
    return ProbeSplit(tuple(to_cpu(transfer(batch)) for batch in batches), tuple(reader.read))


def choose_indices(
    dataset: Any,
    drawn: Sequence[int] | None = None,
    *,
    most: int = WHOLE_SPLIT_EXAMPLES,
    most_bytes: int = WHOLE_SPLIT_BYTES,
) -> list[int]:
    """Indices of the probe's examples, ascending: all of a small split, else 512, stratified where labels are readable.

    The choice depends on the data set and the indices alone; a generator of its own draws the sample.

    Args:
        dataset: Map-style data set.
        drawn: Indices the training or validation draws from, ascending; None for all.
        most: Examples of a split that is taken whole.
        most_bytes: Bytes of one.
    """
    drawn = range(len(dataset)) if drawn is None else drawn
    count, size = len(drawn), _bytes_of(_any_of(dataset, drawn))
    if count <= most and count * size <= most_bytes:
        return list(drawn)
    sampled = SAMPLED_EXAMPLES
    if most_bytes < WHOLE_SPLIT_BYTES or most < WHOLE_SPLIT_EXAMPLES:  # a sample has less room too
        sampled = min(sampled, most, most_bytes // max(1, size))
    if count <= sampled:
        return list(drawn)
    order = torch.as_tensor(drawn)[torch.randperm(count, generator=torch.Generator().manual_seed(_SEED))]
    labels = readable_labels(dataset)
    if labels is None:
        return sorted(order[:sampled].tolist())
    # Round-robin over the classes: every class gets its turn, in the order of the shuffle, until 512 are taken.
    by_class = torch.argsort(labels[order], stable=True)
    sizes = torch.unique_consecutive(labels[order][by_class], return_counts=True)[1]
    first_of_class = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    turn = torch.zeros(count, dtype=torch.long)
    turn[by_class] = torch.arange(count) - first_of_class
    return sorted(order[torch.argsort(turn, stable=True)[:sampled]].tolist())


def readable_labels(dataset: Any) -> Tensor | None:
    """Class labels of every example where they can be had without reading the examples, else None."""
    if isinstance(dataset, Subset):
        inner = readable_labels(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(list(dataset.indices))]
    found = dataset.tensors[-1] if isinstance(dataset, TensorDataset) else None
    for attribute in ("targets", "labels"):
        found = getattr(dataset, attribute, None) if found is None else found
    if not isinstance(found, Tensor | Sequence) and not hasattr(found, "__array__"):
        return None
    try:
        labels = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None  # labels that are no numbers (boxes, text) cannot stratify
    fits = labels.ndim == 1 and len(labels) == len(dataset) and not labels.is_floating_point()
    return labels.long() if fits else None


def _any_of(dataset: Any, drawn: Sequence[int]) -> Any:
    """An example that can be read, empty where there is none."""
    few = ExampleReader(dataset, singly=True)
    places = dict.fromkeys((0, len(drawn) // 2, len(drawn) - 1)) if len(drawn) else ()
    return next((item for place in places if (item := few.fetch([drawn[place]])) is not None), ())


def _bytes_of(item: Any) -> int:
    if isinstance(item, Tensor):
        return item.numel() * item.element_size()
    if isinstance(item, Mapping):
        return sum(_bytes_of(value) for value in item.values())
    if isinstance(item, list | tuple):
        return sum(_bytes_of(value) for value in item)
    return byte_count(item) or int(getattr(item, "nbytes", 8))


def _cooccurrence(dataset: Any, drawn: Sequence[int] | None, train: ProbeSplit, heldout: ProbeSplit | None) -> Tensor | None:
    """Which classes the whole training set shows with each token of a two-token input, None for any other data.

    Needed by the held-out percentile (MEASURES B.6b): only classes never seen with either token are fair candidates.
    """
    drawn = range(len(dataset)) if drawn is None else drawn
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        pairs, labels = dataset.tensors
        if len(drawn) < len(dataset):
            pairs, labels = (part[torch.as_tensor(drawn)] for part in (pairs, labels))
    elif len(train.indices) == len(drawn) and all(_is_pair(batch) for batch in train.batches):
        pairs, labels = (torch.cat([batch[part] for batch in train.batches]) for part in (0, 1))
    else:
        return None
    if not _token_pairs(pairs, labels):
        return None
    others = [batch for batch in heldout.batches if _is_pair(batch)] if heldout else []
    tokens = 1 + max(int(part.max()) for part in [pairs, *(batch[0] for batch in others)])
    classes = 1 + max(int(part.max()) for part in [labels, *(batch[1] for batch in others)])
    slots = [slot for slot in pairs.T if (slot != slot[0]).any()]  # a constant slot ("=") tells nothing
    if len(slots) != 2:
        return None
    table = torch.zeros(tokens, classes, dtype=torch.bool)
    for slot in slots:
        table[slot.long(), labels.long()] = True
    return table


def _is_pair(batch: Batch) -> bool:
    return isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)


def _token_pairs(inputs: Tensor, labels: Tensor) -> bool:
    whole_numbers = not inputs.is_floating_point() and not labels.is_floating_point() and inputs.dtype != torch.bool
    shaped = inputs.ndim == 2 and 2 <= inputs.shape[1] <= 4 and labels.ndim == 1 and labels.numel() > 0
    return bool(
        whole_numbers
        and shaped
        and inputs.min() >= 0
        and labels.min() >= 0
        and int(inputs.max()) < _MOST_TOKENS
        and int(labels.max()) < _MOST_TOKENS
    )
