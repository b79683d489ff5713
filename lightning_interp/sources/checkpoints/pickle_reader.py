# SPDX-License-Identifier: Apache-2.0
"""What a pickle stream of `torch.save` holds, found without resolving, importing or calling anything it names.

The opcodes work on a stack of plain values. A name is only ever compared with the few names known to `rebuild`.
"""

import codecs
import pickletools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.rebuild import NumpyKind, Rebuild, checked_keys, paired, stored_bytes
from lightning_interp.sources.checkpoints.rebuild import Placeholder as Placeholder
from lightning_interp.sources.checkpoints.rebuild import StoredTensor as StoredTensor

_MAX_BITS = 4096  # of an integer: more cannot be printed, and its arithmetic is slow
_SHOWN = 120
_CONTAINERS = (list, tuple, dict, set, frozenset)

# A codec is imported when it is first used. This is the one opcodes of protocol 0 need; doing it here keeps reading clean.
codecs.lookup("raw-unicode-escape")


@dataclass(frozen=True)
class Limits:
    """Where reading a stream stops, so that a hostile one costs bounded time and memory.

    Attributes:
        stream: Bytes of the stream.
        opcodes: Opcodes run.
        memo: Values the stream keeps to refer to again.
        depth: Containers within one another.
    """

    stream: int = 2**27
    opcodes: int = 4_000_000
    memo: int = 2_000_000
    depth: int = 500


def read_pickle(stream: bytes, *, source: str, limits: Limits | None = None) -> object:
    """Content of a pickle stream: plain values, `StoredTensor` for tensors, `Placeholder` for everything else.

    Args:
        stream: The bytes, protocol 0 to 5.
        source: What they are part of, named in errors.
        limits: Where to stop.

    Raises:
        CheckpointError: The stream is damaged, or larger or deeper than the limits.
    """
    machine = _Machine(len(stream), limits or Limits())
    try:
        return machine.run(stream)
    except ValueError as err:
        raise CheckpointError(
            f"{source}: byte {machine.position} of the pickle: {str(err)[:400]}. "
            "Nothing of it was run; get the file again, or save a plain state dict with torch.save."
        ) from err


