# SPDX-License-Identifier: Apache-2.0
"""How many examples a batch object holds where the length of its first tensor is something else: nodes, or tokens."""

from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

_EDGES = ("edge_index", "adj_t", "edge_index_dict")


def own_count(value: Any) -> int | None:
    """Graphs of a batch of graphs, sequences of a packed one; None for everything else.

    A graph without a vector that says which node belongs to which is one example. Where that vector lies on a GPU, to read
    it would wait for that: there, too, it counts as one.
    """
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    known = _member(value, "_num_graphs")
    if isinstance(known, int):
        return known
    if any(_member(value, name) is not None for name in _EDGES) and not _is_dense(value):
        return _count_by_vectors(value)
    known = _member(value, "num_graphs")
    return known if isinstance(known, int) else None


def _count_by_vectors(value: Any) -> int:
    starts, graph_of_node = _member(value, "ptr"), _member(value, "batch")
    if isinstance(starts, Tensor) and starts.ndim == 1 and starts.numel() > 1:
        return starts.numel() - 1
    if isinstance(graph_of_node, Tensor) and graph_of_node.ndim == 1 and graph_of_node.device.type == "cpu":
        return int(graph_of_node.max()) + 1 if graph_of_node.numel() else 0
    return 1


def _is_dense(value: Any) -> bool:
    """Whether all examples have one graph and an axis of their own, as series over the nodes of a network do."""
    inputs = _member(value, "x")
    return isinstance(inputs, Tensor) and inputs.ndim > 2


def _member(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # a property of a class of the user's own
        return None
