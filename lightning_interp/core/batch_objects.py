# SPDX-License-Identifier: Apache-2.0
"""Batches of classes of their own, taken apart into what they hold and put together again.

No method of such a class is called, neither ``__init__`` nor ``to``: some of them move the batch in place, and the training
still needs it.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from itertools import islice
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, Literal

from torch import Tensor, nn

Kind = Literal["dict", "list", "tuple", "object"]

_BASES = (OrderedDict, defaultdict, dict, list, tuple, SimpleNamespace, object)
"""Classes that know how to make an instance without `__init__`, the more special ones first."""
_NO_BATCHES = (str, bytes, int, float, complex, type(None), nn.Module, type, ModuleType)


@dataclass(frozen=True)
class Taken:
    """What a container of a batch holds.

    Attributes:
        kind: Which of Python's own containers it is, "object" if none.
        entries: Key and value of a dict, place and element of a list or tuple.
        state: Its attributes.
        plain: Whether it is a dict, list or tuple and nothing more.
        is_own_state: Whether its entries are its attributes (``self.__dict__ = self``).
    """

    kind: Kind
    entries: Sequence[tuple[Any, Any]]
    state: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = True
    is_own_state: bool = False


def take_apart(value: Any) -> Taken | None:
    """What a container holds; None for values that are no containers, tensors among them."""
    if isinstance(value, Tensor):
        return None
    cls = type(value)
    if isinstance(value, dict | list | tuple):
        kind: Kind = "dict" if isinstance(value, dict) else "list" if isinstance(value, list) else "tuple"
        entries = list(_entries(value))
        if cls in (dict, list, tuple) or not _can_be_made(cls):
            return Taken(kind, entries)
        state = _attributes(value)
        return Taken(kind, entries, {}, False, True) if state is value else Taken(kind, entries, state, False)
    if isinstance(value, _NO_BATCHES) or not _is_batch(value):
        return None
    state = _attributes(value)
    if state and _can_be_made(cls):
        return Taken("object", (), state, False)
    return Taken("dict", list(value.items())) if isinstance(value, Mapping) else None


def _entries(value: Any) -> Iterable[tuple[Any, Any]]:
    """As Python's own containers keep them, whatever the class makes of it."""
    if isinstance(value, dict):
        return OrderedDict.items(value) if isinstance(value, OrderedDict) else dict.items(value)
    return enumerate(list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value))


def blank(cls: type, elements: Sequence[Any] = ()) -> Any:
    """An instance without entries or attributes; of a tuple, one with its elements.

    Raises:
        TypeError: Only the class itself can make one.
    """
    base: Any = next(base for base in _BASES if issubclass(cls, base))
    return tuple.__new__(cls, elements) if base is tuple else base.__new__(cls)


def fill(new: Any, taken: Taken, like: Any = None) -> Any:
    """Give a blank instance its entries and attributes; of a tuple, the attributes only.

    Args:
        new: The instance, returned.
        taken: What it is to hold.
        like: Instance it is a copy of, if there is one.

    Raises:
        AttributeError: The class has no room for an attribute.
    """
    if isinstance(new, defaultdict) and isinstance(like, defaultdict):
        new.default_factory = like.default_factory
    if isinstance(new, dict):
        put = OrderedDict.__setitem__ if isinstance(new, OrderedDict) else dict.__setitem__
        for key, value in taken.entries:
            put(new, key, value)
    elif isinstance(new, list):
        list.extend(new, (value for _, value in taken.entries))
    if taken.is_own_state:
        new.__dict__ = new
    slots, own = set(_slots(type(new))), _own_dict(new)
    for name, value in taken.state.items():
        if name not in slots and own is not None:
            own[name] = value
        elif name in slots:
            object.__setattr__(new, name, value)
        else:
            raise AttributeError(f"a {type(new).__name__} has no room for {name!r}")
    return new


def is_batch_class(cls: type) -> bool:
    """Whether instances of a class are recognisably batches, whatever they hold."""
    named = issubclass(cls, Mapping | list | tuple | SimpleNamespace) or is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")
    return named or callable(getattr(cls, "to", None))


def _is_batch(value: Any) -> bool:
    return is_batch_class(type(value)) or any(_holds_tensors(held) for held in (_own_dict(value) or {}).values())


def _holds_tensors(held: Any) -> bool:
    if isinstance(held, Mapping | list | tuple):
        inner = held.values() if isinstance(held, Mapping) else held
        return any(isinstance(each, Tensor) for each in islice(inner, 8))  # the first few tell
    return isinstance(held, Tensor)


def _attributes(value: Any) -> Mapping[str, Any]:
    """Attributes by name, as they are kept: no property is read, and no `__getattr__` is asked."""
    own: dict[str, Any] | None = _own_dict(value)
    if own is not None and own is value:
        return own
    found = {}
    for name in _slots(type(value)):
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:  # one without a value
            continue
    return found | dict(own or {})


def _own_dict(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name.startswith("__") and not name.endswith("__"):
                yield f"_{base.__name__.lstrip('_')}{name}"
            elif name not in ("__dict__", "__weakref__"):
                yield name


def _can_be_made(cls: type) -> bool:
    """Whether `blank` gives instances; one that cleans up after itself would do so for the copy, too."""
    if hasattr(cls, "__del__") or cls is MappingProxyType:
        return False
    try:
        blank(cls)
    except TypeError:
        return False
    return True
