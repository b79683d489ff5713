# SPDX-License-Identifier: Apache-2.0
"""Averaged weights in a checkpoint, beside the trained ones or in their place: which there are, and which are read."""

from typing import Any, TypeGuard

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.network_keys import AVERAGES, TRAINED
from lightning_interp.sources.checkpoints.pickle_reader import StoredTensor

_STATE, _CURRENT, _AVERAGING = "state_dict", "current_model_state", "averaging_state"
_COUNT = "n_averaged"
_SWA, _LATEST = "StochasticWeightAveraging", "latest_update_epoch"


def chosen(content: object, *, averaged: bool) -> tuple[object, str]:
    """The same content with the weights that are wanted where they are looked for.

    Args:
        content: What `TorchZip.content` gives.
        averaged: Whether the averages are wanted, and not the network in training.

    Returns:
        The content, and a line on what is read where that is not plain; empty where it is.

    Raises:
        CheckpointError: Averages are wanted, and none are known to be in it.
    """
    entries: dict[Any, Any] = content if type(content) is dict else {}
    trained, averages = _where(entries)
    if averages:
        key, which = (averages, "averages") if averaged else (trained, "trained weights")
        text = f"trained weights under `{trained}`, averages under `{averages}`: the {which} are read"
        others = {name: value for name, value in entries.items() if name not in (trained, averages)}
        return {**others, _STATE: entries[key]}, text
    for key, state in (("", entries), *((key, entries.get(key)) for key in TRAINED)):
        if _is_averaged_model(state):
            alone = {name: value for name, value in state.items() if name != _COUNT}
            return {**entries, key: alone} if key else alone, "averages (torch's AveragedModel), and nothing else, are in it"
    if averaged:
        raise CheckpointError("averages are asked for, and none are known to be in it. Leave out --averaged (averaged=).")
    return content, _doubt(entries)


def _where(entries: dict[Any, Any]) -> tuple[str, str]:
    """Keys of the trained weights and of the averages; both empty where there are not two of the same names and shapes."""
    if _AVERAGING in entries and _is_same_network(entries.get(_CURRENT), entries.get(_STATE)):
        return _CURRENT, _STATE  # Lightning's WeightAveraging
    trained = next((key for key in TRAINED if _shapes(entries.get(key))), "")
    beside = (key for key in AVERAGES if trained and _is_same_network(entries[trained], entries.get(key)))
    averages = next(beside, "")
    return (trained, averages) if averages else ("", "")


def _is_averaged_model(state: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether a state dict is that of torch's wrapper, which counts what it averaged."""
    others = _shapes(state).keys() - {_COUNT}
    return bool(others) and _COUNT in state and all(f"module.{name}" in state for name in others)


def _doubt(entries: dict[Any, Any]) -> str:
    """Lightning's SWA puts its averages in the place of the trained weights at its end, and notes no such thing."""
    callbacks, epoch = entries.get("callbacks"), entries.get("epoch")
    state = callbacks.get(_SWA) if type(callbacks) is dict else None
    latest = state.get(_LATEST) if type(state) is dict else None
    if type(latest) is not int or type(epoch) is not int or not 0 <= latest < epoch:
        return ""
    return f"made after an epoch of {_SWA}: its one set of weights may be averages, nothing in it tells"


def _is_same_network(one: object, other: object) -> bool:
    return bool(_shapes(one)) and _shapes(one) == _shapes(other)


def _shapes(found: object) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a state dict; a wrapper that only one of two networks has is no difference."""
    if type(found) is not dict:
        return {}
    shapes = {name: each.size for name, each in found.items() if type(name) is str and type(each) is StoredTensor}
    return {name.removeprefix("module."): size for name, size in shapes.items()}
