# SPDX-License-Identifier: Apache-2.0
"""Which entry of a file's content is the network's state dict, where it is not said or several could be."""

import re
from collections.abc import Iterator
from typing import Any

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.pickle_reader import Placeholder, StoredTensor
from lightning_interp.sources.checkpoints.torch_zip import shown

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "params", "weights")
"""Keys under which the network is, the surest first."""
EXTRA_STATE = "_extra_state"  # of torch.nn.Module.get_extra_state: anything, and no parameter

_NO_NETWORK = re.compile(
    r"optim|sched|scaler|(^|_)(ema|rng|amp|args|config|cfg|hparams|hyper_parameters|history|metrics?|callbacks|loops|meta|"
    r"metadata|stats|averag\w*)($|_)|criterion|loss_?fn",
    re.IGNORECASE,
)
_NO_PARAMETER = re.compile(
    r"(^|_)(loss|losses|rng|seed|acc|accuracy|metric|best|lr|epoch|step|iteration|time)($|_)|rng_state", re.I
)
_SHOWN = 12
_LEVELS = 2
_KEYS = 20


def network_in(content: Any, *, key: str = "") -> tuple[dict[Any, Any], str]:
    """The state dict within what a checkpoint holds, and a line for the user where another could have been meant.

    Args:
        content: What `TorchZip.content` gives: the state dict itself, or a dict with it under some key.
        key: Where it is, keys joined by dots; empty to find it.

    Raises:
        CheckpointError: There is none at the key, none at all, or several without one that is surest.
    """
    if key:
        return _at(content, key), ""
    found = next(_usual(content), None) or next(_usual(content, hidden=True), None)
    others = _others(content)
    if found is not None:
        return found, _instead_of(found, others)
    if len(others) == 1:
        return next(iter(others.values())), ""
    if others:
        raise CheckpointError(
            f"several networks are in it, {', '.join(map(shown, list(others)[:_SHOWN]))}, and none is surest. Say which is "
            f"measured: --key {next(iter(others))} (key=)."
        )
    if _is_network(content):
        return content, ""
    raise CheckpointError(f"No state dict found: {described(content)}. {_advice(content)}")


def _instead_of(found: dict[Any, Any], others: dict[str, dict[Any, Any]]) -> str:
    """What else could have been meant, where the network lies under one of several keys."""
    used = next((name for name, state in others.items() if state is found), None)
    rest = [name for name in others if used is not None and name != used and not _within(name, used)]
    return f"`{used}` is read; also in it: {', '.join(rest[:_SHOWN])} (--key, key=, reads another)" if rest else ""


def _within(one: str, other: str) -> bool:
    return one.startswith(f"{other}.") or other.startswith(f"{one}.")


def hides(name: object, value: object) -> bool:
    """Whether an entry of a state dict may be a tensor that was not rebuilt; a class or function itself is none."""
    if type(name) is not str or name.endswith(EXTRA_STATE):
        return False
    return type(value) is Placeholder and value.kind != "name"


def described(content: Any) -> str:
    """What a file holds, in words."""
    if type(content) is Placeholder:
        return f"the file holds one object, {content.text}, which is not resolved"
    if type(content) is not dict:
        return f"the file holds a {type(content).__name__}"
    hidden = [f"{shown(key)} is {value.text}" for key, value in content.items() if type(value) is Placeholder]
    keys = ", ".join(shown(key) for key in list(content)[:_KEYS])
    return f"its top-level keys are {keys or 'none'}" + (f" ({', '.join(hidden[:5])})" if hidden else "")


def _advice(content: Any) -> str:
    if type(content) is Placeholder:
        return (
            "It is a whole module, whose class would have to be imported to read it. Load it where you trust it and save "
            "its state_dict() with torch.save."
        )
    if type(content) is dict and {"state", "param_groups"} <= content.keys():
        return "It is the state of an optimizer, without the network. Give the file of the network."
    return "Save one with torch.save(model.state_dict(), path), or say where it is with --key (key=)."


def _usual(content: Any, *, levels: int = _LEVELS, hidden: bool = False) -> Iterator[dict[Any, Any]]:
    """Every network under the usual keys, the innermost first; at last the content itself if nothing in it is one.

    With `hidden`, dicts under the usual keys with what may be tensors of classes that are not known here.
    """
    if type(content) is not dict:
        return
    for key in WRAPPERS if levels else ():
        yield from _usual(content.get(key), levels=levels - 1, hidden=hidden)
    if levels == _LEVELS:
        if not hidden and not _others(content) and _is_network(content):
            yield content
    elif _has_tensors(content) or (hidden and any(hides(name, value) for name, value in content.items())):
        yield content


def _is_network(content: Any) -> bool:
    """Whether a dict holds parameters: tensors by name, one of them more than a number, or nothing else."""
    if not _has_tensors(content):
        return False
    tensors = {name: each for name, each in content.items() if type(name) is str and type(each) is StoredTensor}
    named = {name: each for name, each in tensors.items() if not _NO_PARAMETER.search(name)}
    return len(named) == len(content) or any(len(each.size) > 0 or "." in name for name, each in named.items())


def _has_tensors(content: Any) -> bool:
    if type(content) is not dict:
        return False
    return any(type(name) is str and type(each) is StoredTensor for name, each in content.items())


def _others(content: Any) -> dict[str, dict[Any, Any]]:
    """Every dict of parameters in a dict, by its keys joined by dots, but those of optimizers and the like."""
    found: dict[str, dict[Any, Any]] = {}
    for name, value in content.items() if type(content) is dict else ():
        if type(name) is not str or type(value) is not dict or _NO_NETWORK.search(name):
            continue
        if _is_network(value):
            found[name] = value
        else:
            found |= {f"{name}.{each}": state for each, state in _others_below(value).items()}
    return found


def _others_below(value: dict[Any, Any]) -> dict[str, dict[Any, Any]]:
    below = {name: each for name, each in value.items() if type(name) is str and type(each) is dict}
    return {name: each for name, each in below.items() if not _NO_NETWORK.search(name) and _is_network(each)}


def _at(content: Any, key: str) -> dict[Any, Any]:
    found = next(_under(content, key), None)
    if found is None:
        there = ", ".join(_others(content)) or described(content)
        raise CheckpointError(f"--key (key=) {key!r}: nothing is there. Networks are under: {there}.")
    tensors = [each for name, each in found.items() if type(name) is str and type(each) is StoredTensor]
    if not tensors and not any(hides(name, value) for name, value in found.items()):
        raise CheckpointError(
            f"--key (key=) {key!r}: no tensors are in it. Networks are under: {', '.join(_others(content))}."
        )
    return found


def _under(content: Any, key: str) -> Iterator[dict[Any, Any]]:
    """What is at a key, whose parts are joined by dots and may hold dots themselves."""
    if type(content) is not dict:
        return
    if type(content.get(key)) is dict:
        yield content[key]
    for name, value in content.items():
        if type(name) is str and name and key.startswith(f"{name}."):
            yield from _under(value, key[len(name) + 1 :])
