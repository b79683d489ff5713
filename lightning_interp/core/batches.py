# SPDX-License-Identifier: Apache-2.0
"""Batches as users' loaders give them: nested containers of tensors, walked one way everywhere.

Lists, tuples and mappings are walked, and what `batch_objects` recognises: every container comes back as what it was.
"""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_interp.core.batch_objects import Taken, blank, fill, take_apart
from lightning_interp.core.example_counts import own_count
from lightning_interp.core.records import Batch


def map_tensors(batch: Batch, function: Callable[[Tensor], Tensor], *, device: torch.device | None = None) -> Batch:
    """The same batch, of the same types, with every tensor replaced; the given one and other values stay as they are.

    Args:
        batch: The batch.
        function: Gives the tensor that takes the place of one.
        device: Where that puts them: takes the place of devices that batch objects keep as attributes.
    """
    return _Mapped(function, device)(batch)


class _Mapped:
    """One batch: an object that it holds twice, or that points back to what holds it, is made once."""

    def __init__(self, function: Callable[[Tensor], Tensor], device: torch.device | None) -> None:
        self._function, self._device = function, device
        self._made: dict[int, Any] = {}
        self._alive: list[Any] = []  # an `id` is that of one object only as long as the object lives

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._function(value)
        if id(value) in self._made:
            return self._made[id(value)]
        taken = take_apart(value)
        if taken is None:
            return value
        if taken.plain:
            inner = [(key, self(item)) for key, item in taken.entries]
            return dict(inner) if taken.kind == "dict" else _elements(taken, inner)
        return self._object(value, taken)

    def _object(self, value: Any, taken: Taken) -> Any:
        self._alive.append(value)
        new = None
        if taken.kind != "tuple":
            new = self._made[id(value)] = blank(type(value))
        entries = [(key, self(item)) for key, item in taken.entries]
        if new is None:
            new = self._made[id(value)] = blank(type(value), [item for _, item in entries])
        # Attributes that repeat an entry go on doing so.
        twice = {id(old): item for (_, old), (_, item) in zip(taken.entries, entries, strict=True)}
        state = {name: twice[id(held)] if id(held) in twice else self._held(held) for name, held in taken.state.items()}
        return fill(new, replace(taken, entries=entries, state=state), like=value)

    def _held(self, held: Any) -> Any:
        """An attribute of a batch object."""
        if isinstance(held, weakref.ReferenceType):
            inside = self._made.get(id(held()))
            return held if inside is None else weakref.ref(inside)
        if isinstance(held, torch.device):
            return self._device or held
        return self(held)


def _elements(taken: Taken, inner: list[tuple[Any, Any]]) -> list[Any] | tuple[Any, ...]:
    items = [item for _, item in inner]
    return items if taken.kind == "list" else tuple(items)


def objects_of(batch: Batch, seen: set[int] | None = None) -> Iterator[Any]:
    """Every tensor and every object of a batch, depth first, each object once; Python's own containers are left out."""
    seen = set() if seen is None else seen
    if isinstance(batch, Tensor):
        yield batch
        return
    taken = take_apart(batch)
    if taken is None or id(batch) in seen:
        return
    if not taken.plain:
        seen.add(id(batch))
        yield batch
    entries = [item for _, item in taken.entries]
    twice = {id(item) for item in entries}
    for item in (*entries, *(held for held in taken.state.values() if id(held) not in twice)):
        yield from objects_of(item, seen)


def tensors_of(batch: Batch) -> Iterator[Tensor]:
    """Every tensor of a batch, depth first, in the order in which `map_tensors` replaces them."""
    return (value for value in objects_of(batch) if isinstance(value, Tensor))


def example_count(batch: Batch) -> int:
    """Examples in a batch: its graphs if it is one of graphs, else the length of its first tensor that has axes.

    Never waits for a GPU.
    """
    for value in objects_of(batch):
        count = (value.shape[0] if value.ndim else None) if isinstance(value, Tensor) else own_count(value)
        if count is not None:
            return count
    return 1


def byte_count(batch: Batch) -> int:
    """Bytes of all tensors of a batch."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(batch))


def to_cpu(batch: Batch) -> Batch:
    """A private copy of a batch on the CPU."""
    return map_tensors(batch, lambda tensor: tensor.detach().to("cpu", copy=True), device=torch.device("cpu"))


def take_examples(batch: Batch, rows: Tensor) -> Batch | None:
    """Some examples of a batch, in the batch's own type; None if it has them only as a whole.

    Args:
        batch: The batch, on the CPU.
        rows: Their places in it.
    """
    if any(own_count(value) is not None for value in objects_of(batch) if not isinstance(value, Tensor)):
        return _take_graphs(batch, rows)
    count = example_count(batch)
    return map_tensors(batch, lambda tensor: tensor[rows] if tensor.ndim and tensor.shape[0] == count else tensor)


def _take_graphs(batch: Batch, rows: Tensor) -> Batch | None:
    """Graphs are taken and joined by the class that knows how their nodes are numbered, not by one made for this batch."""
    owner: Any = next((cls for cls in type(batch).__mro__ if "from_data_list" in vars(cls)), None)
    try:
        taken = owner.from_data_list(batch.index_select(rows.tolist()))
    except Exception:  # a class of the user's own
        return None
    return taken if example_count(taken) == len(rows) else None