class _Machine:
    """The stack, the open marks and the memo of a stream; every method here runs opcodes."""

    def __init__(self, size: int, limits: Limits) -> None:
        self.position = 0
        self._limits = limits
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._rebuild = Rebuild(size)

    def run(self, stream: bytes) -> object:
        """The one value a stream makes.

        Raises:
            ValueError: It passes a limit, holds what is not read from files, or does not end with one value. Whatever else a
                malformed stream causes is for the caller to catch.
        """
        if len(stream) > self._limits.stream:
            raise ValueError(f"it has {len(stream)} bytes, more than {self._limits.stream}")
        for count, (opcode, arg) in enumerate(self._opcodes(stream)):
            if count >= self._limits.opcodes:
                raise ValueError(f"more than {self._limits.opcodes} opcodes")
            if opcode in _LITERALS:
                self._stack.append(_literal(arg))
            elif opcode in _EMPTY:
                self._stack.append(_EMPTY[opcode]())
            elif opcode in _RUN:
                _RUN[opcode](self, arg)
            elif opcode == "FRAME" and arg > len(stream) - self.position:
                raise ValueError(f"a frame of {arg} bytes does not fit")
            elif opcode not in ("FRAME", "STOP"):
                raise ValueError(f"{opcode} is not read from a file")
        if len(self._stack) != 1 or self._below:
            raise ValueError(
                f"{len(self._stack)} values and {len(self._below)} open marks are left at its end, expected one value"
            )
        _check_depth(self._stack[0], self._limits.depth)
        return self._stack[0]

    def _opcodes(self, stream: bytes) -> Iterator[tuple[str, Any]]:
        end = 0
        operations = pickletools.genops(stream)
        while True:
            try:
                opcode, arg, position = next(operations)
            except StopIteration:
                break
            except Exception as err:  # decoders of hostile bytes raise errors of many kinds, warnings made errors, too
                raise ValueError(f"after this, no opcode can be read ({str(err)[:_SHOWN]})") from err
            self.position = end = position or 0
            yield opcode.name, arg
        if end + 1 != len(stream):
            raise ValueError(f"{len(stream) - end - 1} bytes follow its end")

    def pop(self) -> Any:
        if not self._stack:
            raise ValueError("an opcode takes more values than there are")
        return self._stack.pop()

    def top(self) -> Any:
        if not self._stack:
            raise ValueError("an opcode needs a value and there is none")
        return self._stack[-1]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def take(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def mark(self) -> None:
        if len(self._below) >= self._limits.depth:
            raise ValueError(f"more than {self._limits.depth} marks are open")
        self._below.append(self._stack)
        self._stack = []

    def marked(self) -> list[Any]:
        if not self._below:
            raise ValueError("an opcode needs a MARK and there is none")
        items, self._stack = self._stack, self._below.pop()
        return items

    def drop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self.marked()

    def keep(self, index: int) -> None:
        if index < 0 or len(self._memo) >= self._limits.memo:
            raise ValueError(f"value {index} cannot be kept: at most {self._limits.memo} are")
        self._memo[index] = self.top()

    def memoize(self) -> None:
        self.keep(len(self._memo))

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError(f"value {index} is referred to and was not kept")
        self.push(self._memo[index])

    def name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name is no text")
        self.push(Placeholder(module, name))

    def call(self, arguments: Any, keywords: Any = None) -> None:
        self.push(self._rebuild.call(self.pop(), arguments, keywords))

    def call_marked(self, target: Placeholder | None = None) -> None:
        items = self.marked()
        if target is None and not items:
            raise ValueError("an object is made of no class")
        self.push(self._rebuild.call(*((items[0], tuple(items[1:])) if target is None else (target, tuple(items)))))

    def append(self, items: Iterable[Any]) -> None:
        target = self.top()
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Placeholder:  # what a stand-in would have held is dropped
            raise ValueError(f"items are appended to a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        found = paired(items)
        target = self.top()
        if type(target) is dict:
            target.update(found)
        elif type(target) is not Placeholder:
            raise ValueError(f"entries are set in a {type(target).__name__}")

    def add(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is set:
            target.update(checked_keys(items))
        elif type(target) is not Placeholder:
            raise ValueError(f"items are added to a {type(target).__name__}")

    def build(self) -> None:
        state = self.pop()  # of an object: there is none here to set it on
        if type(self.top()) is NumpyKind and type(state) is tuple and ">" in state[:3]:  # numbers of big end
            self._stack[-1] = Placeholder("numpy", "dtype", "result")

    def persistent(self, found: Any) -> None:
        self.push(stored_bytes(found))

    def protocol(self, number: int) -> None:
        if number > 5:
            raise ValueError(f"protocol {number} is not known")


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_EMPTY: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_RUN: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.drop(),
    "POP_MARK": lambda m, _: m.marked(),
    "DUP": lambda m, _: m.push(m.top()),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "TUPLE1": lambda m, _: m.push(m.take(1)),
    "TUPLE2": lambda m, _: m.push(m.take(2)),
    "TUPLE3": lambda m, _: m.push(m.take(3)),
    "LIST": lambda m, _: m.push(m.marked()),
    "DICT": lambda m, _: m.push(paired(m.marked())),
    "FROZENSET": lambda m, _: m.push(frozenset(checked_keys(m.marked()))),
    "APPEND": lambda m, _: m.append(m.take(1)),
    "APPENDS": lambda m, _: m.append(m.marked()),
    "SETITEM": lambda m, _: m.set_items(list(m.take(2))),
    "SETITEMS": lambda m, _: m.set_items(m.marked()),
    "ADDITEMS": lambda m, _: m.add(m.marked()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, arg: m.keep(int(arg))),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, arg: m.recall(int(arg))),
    "MEMOIZE": lambda m, _: m.memoize(),
    "GLOBAL": lambda m, arg: m.name(*arg.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.take(2)),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda m, arg: m.push(Placeholder("copyreg", str(arg), "extension"))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.call(m.pop())),
    "NEWOBJ_EX": lambda m, _: m.call(*m.take(2)),
    "INST": lambda m, arg: m.call_marked(Placeholder(*arg.split(" ", 1))),
    "OBJ": lambda m, _: m.call_marked(),
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, arg: m.persistent(arg),
    "BINPERSID": lambda m, _: m.persistent(m.pop()),
    "PROTO": lambda m, arg: m.protocol(arg),
}


def _literal(value: Any) -> Any:
    if type(value) is int and value.bit_length() > _MAX_BITS:
        raise ValueError(f"an integer of {value.bit_length()} bits")
    return bytes(value) if type(value) is bytearray else value


def _parts(container: Any) -> Iterator[Any]:
    return chain(container.keys(), container.values()) if type(container) is dict else iter(container)


def _check_depth(content: Any, limit: int) -> None:
    """Refuse containers nested deeper than a limit; a container within itself adds nothing.

    Without recursion, and each container once, however often it is referred to.
    """
    if type(content) not in _CONTAINERS:
        return
    heights = {id(content): 0}
    path = [(content, _parts(content))]
    while path:
        container, parts = path[-1]
        below = next((part for part in parts if type(part) in _CONTAINERS and id(part) not in heights), None)
        if below is not None:
            heights[id(below)] = 0
            path.append((below, _parts(below)))
            continue
        path.pop()
        # Numbers and texts have no height: their ids are not those of containers, which are all alive.
        heights[id(container)] = 1 + max((heights.get(id(part), 0) for part in _parts(container)), default=0)
        if heights[id(container)] > limit:
            raise ValueError(f"more than {limit} containers within one another")
