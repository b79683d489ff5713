# SPDX-License-Identifier: Apache-2.0
"""Which of the mappings in a `torch.save` file is the network's state dict: named by the user, or the only one it can be."""

from collections.abc import Iterator
from typing import Any

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.network_keys import NETWORK, are_averages, are_numbers, is_copy, is_other
from lightning_interp.sources.checkpoints.pickle_reader import Placeholder, StoredTensor
from lightning_interp.sources.checkpoints.torch_zip import shown

_LEVELS = 3
_SHOWN = 8
_MOST = 1_000  # mappings looked at: a stream can refer to one from many places
_EXTRA_STATE = "_extra_state"  # of torch.nn.Module.get_extra_state: anything, and no parameter


def network_in(content: object, *, key: str = "") -> tuple[dict[Any, Any], str]:
    """The network's state dict, and a line for the user where another could have been meant.

    Args:
        content: What `TorchZip.content` gives.
        key: The path the user names, keys joined by dots, which can have dots of their own; empty to find it.

    Raises:
        CheckpointError: There is none, there are several, or none is at the path.
    """
    candidates = dict(_candidates(content))
    if key:
        return _at(content, key, candidates), ""
    others = list(candidates)
    usual = [path for path in candidates if path.split(".")[-1] in NETWORK]
    if len(candidates) > 1:
        _refuse_several(candidates, usual)
    if usual:
        chosen = min(usual, key=lambda path: [NETWORK.index(part) if part in NETWORK else 99 for part in path.split(".")])
        return candidates[chosen], _line(chosen, others)
    if candidates:
        chosen, found = next(iter(candidates.items()))
        return found, _line(chosen, others)
    hidden = next(_hidden(content), None)
    if hidden is None:
        raise CheckpointError(f"No state dict found: {_described(content)}. {_advice(content)}")
    return hidden, ""


def _line(chosen: str, paths: list[str]) -> str:
    rest = [path for path in paths if path != chosen and not are_averages(path)]
    if are_averages(chosen):
        return f"the averages under `{chosen}` are read: no other network is in it"
    return f"`{chosen}` is read; also in it: {', '.join(rest[:_SHOWN])} (--key, key=, reads another)" if rest else ""


def hides(name: object, value: object) -> bool:
    """Whether an entry of a state dict may be a tensor that was not rebuilt; a class or function itself is none."""
    if type(name) is not str or name.endswith(_EXTRA_STATE):
        return False
    return type(value) is Placeholder and value.kind != "name"


def _candidates(content: object) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every mapping with weights by name that no other such mapping is around, each with its path; averages last."""
    below = [found for found in _below(content, "", _LEVELS) if found[1] is not content]
    if _has_weights(content) and (not below or _names_parameters(content)):
        assert isinstance(content, dict)
        usual = [found for found in below if found[0] in NETWORK]
        yield from usual or [("", content)]
        return
    yield from below


def _below(content: Any, path: str, levels: int, seen: set[int] | None = None) -> Iterator[tuple[str, dict[Any, Any]]]:
    seen = seen if seen is not None else set()
    if type(content) is not dict or id(content) in seen or len(seen) > _MOST:
        return
    seen.add(id(content))
    if "param_groups" in content:  # an optimizer's, whatever it is called
        return
    if path and _has_weights(content):
        yield path, content
        return
    for key, value in content.items() if levels else ():
        if type(value) is dict and not is_other(key):
            yield from _below(value, f"{path}.{key}" if path else key, levels - 1, seen)


def _has_weights(found: Any) -> bool:
    """Whether a mapping has tensors by name that are more than single numbers and random states."""
    if type(found) is not dict:
        return False
    tensors = [(name, each) for name, each in found.items() if type(name) is str and type(each) is StoredTensor]
    if not tensors or are_numbers(name for name, _ in tensors):
        return False
    # Of tensors that are single numbers alone, a module of scalars; beside anything else they are what was logged.
    return any(each.size for _, each in tensors) or len(tensors) == len(found)


def _names_parameters(found: Any) -> bool:
    """Whether names are those of a module's parameters, so that the mapping is a state dict whatever else is in it."""
    return any(type(name) is str and type(each) is StoredTensor and "." in name for name, each in found.items())


