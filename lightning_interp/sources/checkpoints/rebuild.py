# SPDX-License-Identifier: Apache-2.0
"""The names and calls of a `torch.save` file that are understood; everything else they make is a stand-in."""

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lightning_interp.sources.checkpoints.limits import MAX_EXPANDED

_MAX_AXES = 64
_MAX_INT = 2**63 - 1
# Python's hashes of numbers and tuples are no secret, and a tuple is hashed anew each time it is a key.
_MAX_KEY_BITS = 64
_MAX_KEY_PARTS = 256
_SHOWN = 120

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
# Others, quantized or packed, need more than their bytes to be read; some are not in every torch.
_READ = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_DTYPES = {
    str(each).removeprefix("torch."): each
    for each in vars(torch).values()
    if isinstance(each, torch.dtype) and str(each).removeprefix("torch.") in _READ
}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What a stream names or would have made, as text: an inert stand-in.

    Attributes:
        module: Module of the class or function, as the stream spells it.
        name: Its name there.
        kind: "name" where it stands for the class or function itself, "result" for what calling it would have given,
            "persistent id" or "extension" for the two other ways to refer to something outside the stream.
    """

    module: str
    name: str
    kind: str = "name"

    @property
    def text(self) -> str:
        """What it stands for, with control characters escaped."""
        shown = repr(f"{self.module[:_SHOWN]}.{self.name[:_SHOWN]}".strip("."))[1:-1]
        return shown if self.kind == "name" else f"{self.kind} of {shown}"


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """A storage of the file: its key, the kind of its elements and its bytes."""

    key: str
    dtype: torch.dtype
    nbytes: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor still in its file; elements lie within the storage by construction.

    Attributes:
        key: Key of the storage.
        dtype: Kind of its elements.
        offset: First element, counted in elements from the start of the storage.
        size: Elements along each axis.
        stride: Elements from one index to the next along each axis.
        nbytes: Bytes of the whole storage.

    Raises:
        ValueError: An element lies outside the storage.
    """

    key: str
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    nbytes: int

    def __post_init__(self) -> None:
        if len(self.size) != len(self.stride) or len(self.size) > _MAX_AXES:
            raise ValueError(f"a tensor has {len(self.size)} sizes and {len(self.stride)} strides")
        if not all(0 <= number <= _MAX_INT for number in (self.offset, self.nbytes, *self.size, *self.stride)):
            raise ValueError("a tensor's offset, a size or a stride is negative or too large")
        elements, held = math.prod(self.size), self.nbytes // self.dtype.itemsize
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if elements and last >= held:
            raise ValueError(f"a tensor reaches past its storage: it needs {last + 1} elements, {held} are there")
        if elements > max(held, MAX_EXPANDED):
            raise ValueError(f"a tensor repeats {held} elements to be {elements}, more than {MAX_EXPANDED}")


@dataclass(frozen=True, slots=True)
class NumpyKind:
    """The kind of a numpy number, such as ``i8``."""

    code: str


_FORMATS = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_FORMATS |= {"f2": "e", "f4": "f", "f8": "d"}


def _numpy_kind(_: "Rebuild", arguments: tuple[Any, ...]) -> NumpyKind | None:
    code = arguments[0] if arguments else None
    return NumpyKind(code) if type(code) is str and code in _FORMATS else None


def _numpy_number(_: "Rebuild", arguments: tuple[Any, ...]) -> int | float | None:
    """A numpy number of little end, as every machine that trains has it."""
    if len(arguments) != 2 or type(arguments[0]) is not NumpyKind or type(arguments[1]) is not bytes:
        return None
    kind = f"<{_FORMATS[arguments[0].code]}"
    if struct.calcsize(kind) != len(arguments[1]):
        return None
    number: int | float = struct.unpack(kind, arguments[1])[0]
    return number


