# SPDX-License-Identifier: Apache-2.0
"""Classes of batches on their way from the training to its analyzer, through the pipe that carries code by design.

A file only names them. The analyzer does not import what a file names: it takes what the training sent under that name.
"""

import pickle
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import cloudpickle

from lightning_interp.core.batch_objects import blank
from lightning_interp.core.batch_types import imported_type, named_type, python_type, type_name

PackedTypes = Mapping[str, tuple[bytes, ...]]
"""By name of a class, pickles of it and of an empty instance; the latter goes first for a class that no name leads to, as of
those that are made while running: its instances know how to make it."""


def pack_types(types: Mapping[str, type | None]) -> PackedTypes:
    """Pack classes; of one that is not at hand or cannot be pickled only the name goes along."""
    return {name: () if cls is None else _pickles(cls) for name, cls in types.items()}


def _pickles(cls: type) -> tuple[bytes, ...]:
    contents: tuple[Callable[[], Any], ...] = (lambda: cls, lambda: blank(cls))
    found = []
    for content in contents if named_type(type_name(cls)) is cls else reversed(contents):
        with suppress(Exception):  # a class of the user's own may refuse in any way
            found.append(cloudpickle.dumps(content(), protocol=5))
    return tuple(found)


class KnownTypes:
    """Finds classes by name: Python's own, those that were sent, and where a module was built those imported with it.

    Args:
        packed: What the training sent; None for an analysis started by hand, to which none will be sent.
        looks_around: Whether classes may be looked for among what is imported already.
    """

    def __init__(self, packed: PackedTypes | None, *, looks_around: bool) -> None:
        self.expects_more = packed is not None
        self._looks_around = looks_around
        self._known: dict[str, type | None] = {}
        self.learn(packed or {})

    def learn(self, packed: PackedTypes) -> None:
        """Take in what the training sent, over its own pipe."""
        self._known |= {name: _unpacked(pickles) for name, pickles in packed.items()}

    def is_known(self, name: str) -> bool:
        """Whether waiting brings no more to light about a class."""
        return name in self._known or self.find(name) is not None

    def find(self, name: str) -> type | None:
        """The class of a name, None where it is not at hand."""
        found = self._known.get(name) or python_type(name)
        return imported_type(name) if found is None and self._looks_around else found


def _unpacked(pickles: tuple[bytes, ...]) -> type | None:
    for content in pickles:
        with suppress(Exception):  # it may not be importable here
            found = pickle.loads(content)  # sent by the parent process over its own pipe
            return found if isinstance(found, type) else type(found)
    return None