def _refuse_several(candidates: dict[str, dict[Any, Any]], usual: list[str]) -> None:
    """Refuse networks of which none is the one, unless the others are copies of one under a usual key."""
    others = [path for path in candidates if path not in usual]
    alike = len({_shapes(candidates[path]) for path in usual}) <= 1
    if usual and alike and all(is_copy(path) for path in others):
        return
    if not usual and len(plain := [path for path in others if not is_copy(path)]) == 1:
        for path in others:
            if path != plain[0]:
                del candidates[path]
        return
    raise CheckpointError(
        f"several networks are in it, {_listed(candidates)}, and none is surest. Say which is measured: "
        f"--key {next(iter(candidates))} (key=)."
    )


def _shapes(found: dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(
        sorted((name, each.size) for name, each in found.items() if type(each) is StoredTensor and type(name) is str)
    )


def _at(content: Any, key: str, candidates: dict[str, dict[Any, Any]]) -> dict[Any, Any]:
    found = next(_resolved(content, key), None)
    if found is None:
        raise CheckpointError(f"--key (key=) {key!r}: nothing is there. Networks are under: {_listed(candidates)}.")
    has = type(found) is dict and any(type(value) is StoredTensor or hides(name, value) for name, value in found.items())
    if not has:
        kind = "a single tensor" if type(found) is StoredTensor else f"a {type(found).__name__}"
        kind = "no tensors are in it" if type(found) is dict else f"{kind}, no network"
        raise CheckpointError(f"--key (key=) {key!r}: {kind}. Networks are under: {_listed(candidates)}.")
    return found  # type: ignore[no-any-return]


def _resolved(content: Any, path: str) -> Iterator[Any]:
    """What lies at a path, the reading with the longest keys first."""
    if type(content) is not dict:
        return
    if path in content:
        yield content[path]
    for key in sorted((key for key in content if type(key) is str and path.startswith(f"{key}.")), key=len, reverse=True):
        yield from _resolved(content[key], path[len(key) + 1 :])


def _hidden(content: Any, levels: int = 2) -> Iterator[dict[Any, Any]]:
    """Dicts under the usual keys with what may be tensors of classes that are not known here."""
    if type(content) is not dict:
        return
    for key in NETWORK if levels else ():
        yield from _hidden(content.get(key), levels - 1)
    if levels < 2 and any(hides(name, value) for name, value in content.items()):
        yield content


def _listed(paths: dict[str, Any]) -> str:
    listed = ", ".join(shown(path) if path else "the file itself" for path in list(paths)[:_SHOWN])
    return (listed + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")) or "no key at all"


def _described(content: Any) -> str:
    if type(content) is Placeholder:
        return f"the file holds one object, {content.text}, which is not resolved"
    if type(content) is StoredTensor:
        return "the file holds a single tensor"
    if type(content) is not dict:
        return f"the file holds a {type(content).__name__}"
    if "param_groups" in content and "state" in content:
        return "its top-level keys are 'state', 'param_groups'"
    objects = {key: value.text for key, value in content.items() if type(value) is Placeholder}
    whole = [f"{shown(key)} is {text}, a whole object rather than its state_dict()" for key, text in objects.items()]
    keys = ", ".join(shown(key) for key in list(content)[:20])
    text = f"its top-level keys are {keys or 'none'}" + (f" ({', '.join(whole[:5])})" if whole else "")
    if content and all(is_other(key) or type(value) is not dict for key, value in content.items()):
        kinds = [shown(key) for key, value in content.items() if type(value) is dict and type(key) is str]
        if any(type(value) is StoredTensor for value in content.values()):
            text += "; the tensors beside them are metrics, counters or random states"
        text += f"; what is under {', '.join(kinds[:5])} is an optimizer's or another state, no network" if kinds else ""
    return text


def _advice(content: Any) -> str:
    if type(content) is Placeholder:
        return (
            "It is a whole module, whose class would have to be imported to read it. Load it where you trust it and save "
            "its state_dict() with torch.save."
        )
    if type(content) is dict and {"state", "param_groups"} <= content.keys():
        return "It is the state of an optimizer, without the network. Give the file of the network."
    return "Save one with torch.save(model.state_dict(), path), or say where it is with --key (key=)."
