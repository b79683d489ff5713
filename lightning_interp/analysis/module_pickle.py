# SPDX-License-Identifier: Apache-2.0
"""A module without its weights, small enough to travel: pickled once, unpickled afresh with each snapshot's weights.

The live module is only read. Tensors of the state_dict become references by name, so that a copy filled with a snapshot is
one unpickling; objects that cannot travel (locks, iterators, open files, the Trainer) become stubs that say so when used.
"""

import importlib.util
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from lightning_interp.core.errors import ProbeError
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.recycled_memory import RecycledMemory

SIZE_CAP = 256 * 2**20
"""Most bytes a module without its weights may take."""
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType)
_OPEN_FILES = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)
_COMPILED_METHODS = ("forward", "training_step", "validation_step", "test_step", "predict_step")


class NotCarried:
    """Stands for an attribute that could not travel to the analyzer; using it says which one."""

    def __init__(self, what: str) -> None:
        self.__dict__["_what"] = what

    def _refuse(self) -> ProbeError:
        return ProbeError(
            f"a {self._what} held by the module cannot travel to the analyzer; pass module= or "
            "probe_step= (--module, --probe-step)"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._refuse()

    def __call__(self, *args: object, **kwargs: object) -> Any:  # noqa: ARG002 - called in place of anything
        """Refuse."""
        raise self._refuse()

    def __reduce__(self) -> tuple[Callable[[str], "NotCarried"], tuple[str]]:
        return NotCarried, (self._what,)


def pack_module(module: nn.Module, *, size_cap: int = SIZE_CAP) -> bytes:
    """Pickle a module's structure, code and plain attributes, without state_dict tensors.

    Raises:
        ProbeError: It cannot be pickled, or is larger than `size_cap`; the message names the attribute in the way.
    """
    sink = _CappedSink(size_cap)
    try:
        with _by_value(module):
            _ModulePickler(sink, module).dump(module)
    except _TooLargeError:
        name, size = _largest_attribute(module)
        raise ProbeError(
            f"the module without its weights is over {size_cap / 2**20:.0f} MB: attribute `{name}` takes "
            f"{size / 2**20:.1f} MB. Keep such data out of the module, or pass module= (a factory)."
        ) from None
    except Exception as err:
        raise ProbeError(f"the module cannot be pickled ({type(err).__name__}: {err}); pass module= (a factory).") from err
    return sink.getvalue()


def unpack_module(packed: bytes, weights: Mapping[str, Tensor], memory: RecycledMemory | None = None) -> nn.Module:
    """A fresh module holding private copies of `weights`; tied parameters stay tied.

    Args:
        packed: What `pack_module` gave.
        weights: Tensors by name.
        memory: Where their copies go; None for fresh memory.

    Raises:
        ProbeError: It cannot be rebuilt here, or a weight is missing.
    """
    try:
        module = _ModuleUnpickler(io.BytesIO(packed), weights, memory or RecycledMemory()).load()
    except Exception as err:
        raise ProbeError(f"the copy of the module cannot be rebuilt ({type(err).__name__}: {err})") from err
    if not isinstance(module, nn.Module):
        raise ProbeError(f"expected a torch module, got a {type(module).__name__}")
    return module


class _TooLargeError(Exception):
    pass


class _CappedSink(io.BytesIO):
    def __init__(self, cap: int) -> None:
        super().__init__()
        self._cap = cap

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._cap:
            raise _TooLargeError
        return super().write(data)


class _ModulePickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, sink: io.BytesIO, module: nn.Module) -> None:
        super().__init__(sink, protocol=5)
        self._names: dict[int, str] = {}
        for name, value in module.state_dict(keep_vars=True).items():
            if isinstance(value, Tensor):
                self._names.setdefault(id(value), strip_wrappers(name))

    def persistent_id(self, obj: Any) -> tuple[str, str, bool] | None:
        """Reference in place of an object: a state_dict tensor by name, the Trainer not at all."""
        if isinstance(obj, Tensor) and id(obj) in self._names:
            kind = "parameter" if isinstance(obj, nn.Parameter) else "buffer"
            return kind, self._names[id(obj)], obj.requires_grad
        return ("absent", type(obj).__name__, False) if type(obj).__name__ == "Trainer" else None

    def reducer_override(self, obj: Any) -> Any:
        """How one object travels: by name, by value, as a stub that says so when used, or uncompiled if it is a module."""
        if isinstance(obj, torch.jit.ScriptModule):
            raise pickle.PicklingError("it holds TorchScript, which lives outside python")
        if isinstance(obj, _OPEN_FILES) and obj not in (sys.stdin, sys.stdout, sys.stderr):
            return NotCarried, (type(obj).__name__,)  # cloudpickle would read it to its end
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented or isinstance(obj, _BY_NAME):
            return reduced
        if isinstance(obj, torch._dynamo.eval_frame.OptimizedModule):
            return _same, (obj._orig_mod,)
        try:
            table = self.dispatch_table.get(type(obj))
            reduced = table(obj) if table else obj.__reduce_ex__(5)
        except Exception as err:  # whatever an object raises, it cannot travel
            if isinstance(obj, nn.Module):  # nothing can stand for a part of the network
                raise pickle.PicklingError(f"a submodule of type {type(obj).__name__} cannot travel") from err
            return NotCarried, (type(obj).__name__,)
        return _without_compilation(reduced) if isinstance(obj, nn.Module) else reduced


