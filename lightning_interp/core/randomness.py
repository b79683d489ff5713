# SPDX-License-Identifier: Apache-2.0
"""Reading data must not advance any random stream the training will draw from."""

import functools
import random
import types
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_DEPTH = 4
_SEED = 0


@contextmanager
def untouched_randomness(*owners: object) -> Iterator[None]:
    """Put back every random state as it was: python, numpy, torch on CPU and CUDA, and generators held by `owners`.

    Args:
        owners: Objects such as data sets and functions whose attributes, arguments or closures may hold generators of their
            own, searched four levels deep.
    """
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda_states = torch.cuda.get_rng_state_all() if cuda_used else None
    held = [(generator, _state(generator)) for generator in _generators(owners)]
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        for generator, state in held:
            _restore(generator, state)


@contextmanager
def repeatable_randomness() -> Iterator[None]:
    """A module that draws random numbers even in evaluation gives the same outputs every time it is asked."""
    with untouched_randomness():
        # Not torch.manual_seed: where no GPU is used yet it remembers every call, with a stack trace of 2 ms, for later.
        torch.default_generator.manual_seed(_SEED)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(_SEED)
        yield


_Generator = random.Random | np.random.Generator | np.random.RandomState | torch.Generator


def _generators(owners: tuple[object, ...]) -> list[_Generator]:
    """Generators reachable through attributes and small containers."""
    found: dict[int, _Generator] = {}
    seen: set[int] = set()
    level = list(owners)
    for _ in range(_DEPTH):
        following: list[object] = []
        for item in level:
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, _Generator):
                found[id(item)] = item
            else:
                following.extend(_children(item))
        level = following
    return list(found.values())


def _children(item: object) -> list[object]:
    if isinstance(item, list | tuple) and len(item) <= 64:
        return list(item)
    if isinstance(item, dict) and len(item) <= 64:
        return list(item.values())
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, types.FunctionType):
        return [cell.cell_contents for cell in item.__closure__ or () if cell != types.CellType()]
    return list(vars(item).values()) if hasattr(item, "__dict__") and not isinstance(item, type) else []


def _state(generator: _Generator) -> object:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state()


def _restore(generator: _Generator, state: object) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)  # type: ignore[arg-type]
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state  # type: ignore[assignment]
    else:
        generator.set_state(state)  # type: ignore[arg-type]