class Rebuild:
    """The few calls that are understood. What they copy is counted: a stream cannot refer to one list a million times."""

    def __init__(self, size: int) -> None:
        self._left = size

    def call(self, function: Any, arguments: Any, keywords: Any = None) -> Any:
        """What a call stands for; a function that is not known here gives a stand-in, its arguments are dropped."""
        if type(function) is not Placeholder or type(arguments) is not tuple:
            raise ValueError(f"a {type(function).__name__} is called with a {type(arguments).__name__}")
        known = _KNOWN.get((function.module, function.name)) if function.kind == "name" and not keywords else None
        made = None if known is None else known(self, arguments)
        return Placeholder(function.module, function.name, "result") if made is None else made

    def items(self, arguments: tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
        """The one list or tuple a container is made from, none of it for no argument."""
        found = arguments[0] if len(arguments) == 1 else ()
        if len(arguments) > 1 or type(found) not in (list, tuple):
            raise ValueError("a container is made of something that is no list")
        self._spend(len(found))
        return found

    def ordered(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        """An OrderedDict as a dict."""
        pairs = self.items(arguments)
        if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            raise ValueError("an OrderedDict is made of something that is no list of pairs")
        return paired([part for pair in pairs for part in pair])

    def size(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """A tuple stays itself."""
        return arguments[0] if len(arguments) == 1 and type(arguments[0]) is tuple else tuple(self.items(arguments))

    def encoded(self, arguments: tuple[Any, ...]) -> bytes | None:
        """Protocols 0 to 2 write bytes as text to be encoded."""
        if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] not in ("latin1", "latin-1"):
            return None
        self._spend(len(arguments[0]))
        return arguments[0].encode("latin-1")

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("its calls copy more than it holds")


def paired(items: list[Any]) -> dict[Any, Any]:
    """Keys and values, in turn, as a dict.

    Raises:
        ValueError: A key is without a value or cannot be one.
    """
    if len(items) % 2:
        raise ValueError("a key has no value")
    return dict(zip(checked_keys(items[::2]), items[1::2], strict=True))


def checked_keys(keys: Iterable[Any]) -> Iterable[Any]:
    """The keys of a dict or members of a set, each seen to be hashed in little time.

    Raises:
        ValueError: One cannot be hashed, or costs too much.
    """
    for key in keys:
        if type(key) is not str:
            _check_key(key)
        yield key


def _check_key(key: Any) -> None:
    parts, seen = [key], 0
    while parts:
        part = parts.pop()
        seen += 1
        if type(part) in (list, dict, set):
            raise ValueError(f"a {type(part).__name__} is a key")
        if type(part) is int and part.bit_length() > _MAX_KEY_BITS:
            raise ValueError(f"a key of {part.bit_length()} bits")
        if type(part) in (tuple, frozenset):
            seen += len(part)
            if seen <= _MAX_KEY_PARTS:
                parts.extend(part)
        if seen > _MAX_KEY_PARTS:
            raise ValueError(f"a key of more than {_MAX_KEY_PARTS} parts")


def stored_bytes(found: Any) -> StoredBytes | Placeholder:
    """What a persistent id refers to: a storage of the file, or a stand-in.

    Raises:
        ValueError: It refers to a storage as torch never does.
    """
    if type(found) is not tuple or len(found) != 5 or found[0] != "storage" or type(found[1]) is not Placeholder:
        return Placeholder("", found if type(found) is str else type(found).__name__, "persistent id")
    kind: Placeholder = found[1]
    key, _, elements = found[2:]
    dtype = _STORAGES.get(kind.name) if kind.module in ("torch", "torch.storage", "torch.cuda") else None
    if dtype is None:
        return Placeholder(kind.module, kind.name, "persistent id")
    if type(key) is not str or type(elements) is not int or not 0 <= elements <= _MAX_INT // dtype.itemsize:
        raise ValueError("a storage has no key or no number of elements")
    return StoredBytes(key, dtype, elements * dtype.itemsize)


def _tensor(arguments: tuple[Any, ...], *, counts: tuple[int, ...], dtype: torch.dtype | None = None) -> StoredTensor | None:
    if len(arguments) not in counts:
        raise ValueError(f"a tensor is made of {len(arguments)} arguments")
    storage, offset, size, stride = arguments[:4]
    if type(storage) is Placeholder:
        return None
    if type(storage) is not StoredBytes or type(size) is not tuple or type(stride) is not tuple:
        raise ValueError("a tensor is made of no storage, or has no sizes and strides")
    if not all(type(number) is int for number in (offset, *size[:_MAX_AXES], *stride[:_MAX_AXES])):
        raise ValueError("a tensor's offset, sizes and strides are no integers")
    return StoredTensor(storage.key, dtype or storage.dtype, offset, size, stride, storage.nbytes)


def _tensor_v2(_: Rebuild, arguments: tuple[Any, ...]) -> StoredTensor | None:
    if arguments[6:7] and arguments[6]:  # conjugated or negated when read: its bytes are not its values
        return None
    return _tensor(arguments, counts=(6, 7))


def _tensor_v3(_: Rebuild, arguments: tuple[Any, ...]) -> StoredTensor | None:
    named = arguments[6] if len(arguments) > 6 else None
    if type(named) is not Placeholder or named.kind != "name":
        raise ValueError("a tensor has no dtype")
    dtype = _DTYPES.get(named.name) if named.module == "torch" else None
    if dtype is None or (arguments[7:8] and arguments[7]):
        return None
    return _tensor(arguments, counts=(7, 8), dtype=dtype)


def _parameter(_: Rebuild, arguments: tuple[Any, ...]) -> StoredTensor | Placeholder:
    if len(arguments) not in (3, 4) or type(arguments[0]) not in (StoredTensor, Placeholder):
        raise ValueError("a parameter is made of no tensor")
    return arguments[0]  # type: ignore[no-any-return]


_KNOWN: dict[tuple[str, str], Callable[[Rebuild, tuple[Any, ...]], Any]] = {
    ("collections", "OrderedDict"): Rebuild.ordered,
    ("torch", "Size"): Rebuild.size,
    ("torch._utils", "_rebuild_tensor"): lambda _, arguments: _tensor(arguments, counts=(4,)),
    ("torch._utils", "_rebuild_tensor_v2"): _tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("numpy", "dtype"): _numpy_kind,
    ("numpy.core.multiarray", "scalar"): _numpy_number,
    ("numpy._core.multiarray", "scalar"): _numpy_number,
    # How protocols 0 to 2, of which 2 is torch's own, write what later ones have opcodes for.
    ("_codecs", "encode"): Rebuild.encoded,
    **{
        (module, name): made
        for module in ("builtins", "__builtin__")
        for name, made in {
            "set": lambda rebuild, arguments: set(checked_keys(rebuild.items(arguments))),
            "frozenset": lambda rebuild, arguments: frozenset(checked_keys(rebuild.items(arguments))),
            "bytes": lambda _, arguments: None if arguments else b"",
        }.items()
    },
}
