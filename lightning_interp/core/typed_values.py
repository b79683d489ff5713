# SPDX-License-Identifier: Apache-2.0
"""Whether a value read from a file is of the type that code is written for: what is read may be anybody's file."""

from collections.abc import Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

MOST = 2**63 - 1
"""Largest whole number taken for a count or a step: numpy, torch and loggers hold no larger one."""


def fits(value: object, kind: Any) -> bool:
    """Whether a value that JSON gave can stand for an annotation; a list stands for a tuple, a whole number for a float.

    Args:
        value: The value.
        kind: `int` (of 64 bits), `float`, `str`, `bool`, None, `Any`, literals, unions of these, and lists, tuples of one
            kind, mappings of them.

    >>> fits([1, 2], tuple[int, ...]), fits(True, int), fits(2**63, int), fits(None, float | None)
    (True, False, False, True)
    """
    if kind is Any:
        return True
    if kind is None or kind is NoneType:
        return value is None
    if kind is int:
        return type(value) is int and -MOST <= value <= MOST
    if kind is float:
        return type(value) is float or fits(value, int)
    if isinstance(kind, type) and get_origin(kind) is None:
        return isinstance(value, kind)
    return _fits_parts(value, get_origin(kind), get_args(kind))


def _fits_parts(value: object, origin: Any, parts: tuple[Any, ...]) -> bool:
    if origin is Literal:
        return isinstance(value, str | int | NoneType) and value in parts
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if not isinstance(value, list | tuple):
        return False
    if origin is tuple and parts[-1:] != (...,):
        return len(value) == len(parts) and all(map(fits, value, parts))
    return all(fits(item, parts[0]) for item in value)


@lru_cache
def fields_of(cls: type) -> Mapping[str, Any]:
    """Annotations of a class by field."""
    return get_type_hints(cls)


def misfit(content: Mapping[str, Any], kinds: Mapping[str, Any]) -> str | None:
    """The first field whose value does not fit, in words; None if all do. Fields that are not there are not looked at.

    >>> misfit({"step": "4", "other": 1}, {"step": int})
    "`step` should be int, not '4'"
    """
    wrong = next((name for name, kind in kinds.items() if name in content and not fits(content[name], kind)), None)
    return None if wrong is None else f"`{wrong}` should be {words(kinds[wrong])}, not {shown(content[wrong])}"


def words(kind: Any) -> str:
    """An annotation for people."""
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")


def shown(value: object) -> str:
    """A value for people, cut where it is long; how deep it goes does not matter."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
