# SPDX-License-Identifier: Apache-2.0
"""Which parameters and layers to look at: by glob, regular expression or module type, with help when nothing matches."""

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from lightning_interp.capture.default_layers import default_layers
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.names import split_call, strip_wrappers

Pattern = str | type[nn.Module] | Sequence[str | type[nn.Module]]
"""A glob (``"net.*"``), a regular expression (``"re:net\\.\\d+"``), a class or ``"type:ReLU"``, or a list of these."""


def select_parameters(patterns: Pattern, names: Iterable[str]) -> tuple[str, ...]:
    """state_dict names matched by any pattern, in state_dict order.

    Raises:
        ConfigError: A pattern matches nothing; the message has the nearest names.
    """
    return _select_names(patterns, list(names), argument="parameters")


def select_watched(patterns: Pattern | None, layers: Sequence[str], *, argument: str) -> tuple[str, ...]:
    """Watched layers matched by any pattern, in their order; all of them where there is no pattern.

    Args:
        patterns: Globs or regular expressions of layer names as the run knows them, with ``#k`` where they have it.
        layers: Activation layers the run watches.
        argument: Name of the argument, for errors.

    Raises:
        ConfigError: No layer is watched, or a pattern matches none; the message has the layers that are.
    """
    if not layers:
        raise ConfigError(f"{argument}: this run watches no activation layer; name some with layers=.")
    if patterns is None:
        return tuple(layers)
    unmatched = [p for p in _as_list(patterns, argument=argument) if not _selects(p, layers, argument=argument)]
    if unmatched:
        raise ConfigError(
            f"{argument}: {unmatched[0]!r} matches none of the layers this run watches: {', '.join(layers)}. "
            "Which layers it watches is the monitor's own argument layers=."
        )
    return _select_names(patterns, layers, argument=argument)


def _select_names(patterns: Pattern, names: Sequence[str], *, argument: str) -> tuple[str, ...]:
    chosen: set[str] = set()
    for pattern in _as_list(patterns, argument=argument):
        hits = _selects(pattern, names, argument=argument)
        if not hits:
            raise _nothing_matches(argument, pattern, names)
        chosen |= hits
    return tuple(name for name in names if name in chosen)


def _selects(pattern: str | type[nn.Module], names: Sequence[str], *, argument: str) -> set[str]:
    """Names matched by one pattern."""
    if not isinstance(pattern, str) or pattern.startswith("type:"):
        raise ConfigError(f"{argument}: {pattern!r} is a type; types select layers, give a glob or 're:...' here.")
    return {name for name in names if _matches_name(pattern, name)}


def select_layers(patterns: Pattern | None, module: nn.Module) -> tuple[str, ...]:
    """Names of modules whose outputs are observed, in `named_modules` order.

    Args:
        patterns: None for those of `default_layers`, else patterns; a name may end in ``#k`` for the k-th call in one
            forward.
        module: The module to look into; only its structure is read.

    Raises:
        ConfigError: A pattern matches nothing; the message has the nearest names.
    """
    if patterns is None:
        return tuple(default_layers(module).roles)
    modules = {strip_wrappers(name): child for name, child in module.named_modules() if name}
    modules.pop("", None)
    calls: dict[str, list[int]] = {}
    for pattern in _as_list(patterns, argument="layers"):
        name, call = split_call(pattern) if isinstance(pattern, str) else (pattern, 0)
        hits = [key for key, child in modules.items() if _matches_module(name, key, child)]
        if not hits:
            raise _nothing_matches("layers", pattern, list(modules))
        for hit in hits:
            calls.setdefault(hit, []).append(call)
    return tuple(
        key if call == 0 else f"{key}#{call}" for key in modules if key in calls for call in sorted(set(calls[key]))
    )


def _as_list(patterns: Pattern, *, argument: str) -> list[str | type[nn.Module]]:
    listed = [patterns] if isinstance(patterns, str | type) else list(patterns)
    if not listed:
        raise ConfigError(f"{argument}: got an empty list; name at least one pattern.")
    return listed


def _matches_name(pattern: str, name: str) -> bool:
    if pattern.startswith("re:"):
        return re.fullmatch(_compiled(pattern), name) is not None
    return fnmatchcase(name, pattern)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern.removeprefix("re:"))
    except re.error as err:
        raise ConfigError(f"{pattern!r} is not a regular expression: {err}.") from err


def _matches_module(pattern: str | type[nn.Module], name: str, child: nn.Module) -> bool:
    if isinstance(pattern, type):
        return isinstance(child, pattern)
    if pattern.startswith("type:"):
        return any(base.__name__ == pattern.removeprefix("type:") for base in type(child).__mro__)
    return _matches_name(pattern, name)


def _nothing_matches(argument: str, pattern: str | type[nn.Module], names: Sequence[str]) -> ConfigError:
    text = pattern if isinstance(pattern, str) else f"type:{pattern.__name__}"
    near = difflib.get_close_matches(text.removeprefix("re:").replace("*", ""), names, n=5, cutoff=0.3) or names[:8]
    return ConfigError(
        f"{argument}: {text!r} matches none of the {len(names)} names of this module. Nearest: {', '.join(near)}. "
        f"Give a glob like 'net.*', a regular expression like 're:net\\.\\d+'"
        + (", or a type like 'type:ReLU'." if argument == "layers" else ".")
    )
