# SPDX-License-Identifier: Apache-2.0
"""A private copy of the module at one snapshot: evaluated eagerly, never trained, thrown away with its snapshot."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lightning_interp.analysis.module_pickle import pack_module, unpack_module
from lightning_interp.analysis.tied_weights import tied_names, with_tied
from lightning_interp.core.batches import map_tensors
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.imports import folders_needed, searched_last, where_it_is
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.records import Batch, Snapshot
from lightning_interp.core.recycled_memory import RecycledMemory


@runtime_checkable
class ReplicaSource(Protocol):
    """Makes a fresh module for a snapshot."""

    def __call__(self, snapshot: Snapshot) -> nn.Module:
        """A module holding the snapshot's weights, private to the caller."""
        ...


class PackedSource:
    """Replicas from a module that was pickled without its weights."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def __call__(self, snapshot: Snapshot) -> nn.Module:
        """Unpickle with the snapshot's weights in place of the references."""
        with searched_last(folders_needed()):  # its classes may come from a file that the user named
            return unpack_module(self._packed, snapshot.weights)


class FactorySource:
    """Replicas from a user's factory; weights are loaded by name.

    The factory is called once where its module can be pickled and takes the weights as they are: initializing a large module
    anew for each snapshot can cost more than analyzing it.

    Args:
        build: Called without arguments; returns the module in any state.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self._build = build
        self._packed: bytes | None = None
        self._memory = RecycledMemory()
        self._fits: _Kinds = {}
        self._tied: tuple[tuple[str, ...], ...] = ()

    def __call__(self, snapshot: Snapshot) -> nn.Module:
        """A module with the snapshot's weights, loaded strictly; weights that it ties to one that is there may be missing.

        Raises:
            ProbeError: The factory fails, names or shapes differ from the snapshot's, or two names of one tensor of the
                module differ in the snapshot.
        """
        if self._packed is not None:
            given = with_tied(snapshot.weights, self._tied)
            if _kinds(given) == self._fits:
                return unpack_module(self._packed, given, self._memory)
        try:
            module = self._build()
            known = {strip_wrappers(name): name for name in module.state_dict()}
            tied = tied_names(module)
            given = with_tied(snapshot.weights, tied)
            module.load_state_dict({known.get(name, name): tensor for name, tensor in given.items()}, strict=True)
        except Exception as err:
            raise ProbeError(f"module=: the factory's module does not take the snapshot ({err}){where_it_is(err)}") from err
        self._remember(module, given, tied)
        return module

    def complete(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights with the names that the module ties to one of them, as far as they are known to differ in nothing.

        Names that differ are left as they are: the replica tells. A factory that fails is told of there, too.
        """
        with suppress(Exception):
            if self._packed is None and not self._tied:
                self._tied = tied_names(self._build())
            return with_tied(weights, self._tied)
        return weights

    def _remember(self, module: nn.Module, given: Mapping[str, Tensor], tied: tuple[tuple[str, ...], ...]) -> None:
        """Keep the module without its weights, unless it holds them in another dtype or cannot be pickled."""
        own = {strip_wrappers(name): tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
        if _kinds(own) != _kinds(given):
            return
        with suppress(ProbeError):
            self._packed, self._fits, self._tied = pack_module(module), _kinds(own), tied


_Kinds = dict[str, tuple[torch.dtype, torch.Size]]


def _kinds(tensors: Mapping[str, Tensor]) -> _Kinds:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def make_replica(source: ReplicaSource, snapshot: Snapshot, *, device: torch.device) -> nn.Module:
    """A replica in evaluation mode on `device`."""
    replica = source(snapshot).to(device)
    return replica.eval()


@contextmanager
def eager() -> Iterator[None]:
    """Run compiled code eagerly and without autocast: one definition of the numbers, whatever the training uses."""
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.cuda.is_available():
            stack.enter_context(torch.autocast("cuda", enabled=False))
        yield


def to_replica(batch: Batch, replica: nn.Module) -> Batch:
    """A copy of a batch on the replica's device; floating inputs in the dtype of a module that is wholly of lower precision.

    Steps of other people's modules write into their batch, and the probe is asked again.
    """
    parameter = next((p for p in replica.parameters() if p.is_floating_point()), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    dtypes = {p.dtype for p in replica.parameters() if p.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else None

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype, copy=True)

    return map_tensors(batch, moved, device=device)


@contextmanager
def swapped_weights(replica: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace some weights of a replica for the duration of the block."""
    state = {strip_wrappers(name): value for name, value in replica.state_dict().items()}
    unknown = [name for name in weights if name not in state]
    if unknown:
        raise KeyError(f"no weight named {unknown[0]!r} in the replica")
    before = {name: state[name].clone() for name in weights}
    try:
        with torch.no_grad():
            for name, value in weights.items():
                state[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                state[name].copy_(value)
