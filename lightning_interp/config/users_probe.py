# SPDX-License-Identifier: Apache-2.0
"""The probe a user gives, and whether it is built as one is."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from lightning_interp.core.batch_types import imported_type
from lightning_interp.core.batches import tensors_of
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import import_object, where_it_is
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.store import read_probe

_EXAMPLE = "Probe(ProbeSplit(((inputs, targets),)), ProbeSplit(((inputs, targets),)))"


def users_probe(probe: Probe | str | Callable[[], Probe] | None) -> Probe | None:
    """The user's probe: given, read from a run directory, or made by a function.

    Raises:
        ConfigError: It is none of these, or not built as a probe is.
    """
    if probe is None:
        return None
    if isinstance(probe, str) and ":" not in probe:
        stored = read_probe(Path(probe), imported_type)  # the user's own code is imported by now
        if stored is None:
            raise ConfigError(f"probe: {probe} holds no probe.safetensors; give a run directory, or 'pkg.mod:function'.")
        return stored
    make = import_object(probe, argument="probe") if isinstance(probe, str) else probe
    if isinstance(make, Probe) or not callable(make):
        return _checked(make)
    try:
        made = make()
    except Exception as err:  # the user's code may raise anything
        name = probe if isinstance(probe, str) else getattr(make, "__name__", "the function")
        raise ConfigError(f"probe: {name} failed ({type(err).__name__}: {err}).{where_it_is(err)}") from err
    return _checked(made)


def _checked(made: object) -> Probe:
    if not isinstance(made, Probe):
        raise ConfigError(f"probe: expected a Probe, got a {type(made).__name__}, such as {_EXAMPLE}.")
    _check_split("train", made.train)
    if made.heldout is not None:
        _check_split("heldout", made.heldout)
    if not isinstance(made.loaders, Mapping):
        raise ConfigError(f"probe: `loaders` is a {type(made.loaders).__name__}, expected a dict of ProbeSplit by name.")
    for name, split in made.loaders.items():
        _check_split(f"loaders[{name!r}]", split)
    return made


def _check_split(name: str, split: object) -> None:
    if not isinstance(split, ProbeSplit):
        raise ConfigError(f"probe: `{name}` is a {type(split).__name__}, expected a ProbeSplit: {_EXAMPLE}.")
    if not isinstance(split.batches, tuple | list):
        kind = type(split.batches).__name__
        raise ConfigError(
            f"probe: `{name}.batches` is a {kind}, expected a tuple of batches: ProbeSplit(((inputs, targets),))."
        )
    if not split.batches:
        raise ConfigError(f"probe: `{name}` holds no batch. Give it one at least: ProbeSplit(((inputs, targets),)).")
    found = [tuple(tensors_of(batch)) for batch in split.batches]
    empty = next((at for at, tensors in enumerate(found) if not any(map(len, filter(_has_rows, tensors)))), None)
    if empty is not None:
        raise ConfigError(f"probe: `{name}.batches[{empty}]` holds no examples, expected tensors of one row an example.")
    alone = [(batch.dtype, batch.ndim) for batch in split.batches if isinstance(batch, Tensor)]
    other = next((at for at, kind in enumerate(alone) if kind != alone[0]), None)
    if other is not None:
        raise ConfigError(
            f"probe: `{name}.batches[{other}]` is of another kind than the first batch. One batch of inputs and targets is "
            "written ProbeSplit(((inputs, targets),)), with two brackets."
        )


def _has_rows(tensor: Tensor) -> bool:
    return tensor.ndim > 0