class _ModuleUnpickler(pickle.Unpickler):
    def __init__(self, source: io.BytesIO, weights: Mapping[str, Tensor], memory: RecycledMemory) -> None:
        super().__init__(source)
        self._weights, self._memory = weights, memory
        self._made: dict[str, Tensor] = {}

    def persistent_load(self, pid: tuple[str, str, bool]) -> Tensor | None:
        kind, name, trainable = pid
        if kind == "absent":
            return None
        if name not in self._made:
            tensor = self._memory.copy(self._weights[name])
            self._made[name] = nn.Parameter(tensor, requires_grad=trainable) if kind == "parameter" else tensor
        return self._made[name]


def _same(module: nn.Module) -> nn.Module:
    return module


def _without_compilation(reduced: Any) -> Any:
    """A module's pickled state with compiled callables taken out, so that the copy runs eagerly."""
    if not (isinstance(reduced, tuple) and len(reduced) > 2 and isinstance(reduced[2], dict)):
        return reduced
    state = {key: value for key, value in reduced[2].items() if key != "_compiled_call_impl"}
    if state.get("_compiler_ctx") is not None:  # Lightning's record that the whole module was compiled
        state = {key: value for key, value in state.items() if key not in _COMPILED_METHODS} | {"_compiler_ctx": None}
    return (*reduced[:2], state, *reduced[3:])


@contextmanager
def _by_value(module: nn.Module) -> Iterator[None]:
    """Send the code of classes whose module another process could not import (notebooks, files loaded by path)."""
    homes = {cls.__module__ for child in module.modules() for cls in type(child).__mro__}
    hidden = [sys.modules[name] for name in homes if name in sys.modules and not _importable(name)]
    for home in hidden:
        cloudpickle.register_pickle_by_value(home)
    try:
        yield
    finally:
        for home in hidden:
            cloudpickle.unregister_pickle_by_value(home)


def _importable(name: str) -> bool:
    if name in ("__main__", "builtins"):
        return True  # cloudpickle itself sends __main__ by value
    loaded = sys.modules.pop(name, None)  # find_spec answers from sys.modules where it can
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False
    finally:
        if loaded is not None:
            sys.modules[name] = loaded


def _attributes(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Plain attributes and buffers of a module and its submodules by dotted name."""
    for prefix, child in module.named_modules():
        own = {name: value for name, value in vars(child).items() if name not in ("_modules", "_parameters", "_buffers")}
        for name, value in {**own, **child._buffers}.items():
            yield f"{prefix}.{name}".removeprefix("."), value


def _largest_attribute(module: nn.Module) -> tuple[str, int]:
    sizes = {}
    for name, value in _attributes(module):
        sink = io.BytesIO()
        try:
            _ModulePickler(sink, module).dump(value)
        except Exception:  # its size is what there was until then
            sizes[name] = sink.tell()
        sizes[name] = sink.tell()
    largest = max(sizes, key=lambda name: sizes[name])
    return largest, sizes[largest]
