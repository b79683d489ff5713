# SPDX-License-Identifier: Apache-2.0
"""Batches as users' loaders give them: nested lists, tuples and mappings of tensors, walked one way everywhere."""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from lightning_interp.core.records import Batch


def map_tensors(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The same nesting with every tensor replaced; mappings become dicts, named tuples tuples, other values stay."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(value, function) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        items = [map_tensors(value, function) for value in batch]
        return items if isinstance(batch, list) else tuple(items)
    return batch


def tensors_of(batch: Batch) -> Iterator[Tensor]:
    """Every tensor of a batch, depth first."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | list | tuple):
        for item in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_of(item)


def example_count(batch: Batch) -> int:
    """Examples in a batch: the length of the first axis of its first tensor that has axes."""
    return next((tensor.shape[0] for tensor in tensors_of(batch) if tensor.ndim), 1)


def byte_count(batch: Batch) -> int:
    """Bytes of all tensors of a batch."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(batch))


def to_cpu(batch: Batch) -> Batch:
    """A private copy of a batch on the CPU."""
    return map_tensors(batch, lambda tensor: tensor.detach().to("cpu", copy=True))
