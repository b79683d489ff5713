# SPDX-License-Identifier: Apache-2.0
"""One batch as a JSON tree and tensors by path. What it was an object of is noted beside the plain container it is like.

A node has one key that says what it is (`tensor`, `dict`, `list`, `tuple`, `value`). Batch objects add a key ``of``: name of
the class, number in the batch, and the attributes where these are not the entries. Among attributes there may also be
`again` and `weakref` (the number of an object before) and `device`.
"""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_interp.core.batch_objects import Taken, blank, fill, take_apart
from lightning_interp.core.batch_types import FindType, StandIn, StandInTuple, type_name
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.example_counts import own_count
from lightning_interp.core.records import Batch

_PLAIN = (str, int, float, bool, type(None))


class TreeWriter:
    """Takes batches apart.

    Args:
        tensors: Where their tensors go, under flat keys.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._numbers: dict[int, int] = {}
        self._paths: dict[int, str] = {}
        self._alive: list[Any] = []  # what a mapping makes when asked, too: a number or path is that of an `id`
        self._inside = 0

    def write(self, batch: Batch, path: str) -> Any:
        """JSON tree of a batch; its tensors are kept under its path.

        Raises:
            ProbeError: It holds something that cannot be written without pickling.
        """
        self._numbers, self._paths = {}, {}
        tree = self._node(batch, path)
        self._alive.clear()
        return tree

    def _node(self, value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            return {"tensor": self._tensor(value, path)}
        if id(value) in self._numbers:
            return {"again": self._numbers[id(value)]}
        if self._inside and isinstance(value, torch.device):
            return {"device": "cpu"}
        if isinstance(value, weakref.ReferenceType) and id(value()) in self._numbers:
            return {"weakref": self._numbers[id(value())]}
        taken = take_apart(value)
        if taken is None:
            return {"value": _plain(value, path)}
        if taken.plain:
            return self._entries(taken, path)
        self._inside += 1
        node = self._object(value, taken, path)
        self._inside -= 1
        return node

    def _tensor(self, value: Tensor, path: str) -> str:
        if self._inside and id(value) in self._paths:  # an attribute that repeats an entry
            return self._paths[id(value)]
        path = path if path not in self._tensors else f"{path}#{len(self._tensors)}"  # "a/b" and "a" -> "b" give one path
        # A private copy: two entries of a batch may be views of one storage, which safetensors refuses.
        self._tensors[path] = value.detach().cpu().clone()
        self._paths[id(value)] = path
        self._alive.append(value)
        return path

    def _entries(self, taken: Taken, path: str) -> dict[str, Any]:
        if taken.kind != "dict":
            return {taken.kind: [self._node(item, f"{path}/{place}") for place, item in taken.entries]}
        return {"dict": [[_key(key, path), self._node(item, f"{path}/{key}")] for key, item in taken.entries]}

    def _object(self, value: Any, taken: Taken, path: str) -> dict[str, Any]:
        number = self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        if isinstance(value, StandIn | StandInTuple):  # it goes on as what it stands for
            of = {**value.described, "number": number}
            state: Mapping[str, Any] = value.kept if isinstance(value, StandIn) else {}
        else:
            of, state = {"type": type_name(type(value)), "number": number} | _described(value, taken), taken.state
        if taken.kind == "object" and not isinstance(value, Mapping):
            return {"dict": self._attributes(state, path), "of": of}
        shown = self._entries(taken if taken.kind != "object" else Taken("dict", _shown(value)), path)
        attributes = self._attributes(state, path)
        return {**shown, "of": of | ({"state": attributes} if attributes else {})}

    def _attributes(self, state: Mapping[str, Any], path: str) -> list[list[Any]]:
        nodes = ((name, self._attribute(name, held, path)) for name, held in state.items())
        return [[name, node] for name, node in nodes if node is not None]

    def _attribute(self, name: str, held: Any, path: str) -> Any:
        """The node of an attribute; None for a private one that cannot be written, which the object will not have."""
        try:
            return self._node(held, f"{path}/{name}")
        except ProbeError:
            if name.startswith("_"):
                return None
            raise


def _described(value: Any, taken: Taken) -> dict[str, Any]:
    graphs = own_count(value)
    found: dict[str, Any] = {} if graphs is None else {"num_graphs": graphs}
    if taken.kind == "tuple" and hasattr(type(value), "_fields"):
        found["fields"] = list(type(value)._fields)
    return found | ({"is_own_state": True} if taken.is_own_state else {})


def _shown(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Entries of a mapping as it gives them, for readers without its class."""
    try:
        return list(value.items())
    except Exception:  # a class of the user's own
        return []


