# SPDX-License-Identifier: Apache-2.0
"""One checkpoint to what can be said of it alone: done in any order, in any process, on any machine."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lightning_interp.analysis.measuring import Measured
from lightning_interp.analysis.observation import Watched
from lightning_interp.analysis.observer import Observer
from lightning_interp.analysis.orders import replica_source
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.analysis.replica import FactorySource
from lightning_interp.core.errors import InterpError
from lightning_interp.core.records import Snapshot
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.core.request import AnalysisRequest
from lightning_interp.sources.checkpoints.content import Content, content_of
from lightning_interp.sources.checkpoints.integrity import Inspected
from lightning_interp.sources.checkpoints.reading import read_checkpoint
from lightning_interp.store.analysis_state import AnalysisState


@dataclass(frozen=True)
class MapOrder:
    """What a worker needs to map checkpoints: sent to it once, pickled by value.

    Attributes:
        request: What is asked, resolved, with the probe and the device that are used.
        row_layers: run.json's layer list, the order of per-layer rows.
        watched: Layers whose activations are kept, and parameters.
        choices: What the first checkpoint decided: how outputs are found, the size of the probe, the null predictor.
        threads: Torch threads of the worker.
    """

    request: AnalysisRequest
    row_layers: tuple[str, ...]
    watched: Watched
    choices: AnalysisState
    threads: int = 1


@dataclass(frozen=True)
class Mapped:
    """What one checkpoint gave.

    Attributes:
        inspected: The checkpoint.
        measured: Its values, None where it is left out.
        activations: Activations to keep, by layer.
        content: Digest and sample of its tensors, None where they could not be read.
        failure: Why it is left out; empty where it is not.
        kind: What kind of finding that is.
        notices: Lines for the user.
    """

    inspected: Inspected
    measured: Measured | None = None
    activations: Mapping[str, Tensor] = field(default_factory=dict)
    content: Content | None = None
    failure: str = ""
    kind: str = "damaged"
    notices: tuple[str, ...] = ()


class Mapper:
    """Maps checkpoints with an observer of its own.

    Args:
        observer: Measures; where several mappers work, each has decided the same.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._memory = RecycledMemory()

    @classmethod
    def of(cls, order: MapOrder) -> "Mapper":
        """A mapper for a worker process."""
        source, _ = replica_source(None, order.request.module, "")
        observer = Observer(AnalysisPlan(order.request, source), order.watched, order.row_layers, order.choices.choices())
        observer.probe = order.request.probe
        return cls(observer)

    def __call__(self, inspected: Inspected) -> Mapped:
        """Read and measure one checkpoint; a failure costs that checkpoint alone."""
        before = len(self._observer.state.notices)
        try:
            mapped = self._mapped(inspected)
        except InterpError as err:
            mapped = Mapped(inspected, failure=str(err).removeprefix(f"{inspected.found.where}: ").rstrip("."))
        except Exception as err:  # whatever one checkpoint does to the user's module, the others are measured
            if self._observer.strict:
                raise
            mapped = Mapped(inspected, failure=f"{type(err).__name__}: {err}", kind="failed")
        return replace(mapped, notices=tuple(self._observer.state.notices[before:]))

    def settle(self, items: Sequence[Inspected]) -> None:
        """Decide how outputs are found before any is mapped: by the first checkpoint that tells, seen again at later ones.

        A guessed loss that is not the module's own shows only once the network has learned something.
        """
        for place, inspected in enumerate(items):
            if self._observer.is_settled and place not in (len(items) // 2, len(items) - 1):
                continue
            with suppress(Exception):  # it is told when the checkpoint is mapped
                tensors = read_checkpoint(inspected.found, self._memory)
                if not content_of(tensors).not_finite:
                    self._observer.settle(Snapshot(inspected.step, inspected.header.epoch or 0, tensors))

    def _mapped(self, inspected: Inspected) -> Mapped:
        tensors = read_checkpoint(inspected.found, self._memory)
        content = content_of(tensors)
        source = self._observer.source
        weights = source.complete(tensors) if isinstance(source, FactorySource) else tensors
        if content.not_finite:
            shown = ", ".join(content.not_finite[:3]) + (" ..." if len(content.not_finite) > 3 else "")
            return Mapped(inspected, content=content, failure=f"NaN or infinity in {shown}", kind="not_finite")
        snapshot = Snapshot(inspected.step, inspected.header.epoch or 0, weights)
        try:
            measured, activations = self._observer.measure_stateless(snapshot)
        except torch.OutOfMemoryError:
            if self._observer.device.type == "cpu":
                raise
            self._observer.state.notice(f"out of memory on {self._observer.device}; a worker goes on on the CPU")
            self._observer.device = torch.device("cpu")
            measured, activations = self._observer.measure_stateless(snapshot)
        return Mapped(inspected, measured, activations, content)
