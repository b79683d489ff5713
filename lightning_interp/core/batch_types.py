# SPDX-License-Identifier: Apache-2.0
"""Classes of batches by name, and what stands in for a batch whose class is not at hand.

A name that was read from a file imports nothing and calls nothing. It is looked for among what is imported already, and only
a class that is recognisably one of batches is found.
"""

import sys
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.core.batch_objects import is_batch_class
from lightning_interp.core.batches import map_tensors, objects_of
from lightning_interp.core.records import Batch, Probe

FindType = Callable[[str], type | None]
"""The class of a name, None where it is not at hand."""
_OF_PYTHON = (OrderedDict, defaultdict, UserDict, SimpleNamespace)
"""The only classes of the standard library that a file may name: others own files and processes."""


class StandIn(dict[Any, Any]):
    """Entries of a batch whose class is not at hand, also as attributes; those of what it holds answer, too.

    Attributes:
        described: What the class was: its name, and all else that was noted of the instance.
        kept: The attributes that the instance had.
    """

    described: dict[str, Any]
    kept: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        """An entry of this name here, or in what is held."""
        if name in ("described", "kept") or name.startswith("__"):
            raise AttributeError(name)
        for held in (self, self.kept):
            if name in held:
                return held[name]
        if name in self.described:  # the number of graphs
            return self.described[name]
        for inner in self.values():
            if isinstance(inner, StandIn) and name in inner:
                return inner[name]
        raise AttributeError(f"the batch has no {name!r} ({self.described.get('type')})")

    def to(self, device: torch.device | str, *_: Any, **__: Any) -> "StandIn":
        """A copy with all tensors on a device, as batches of most classes give."""
        moved: StandIn = map_tensors(self, lambda tensor: tensor.to(device), device=torch.device(device))
        return moved


class StandInTuple(tuple[Any, ...]):
    """Elements of a tuple whose class is not at hand, those of a named tuple also by name."""

    described: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        """The element of this name."""
        names = [] if name == "described" or name.startswith("__") else self.described.get("fields", [])
        if name not in names:
            raise AttributeError(name)
        return self[names.index(name)]


def type_name(cls: type) -> str:
    """The name that a class is stored under."""
    return f"{cls.__module__}:{cls.__qualname__}"


def python_type(name: str) -> type | None:
    """The class of a name if it is one of Python's own containers: all that is at hand everywhere."""
    return next((cls for cls in _OF_PYTHON if type_name(cls) == name), None)


def imported_type(name: str) -> type | None:
    """The class of a name among what is imported already; None if there is none, or it is not recognisably one of batches.

    >>> imported_type("collections:OrderedDict")
    <class 'collections.OrderedDict'>
    >>> imported_type("subprocess:Popen") is None
    True
    """
    found = named_type(name)
    return found if found is not None and _may_be_named(found) else None


def named_type(name: str) -> type | None:
    """The class that a name leads to, whatever it is of; nothing is imported."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        # Not getattr: a module may import what it is asked for.
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) and type_name(found) == name else None


def _may_be_named(cls: type) -> bool:
    if cls in _OF_PYTHON:
        return True
    own = cls.__module__.partition(".")[0] not in {*sys.stdlib_module_names, "lightning_interp"} - {"__main__"}
    # What cleans up after itself may remove what a stranger's attributes name.
    return own and is_batch_class(cls) and not issubclass(cls, Tensor | nn.Module) and not hasattr(cls, "__del__")


def batches_of(probe: Probe) -> Iterator[Batch]:
    """All batches of a probe."""
    return (batch for part in probe.parts if (split := probe.split(part)) is not None for batch in split.batches)


def types_in(probe: Probe) -> dict[str, type]:
    """Classes of the batch objects of a probe by name."""
    return {name: cls for batch in batches_of(probe) for name, cls in types_of(batch).items()}


def types_of(batch: Batch) -> dict[str, type]:
    """Classes of the objects in a batch by name."""
    found = (type(value) for value in objects_of(batch) if not isinstance(value, Tensor))
    return {type_name(cls): cls for cls in found if cls not in (StandIn, StandInTuple)}


def missing_types(probe: Probe) -> list[str]:
    """Names of the classes that something stands in for, each once."""
    held = (value for batch in batches_of(probe) for value in objects_of(batch))
    return list(dict.fromkeys(value.described["type"] for value in held if isinstance(value, StandIn | StandInTuple)))