def _key(key: Any, path: str) -> Any:
    """A key of a mapping; tuples, which name the edges of graphs of several kinds, are lists in JSON."""
    return [_plain(part, path) for part in key] if type(key) is tuple else _plain(key, path)


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, _PLAIN):
        return value
    raise ProbeError(
        f"probe: {path} is a {type(value).__name__}, which cannot be written without pickling. "
        "Use save_probe=False to keep the probe in memory, or a collate_fn that gives tensors."
    )


class TreeReader:
    """Puts batches together again.

    Args:
        tensors: Their tensors.
        find_type: Gives the classes that are at hand; something stands in for an object of any other.
    """

    def __init__(self, tensors: Mapping[str, Tensor], find_type: FindType) -> None:
        self._tensors, self._find_type = tensors, find_type
        self._made: dict[int, Any] = {}

    def read(self, tree: Mapping[str, Any]) -> Batch:
        """The batch of a tree."""
        self._made = {}
        return self._value(tree)

    def _value(self, tree: Mapping[str, Any]) -> Any:
        if "of" in tree:
            return self._object(tree)
        (kind, content), *_ = tree.items()
        if kind == "tensor":
            return self._tensors[content]
        if kind == "again":
            return self._made[content]
        if kind == "weakref":
            return weakref.ref(self._made[content])
        if kind == "device":
            return torch.device(content)
        if kind == "value":
            return content
        entries = self._entries(kind, content)
        return dict(entries) if kind == "dict" else _sequence(kind, entries)

    def _entries(self, kind: str, content: Any) -> list[tuple[Any, Any]]:
        if kind == "dict":
            return [(tuple(key) if isinstance(key, list) else key, self._value(item)) for key, item in content]
        return list(enumerate(self._value(item) for item in content))

    def _object(self, tree: Mapping[str, Any]) -> Any:
        of = dict(tree["of"])
        number, state = of.pop("number"), of.pop("state", None)
        (kind, content), *_ = tree.items()
        cls = self._find_type(of["type"])
        if cls is not None:
            try:
                return self._of_class(cls, number, kind, content, state, of)
            except (TypeError, AttributeError):  # the class has changed since
                pass
        return self._stand_in(number, kind, content, state, of)

    def _stand_in(self, number: int, kind: str, content: Any, state: Any, of: dict[str, Any]) -> Any:
        """What is read where the class is not at hand; of a list, a list."""
        if kind == "dict":
            made = self._made[number] = StandIn()
            made.described, made.kept = of, {}
            made.update(self._entries(kind, content))
            made.kept.update(self._entries("dict", state or []))
            return made
        items = self._made[number] = _sequence(kind, self._entries(kind, content))
        if kind == "tuple":
            items = self._made[number] = StandInTuple(items)
            items.described = of
        return items

    def _of_class(self, cls: type, number: int, kind: str, content: Any, state: Any, of: Mapping[str, Any]) -> Any:
        """An instance of the class, without its `__init__`.

        Raises:
            TypeError: The class is of another kind.
            AttributeError: It has no room for an attribute.
        """
        container = {"dict": dict, "list": list, "tuple": tuple}[kind]
        holds = issubclass(cls, container)
        if not holds and issubclass(cls, dict | list | tuple):
            raise TypeError(f"{cls.__name__} is no {kind}")
        if kind == "tuple":
            entries = self._entries(kind, content)
            new = self._made[number] = blank(cls, [item for _, item in entries])
        else:
            new = self._made[number] = blank(cls)
            entries = self._entries(kind, content) if holds else []
        attributes = state if holds or state is not None else content
        taken = Taken(kind, entries, dict(self._entries("dict", attributes or [])), False)  # type: ignore[arg-type]
        return fill(new, replace(taken, is_own_state=bool(of.get("is_own_state"))))


def _sequence(kind: str, entries: list[tuple[Any, Any]]) -> list[Any] | tuple[Any, ...]:
    items = [item for _, item in entries]
    return items if kind == "list" else tuple(items)
