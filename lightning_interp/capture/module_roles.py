# SPDX-License-Identifier: Apache-2.0
"""What a module is in a network, told by its class and its name; nothing is run."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

_ACTIVATION_MODULE = "torch.nn.modules.activation"
_OWN_ACTIVATION = re.compile(r"(relu|elu|silu|swish|mish|glu|activation)\d*$", re.IGNORECASE)
_NORM = re.compile(r"norm", re.IGNORECASE)
_DROPOUT = re.compile(r"drop(out|path|block)?\d*d?$|stochasticdepth", re.IGNORECASE)
_LOSS = re.compile(r"(loss|criterion|lossfunction|lossfn)\d*$", re.IGNORECASE)
_LOSS_NAME = re.compile(r"(^|_)(loss(es)?|criterion|criteria|loss_fns?|loss_func(tion)?)\d*$", re.IGNORECASE)
_ATTENTION = re.compile(r"(attention|attn)(layer|block|head)?\d*$", re.IGNORECASE)
_ATTENTION_NAME = re.compile(r"^(self_|cross_|multi_?head_|mha_)?(attn|attention|mha)\d*$", re.IGNORECASE)
_WHOLE = re.compile(r"transformer|encoder|decoder|layers$|stack|model$", re.IGNORECASE)
"""Classes that hold more than one attention or MLP, whatever the attribute is called."""
_MLP = re.compile(r"(mlp|feed_?forward|ffn?|intermediate|swiglu|moe(block|layer)?)(layer|block)?\d*$", re.IGNORECASE)
_MLP_NAME = re.compile(r"^(mlp|ffn?|pos_?ffn?|feed_?forward|pos(ition)?_?wise_\w*|intermediate|moe)\d*$", re.IGNORECASE)
_EMBEDDING = re.compile(r"embed(s|der|ding|dings)?\d*$", re.IGNORECASE)
_POSITION = re.compile(r"(^|_)(pos|position\w*|wpe|rotary\w*|rope)(_|$)", re.IGNORECASE)
_POSITION_CLASS = re.compile(r"(position\w*|pos|rotary|sinusoidal)_?(emb|enc)", re.IGNORECASE)
_SHARED = re.compile(r"(^|_)(shared|tied)(_|$)", re.IGNORECASE)
_HEAD = re.compile(r"(head|classifier|projector|predictor)\d*$", re.IGNORECASE)
_HEAD_NAME = re.compile(
    r"(^|_)(heads?|classifiers?|projector|predictor|readout|unembed(ding)?|logits|fc)\d*$", re.IGNORECASE
)
_PROBABILITIES = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)


class NamedModules:
    """The modules of a network by name, and what each is.

    Args:
        modules: Modules by their names without wrappers, in `named_modules` order; the network itself is not among them.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._children: dict[str, list[str]] = {}
        for name in modules:
            self._children.setdefault(name.rpartition(".")[0], []).append(name)

    def __iter__(self) -> Iterator[str]:
        """Names, modules above before those in them."""
        return iter(self._modules)

    def __getitem__(self, name: str) -> nn.Module:
        return self._modules[name]

    def children(self, name: str = "") -> list[str]:
        """Modules directly in one; those of the network where the name is empty."""
        return self._children.get(name, [])

    def inside(self, name: str) -> Iterator[str]:
        """Everything in a module, without itself."""
        for child in self.children(name):
            yield child
            yield from self.inside(child)

    def class_name(self, name: str) -> str:
        """Name of the module's class."""
        return type(self[name]).__name__

    def is_leaf(self, name: str) -> bool:
        """Whether there are no modules in it."""
        return not self.children(name)

    def is_list(self, name: str) -> bool:
        """Whether a module stands for its items in a row: they are called, itself perhaps not."""
        return isinstance(self._modules.get(name), nn.ModuleList | nn.Sequential)

    def is_called(self, name: str) -> bool:
        """Whether it computes something of its own. A `Sequential` may be called whole or item by item, nobody can tell."""
        forward = type(self[name]).forward
        return forward is not nn.Module.forward and forward is not nn.Sequential.forward

    def has_weights(self, name: str) -> bool:
        """Whether it holds parameters directly, parametrized ones included."""
        return any(True for _ in self[name].parameters(recurse=False)) or is_parametrized(self[name])

    def is_most(self, name: str) -> bool:
        """Whether it holds more than half of the weights of the network."""
        return 2 * self._sizes[name] > sum(self._sizes[child] for child in self.children())

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {name: sum(p.numel() for p in self[name].parameters()) for name in self}

    def is_measuring(self, name: str) -> bool:
        """Whether it is a loss or a metric: it looks at what the network gives."""
        module, bases = self[name], [base.__name__ for base in type(self[name]).__mro__]
        if type(module).__module__ == "torch.nn.modules.loss" or "_Loss" in bases or "Metric" in bases:
            return True
        if all(callable(getattr(module, method, None)) for method in ("update", "compute", "reset")):
            return True
        named = _LOSS.search(type(module).__name__) or (_LOSS_NAME.search(_last(name)) and self.is_called(name))
        return bool(named) and not self.is_most(name)  # a network may be wrapped together with its loss

    def is_passing(self, name: str) -> bool:
        """Whether it is a norm, a dropout or nothing at all: what comes in goes out, in another scale."""
        if isinstance(self[name], nn.Identity) or _DROPOUT.search(self.class_name(name)):
            return True
        if not _NORM.search(self.class_name(name)) and not type(self[name]).__module__.endswith(("norm", "normalization")):
            return False
        weighted = (inner for inner in self.inside(name) if self.has_weights(inner))
        return all(_NORM.search(self.class_name(inner)) for inner in weighted)

    def is_activation(self, name: str) -> bool:
        """Whether it is a nonlinearity."""
        module = self[name]
        if isinstance(module, nn.MultiheadAttention):
            return False
        if type(module).__module__ == _ACTIVATION_MODULE:
            return True
        return self.is_leaf(name) and not self.has_weights(name) and bool(_OWN_ACTIVATION.search(self.class_name(name)))

    def is_neuron_activation(self, name: str) -> bool:
        """The same without those that turn scores into shares."""
        return self.is_activation(name) and not isinstance(self[name], _PROBABILITIES)

    def is_recurrent(self, name: str) -> bool:
        """Whether it is an LSTM, a GRU or the like."""
        return isinstance(self[name], nn.RNNBase | nn.RNNCellBase)

    def is_attention(self, name: str) -> bool:
        """Whether it is one attention, with all its heads. That of windows gives windows, not examples, and is none."""
        if "window" in self.class_name(name).lower():
            return False
        return self._has_role(name, _ATTENTION, _ATTENTION_NAME) and self.is_called(name)

    def is_mlp(self, name: str) -> bool:
        """Whether it is the MLP of a block; a `Sequential` of that name counts, too."""
        return self._has_role(name, _MLP, _MLP_NAME) and type(self[name]).forward is not nn.Module.forward

    def _has_role(self, name: str, of_class: re.Pattern[str], of_name: re.Pattern[str]) -> bool:
        called = self.class_name(name)
        return bool(of_class.search(called)) or bool(of_name.search(_last(name)) and not _WHOLE.search(called))

    def is_position(self, name: str) -> bool:
        """Whether it embeds positions, which are the same for every example."""
        return bool(_POSITION.search(_last(name)) and not _MLP_NAME.search(_last(name))) or bool(
            _POSITION_CLASS.search(self.class_name(name))
        )

    def is_embedding(self, name: str) -> bool:
        """Whether it embeds tokens, patches or categories."""
        if isinstance(self[name], nn.Embedding | nn.EmbeddingBag):
            return True
        named = _EMBEDDING.search(self.class_name(name)) or _EMBEDDING.search(_last(name))
        if not named or not self.is_called(name):
            return False
        return not self.is_most(name) or any(isinstance(self[inner], nn.Embedding) for inner in self.children(name))

    def is_shared_embedding(self, name: str) -> bool:
        """Whether it only holds the weights of embeddings further in, which are the ones that are called."""
        weight = getattr(self[name], "weight", None)
        if weight is None or not _SHARED.search(_last(name)):
            return False
        others = (self[other] for other in self if other != name)
        return any(isinstance(other, nn.Embedding) and other.weight is weight for other in others)

    def is_named_head(self, name: str) -> bool:
        """Whether its class or name says that it reads out what the network found, and it is called as a whole."""
        named = _HEAD.search(self.class_name(name)) or _HEAD_NAME.search(_last(name))
        return bool(named) and self.is_called(name) and (self.is_leaf(name) or not self.is_most(name))

    def is_list_of_heads(self, name: str) -> bool:
        """Whether a list of modules holds several heads."""
        return isinstance(self._modules.get(name), nn.ModuleList | nn.ModuleDict) and bool(_HEAD_NAME.search(_last(name)))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
