# SPDX-License-Identifier: Apache-2.0
"""Batches of classes of their own, each with the trait of one that public code uses."""

import weakref
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Encoding(UserDict[str, Any]):
    """A mapping that is no dict, answers by attribute, moves in place, and keeps what only its tokenizer understands."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        self._encodings = [object()]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, device: Any) -> "Encoding":
        self.data = {name: held.to(device) for name, held in self.data.items()}
        return self


class Named(NamedTuple):
    x: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Tensor
    y: Tensor
    name: str = "frozen"


class Defined:
    """What the attrs library makes of a class."""

    __attrs_attrs__ = ("x", "y")

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


class Moves:
    """Has a `to` that gives a new batch, another argument than its attributes, and knows where it is."""

    def __init__(self, pair: tuple[Tensor, Tensor], device: str = "cpu") -> None:
        self.x, self.y = pair
        self.device = torch.device(device)

    def to(self, device: Any) -> "Moves":
        return Moves((self.x.to(device), self.y.to(device)), device)


class Bunch(dict[str, Any]):
    """A dict whose entries are its attributes."""

    def __init__(self, *given: Any, **entries: Any) -> None:
        super().__init__(*given, **entries)
        self.__dict__ = self


class Store(UserDict[str, Any]):
    """The inside of a graph: it knows what it is the inside of."""

    def __init__(self, entries: Mapping[str, Any], parent: Any) -> None:
        super().__init__(entries)
        self._parent = weakref.ref(parent)


class Graph:
    """One graph: nodes along the first axis, edges along the second."""

    def __init__(self, **entries: Any) -> None:
        self._store = Store(entries, self)

    def __getattr__(self, name: str) -> Any:
        if name == "_store" or name not in self._store:
            raise AttributeError(name)
        return self._store[name]

    def to(self, device: Any) -> "Graph":
        self._store.data = {name: held.to(device) for name, held in self._store.items()}
        return self


class Graphs(Graph):
    """Several graphs as one."""

    @classmethod
    def from_data_list(cls, graphs: Sequence[Graph]) -> "Graphs":
        starts = torch.tensor([0, *(len(graph.x) for graph in graphs)]).cumsum(0)
        edges = [graph.edge_index + start for graph, start in zip(graphs, starts[:-1], strict=True)]
        batch = torch.repeat_interleave(torch.arange(len(graphs)), starts.diff())
        made = cls(
            x=torch.cat([graph.x for graph in graphs]),
            edge_index=torch.cat(edges, 1),
            y=torch.cat([graph.y for graph in graphs]),
            batch=batch,
        )
        made._store.ptr = starts
        return made

    def index_select(self, places: Sequence[int]) -> list[Graph]:
        return [self._one(place) for place in places]

    def _one(self, place: int) -> Graph:
        start, end = self._store.ptr[place : place + 2]
        inside = (self.edge_index[0] >= start) & (self.edge_index[0] < end)
        return Graph(x=self.x[start:end], edge_index=self.edge_index[:, inside] - start, y=self.y[place : place + 1])

    @property
    def num_graphs(self) -> int:
        return int(self.batch.max()) + 1


def graphs(x: Tensor, y: Tensor) -> Graphs:
    """One graph for each example, of 1, 2, 3 ... nodes, all alike."""
    each = []
    for place, (row, answer) in enumerate(zip(x, y, strict=True)):
        nodes = place % 4 + 1
        edges = torch.arange(nodes).repeat(2, 1)
        each.append(Graph(x=row.repeat(nodes, 1), edge_index=edges, y=answer.reshape(1)))
    return Graphs.from_data_list(each)


MAKES: Mapping[str, Callable[[Tensor, Tensor], Any]] = {
    "encoding": lambda x, y: Encoding({"x": x, "y": y}),
    "named": Named,
    "frozen": Frozen,
    "defined": Defined,
    "moves": lambda x, y: Moves((x, y)),
    "bunch": lambda x, y: Bunch(x=x, y=y),
    "namespace": lambda x, y: SimpleNamespace(x=x, y=y),
    "graphs": graphs,
}
"""Batches of inputs [example, number] and answers, by kind; all have attributes `x` and `y`."""


def collated(kind: str) -> Callable[[Sequence[tuple[Tensor, Tensor]]], Any]:
    """A collate function that makes batches of a kind."""
    return lambda items: MAKES[kind](torch.stack([x for x, _ in items]), torch.stack([y for _, y in items]))
