# SPDX-License-Identifier: Apache-2.0
"""Batches whose examples have each other's answers, where answers can be told from inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_interp.core.batches import example_count, map_tensors, tensors_of
from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.records import Batch

ANSWER_KEYS = ("labels", "label", "targets", "target", "y")
"""What the answer of a dict batch, or of a batch object, is called."""
_SEED = 0


def answers_of(batch: Batch) -> Batch:
    """The part of a batch that holds the answers.

    That is the second of an (x, y) pair; what a dict or a batch object calls so; or the last of three tensors such as
    (ids, mask, labels): whole numbers beside two inputs of one shape.

    Raises:
        MeasureSkipped: There is no such part.
    """
    if isinstance(batch, Mapping):
        found = {key: batch[key] for key in ANSWER_KEYS if key in batch}
        if found and len(found) < len(batch):
            return found
    named = {name: held for name in ANSWER_KEYS if isinstance(held := _attribute(batch, name), Tensor)}
    if named and any(all(tensor is not held for held in named.values()) for tensor in tensors_of(batch)):
        return named
    if isinstance(batch, Mapping):
        raise MeasureSkipped(f"no answers can be told from inputs: the batch has no {', '.join(ANSWER_KEYS)} beside inputs")
    if isinstance(batch, list | tuple) and (len(batch) == 2 or _is_triple(batch)):
        return batch[-1]
    raise MeasureSkipped(
        "no answers can be told from inputs: the batch is neither an (x, y) pair nor (ids, mask, labels), and nothing in it "
        f"is called {', '.join(ANSWER_KEYS)}"
    )


def _attribute(batch: Batch, name: str) -> Any:
    try:
        return getattr(batch, name, None)
    except Exception:  # a property of a class of the user's own
        return None


def _is_triple(batch: Sequence[Any]) -> bool:
    """Whether the last of three is the answer: beside inputs of two shapes it may as well be an index, or a weight."""
    if len(batch) != 3 or not all(isinstance(part, Tensor) for part in batch):
        return False
    return batch[0].shape == batch[1].shape and not batch[2].is_floating_point() and batch[2].dtype != torch.bool


def exchange_answers(batches: Sequence[Batch]) -> tuple[Batch, ...]:
    """The same batches, every example with the answer of another, always of the same one.

    Answers travel between batches if they are of one shape everywhere, else within each.

    Raises:
        MeasureSkipped: Answers cannot be told from inputs, are not one for each example, or there is one example only.
    """
    sizes = [example_count(batch) for batch in batches]
    columns = [list(tensors_of(answers_of(batch))) for batch in batches]
    if any(not own or any(not t.ndim or len(t) != n for t in own) for own, n in zip(columns, sizes, strict=True)):
        raise MeasureSkipped("the answers are not tensors with one row for each example")
    alike = len({tuple((t.shape[1:], t.dtype) for t in own) for own in columns}) == 1
    if alike:
        order = _another(sum(sizes))
        moved = [torch.split(torch.cat(column)[order], sizes) for column in zip(*columns, strict=True)]
        exchanged = [list(own) for own in zip(*moved, strict=True)]
    else:
        exchanged = [[t[_another(n)] for t in own] for own, n in zip(columns, sizes, strict=True)]
    return tuple(_with_answers(batch, own) for batch, own in zip(batches, exchanged, strict=True))


def _another(count: int) -> Tensor:
    """For each of `count` examples the number of another one, each once: a round in a random order."""
    if count < 2:
        raise MeasureSkipped("a single held-out example has nobody to exchange its answer with")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SEED))
    return torch.empty_like(order).index_copy_(0, order, order.roll(1))


def _with_answers(batch: Batch, answers: Sequence[Tensor]) -> Batch:
    """The batch, as what it is, with other answers wherever it holds them."""
    held = answers_of(batch)
    if type(batch) in (dict, list, tuple):  # inputs and answers may be one tensor
        given = iter(answers)
        changed = map_tensors(held, lambda _: next(given))
        return {**batch, **changed} if isinstance(batch, dict) else type(batch)((*batch[:-1], changed))
    other = {id(old): new for old, new in zip(tensors_of(held), answers, strict=True)}
    return map_tensors(batch, lambda tensor: other.get(id(tensor), tensor))
