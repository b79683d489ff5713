# SPDX-License-Identifier: Apache-2.0
"""Which layers to look at when the user names none, told from the structure of a module alone.

A plain network is looked at where its activations are. A deep one of repeated blocks is looked at by roles, evenly over its
depth: embedding, attention, MLP, output of a block, head. What no forward calls is left out: lists of modules, losses and
metrics, copies of the network; so are norms and dropouts, which change little.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from torch import nn

from lightning_interp.capture.module_roles import NamedModules
from lightning_interp.capture.network_copies import is_inside, network_copies
from lightning_interp.core.names import strip_wrappers

DEFAULT_LAYERS = 8
"""Most activation layers looked at when the user names none."""

IN_DEPTH = ("recurrent", "attention", "MLP", "block")
"""Roles that come again and again between embedding and head, in the order they are taken in turn."""
ROLES = ("embedding", *IN_DEPTH, "activation", "layer", "head")
"""What a default layer can be."""


@dataclass(frozen=True)
class DefaultLayers:
    """Layers to look at, and what is none.

    Attributes:
        roles: Role of each layer, by its name; in `named_modules` order.
        copies: Parts that are copies of others.
        measuring: Losses and metrics that have weights.
        unmeasured: Names of parameters that are not part of the trained network: those of copies, and frozen ones in losses
            and metrics.
    """

    roles: Mapping[str, str]
    copies: tuple[str, ...] = ()
    measuring: tuple[str, ...] = ()
    unmeasured: frozenset[str] = frozenset()


def default_layers(module: nn.Module) -> DefaultLayers:
    """Up to eight layers of a module, each with its role; only its structure is read."""
    parameters = {strip_wrappers(name): parameter for name, parameter in module.named_parameters()}
    copies = network_copies(
        {name: tuple(parameter.shape) for name, parameter in parameters.items()},
        trained={name for name, parameter in parameters.items() if parameter.requires_grad},
    )
    modules = {strip_wrappers(name): child for name, child in module.named_modules() if name}
    modules = {name: child for name, child in modules.items() if name and ".parametrizations" not in f".{name}"}
    known = NamedModules({name: child for name, child in modules.items() if not is_inside(name, copies)})
    measuring: list[str] = []
    for name in known:
        if not is_inside(name, measuring) and known.is_measuring(name):
            measuring.append(name)
    known = NamedModules({name: known[name] for name in known if not is_inside(name, measuring)})
    unmeasured = {name for name in parameters if is_inside(name, copies)}
    unmeasured |= {name for name, p in parameters.items() if not p.requires_grad and is_inside(name, measuring)}
    weighted = tuple(name for name in measuring if any(is_inside(parameter, (name,)) for parameter in parameters))
    return DefaultLayers(_by_role(known), copies, weighted, frozenset(unmeasured))


def left_out_lines(found: DefaultLayers) -> tuple[str, ...]:
    """What is not looked at and how to look at it, for the user; nothing where all there is is looked at."""
    lines = [copies_line(found.copies)] if found.copies else []
    if found.measuring:
        lines.append(f"losses and metrics with weights are no layers: {', '.join(found.measuring)}; layers= names them")
    return tuple(lines)


def copies_line(copies: Sequence[str]) -> str:
    """That copies are left out, for the user."""
    return (
        f"left out as copies of other parts, which no optimizer trains: {', '.join(copies)}; parameters=['*'] counts their "
        f"weights, layers='{copies[0]}*' looks at their outputs"
    )


def spread(names: Sequence[str], count: int) -> tuple[str, ...]:
    """At most so many names spread evenly over a list, first and last included."""
    if len(names) <= count:
        return tuple(names)
    return tuple(names[round(i * (len(names) - 1) / max(count - 1, 1))] for i in range(count))


def _by_role(modules: NamedModules) -> dict[str, str]:
    parts = _Parts(modules)
    activations = [name for name in modules if modules.is_activation(name)]
    if parts.is_deep or (not activations and any(parts.in_depth.values())):
        chosen = parts.chosen()
    elif activations:
        chosen = dict.fromkeys(spread(activations, DEFAULT_LAYERS), "activation")
    else:
        leaves = dict.fromkeys(parts.ends["embedding"], "embedding") | dict.fromkeys(parts.loose, "layer")
        chosen = {name: leaves[name] for name in spread([name for name in modules if name in leaves], DEFAULT_LAYERS)}
    return {name: chosen[name] for name in modules if name in chosen}


@dataclass
class _Parts:
    """The parts of a network by role, found by a walk from the outside in that stops at each part it knows.

    Attributes:
        modules: The network's.
        in_depth: Names by role, in order of depth.
        ends: The same for embeddings and heads.
        activations: Nonlinearities in no other part.
        loose: Layers with weights that are in no part of another role.
        is_deep: Whether there are repeated blocks or recurrent layers, so that roles tell more than activations.
    """

    modules: NamedModules
    in_depth: dict[str, list[str]] = field(default_factory=lambda: {role: [] for role in IN_DEPTH})
    ends: dict[str, list[str]] = field(default_factory=lambda: {"embedding": [], "head": []})
    activations: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    is_deep: bool = False

    def __post_init__(self) -> None:
        self._classes = Counter(type(self.modules[name]) for name in self.modules)
        self._has_attention = any(self.modules.is_attention(name) for name in self.modules)
        self._walk("")

    def _walk(self, name: str) -> None:
        for child in self.modules.children(name):
            if self.modules.is_passing(child) or self.modules.is_position(child):
                continue
            role = self._role(child, above=name)
            if role == "":
                self._walk(child)
            elif role in self.ends:
                self.ends[role] += [] if self.modules.is_shared_embedding(child) else [child]
            elif role in ("activation", "layer"):
                (self.loose if role == "layer" else self.activations).append(child)
            elif role == "block":
                self._add_block(child)
            else:
                self.in_depth[role].append(child)
            in_list = self._is_item(child, above=name) if role == "block" else self.modules.is_list(name)
            self.is_deep |= role == "recurrent" or (role in IN_DEPTH and in_list)

    def _role(self, child: str, *, above: str) -> str:
        """What a module is, empty where its role is to hold others."""
        modules = self.modules
        if modules.is_embedding(child):
            return "embedding"
        if modules.is_recurrent(child):
            return "recurrent"
        if modules.is_attention(child):
            return "attention"
        if self._has_attention and modules.is_mlp(child) and modules.is_called(child):
            return "MLP"
        if modules.is_activation(child):
            return "activation"
        if modules.is_list_of_heads(above) or (not modules.is_leaf(child) and modules.is_named_head(child)):
            return "head"
        if self._is_item(child, above=above) or self._is_repeated(child):
            return "block"
        return "layer" if modules.is_leaf(child) and modules.has_weights(child) else ""

    def _is_item(self, child: str, *, above: str) -> bool:
        """Whether it is a block of a list of blocks."""
        modules = self.modules
        if isinstance(modules[child], nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
            return True
        if not above or not modules.is_list(above) or self._is_stage(child):
            return False
        if isinstance(modules[above], nn.ModuleList):
            return (modules.has_weights(child) or not modules.is_leaf(child)) and not isinstance(
                modules[child], nn.ModuleList | nn.ModuleDict
            )
        return self._is_blocklike(child) and (
            self._classes[type(modules[child])] > 1
            or modules.is_list(above.rpartition(".")[0])  # the one block of a stage
            or any(modules.is_attention(inner) for inner in modules.inside(child))
        )

    def _is_repeated(self, child: str) -> bool:
        """Whether modules of its class come again and again though in no list, as the layers of many graph networks do."""
        modules = self.modules
        if not self._is_blocklike(child) or self._classes[type(modules[child])] < 2 or self._is_stage(child):
            return False
        own = (modules.is_attention, modules.is_recurrent, modules.is_embedding)
        return not any(is_part(inner) for inner in modules.inside(child) for is_part in own)

    def _is_blocklike(self, child: str) -> bool:
        return not self.modules.is_leaf(child) and self.modules.is_called(child) and not self.modules.is_passing(child)

    def _is_stage(self, child: str) -> bool:
        """Whether it holds a list of blocks, so that those are the blocks and not it."""
        return any(self._lists_blocks(inner) for inner in (child, *self._inside_parts(child)))

    def _inside_parts(self, child: str) -> Iterator[str]:
        """What is in a module, but for what is in an attention or an MLP of it."""
        for inner in self.modules.children(child):
            if not self.modules.is_attention(inner) and not self.modules.is_mlp(inner):
                yield inner
                yield from self._inside_parts(inner)

    def _lists_blocks(self, name: str) -> bool:
        modules = self.modules
        if not modules.is_list(name) and not (isinstance(modules[name], nn.ModuleDict) and modules.is_called(name)):
            return False
        items = [item for item in modules.children(name) if self._is_blocklike(item)]
        kinds = Counter(type(modules[item]) for item in items if not modules.is_attention(item) and not modules.is_mlp(item))
        return max(kinds.values(), default=0) > 1

    def _add_block(self, block: str) -> None:
        self.in_depth["block"].append(block)
        inner = list(self._inside_parts(block))
        children = [part for each in (block, *inner) for part in self.modules.children(each)]
        for role, is_part in (("attention", self.modules.is_attention), ("MLP", self.modules.is_mlp)):
            self.in_depth[role] += [part for part in children if is_part(part)][:1]

    def chosen(self) -> dict[str, str]:
        """At most eight names with their roles: an embedding, a head, and what is between them evenly over depth."""
        order = {name: place for place, name in enumerate(self.modules)}
        last = max((order[name] for names in self.in_depth.values() for name in names), default=-1)
        after = [name for name in self.loose if order[name] > last]
        named = [name for name in after or self.loose if self.modules.is_named_head(name)]
        heads = sorted((*self.ends["head"], *(named or after)[-1:]), key=order.__getitem__)
        found = dict.fromkeys(self.ends["embedding"][:1], "embedding") | dict.fromkeys(heads[-1:], "head")
        found |= spread_roles(self.in_depth, DEFAULT_LAYERS - len(found))
        neurons = [name for name in self.modules if self._is_neurons(name)]
        for role, names in (("embedding", self.ends["embedding"]), ("head", heads), ("activation", neurons)):
            left = [name for name in names if name not in found]
            found |= dict.fromkeys(spread(left, DEFAULT_LAYERS - len(found)), role)
        return found

    def _is_neurons(self, name: str) -> bool:
        """Whether it is a nonlinearity that is called: in no part, in a row of layers, or directly in a block or MLP."""
        above = name.rpartition(".")[0]
        if not self.modules.is_neuron_activation(name):
            return False
        if name in self.activations or above in (*self.in_depth["block"], *self.in_depth["MLP"]):
            return True
        return (
            self.modules.is_list(above)
            and any(is_inside(name, self.in_depth[role]) for role in ("block", "MLP"))
            and not is_inside(name, self.in_depth["attention"])
        )


def spread_roles(names: Mapping[str, Sequence[str]], room: int) -> dict[str, str]:
    """At most so many names, roles in turn and each further down than the one before, so that all roles and depths are seen.

    Args:
        names: Names by role, those of each in order of depth.
        room: Most names.

    Returns:
        Role of each name.
    """
    turns = _turns({role: len(each) for role, each in names.items()}, room)
    free = {role: list(range(len(each))) for role, each in names.items()}
    chosen: dict[str, str] = {}
    for turn, role in enumerate(turns):
        depth = turn / max(len(turns) - 1, 1) * (len(names[role]) - 1)
        nearest = min(free[role], key=lambda place: abs(place - depth))
        free[role].remove(nearest)
        chosen[names[role][nearest]] = role
    return chosen


def _turns(counts: Mapping[str, int], room: int) -> list[str]:
    """Roles in the order they are taken, each at most as often as there are layers of it."""
    left = {role: count for role, count in counts.items() if count}
    turns: list[str] = []
    for role in islice(cycle(left or {"": 0}), room * max(len(left), 1)):
        if len(turns) < room and left.get(role, 0) > 0:
            turns.append(role)
            left[role] -= 1
    return turns
