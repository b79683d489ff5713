# SPDX-License-Identifier: Apache-2.0
"""One checkpoint to what can be said of it alone: done in any order, in any process, on any machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lightning_interp.analysis.measuring import Measured
from lightning_interp.analysis.observation import Watched
from lightning_interp.analysis.observer import Observer
from lightning_interp.analysis.orders import replica_source
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.core.errors import InterpError
from lightning_interp.core.records import Probe, Snapshot
from lightning_interp.core.recycling import RecycledMemory
from lightning_interp.sources.checkpoints.integrity import Content, Inspected, content_of
from lightning_interp.sources.checkpoints.reading import read_checkpoint
from lightning_interp.store.analysis_state import AnalysisState


@dataclass(frozen=True)
class MapOrder:
    """What a worker needs to map checkpoints: sent to it once, pickled by value.

    Attributes:
        factory: The user's module factory, or its name; None for weights alone.
        measures: Measure objects.
        probe_step: The user's way to outputs.
        probe: The probe, None for weights alone.
        device: Device of the replicas.
        layers: run.json's layer list.
        watched: Layers whose activations are kept, and parameters.
        route: How outputs are found, as the first checkpoint decided.
        probe_cut: The same for the size of the probe.
        threads: Torch threads of a worker.
        strict: Let a failing measure end the analysis.
    """

    factory: Any
    measures: tuple[Any, ...]
    probe_step: Any
    probe: Probe | None
    device: str
    layers: tuple[str, ...]
    watched: Watched
    route: str | None
    probe_cut: Mapping[str, int]
    threads: int
    strict: bool = False


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
        source, _ = replica_source(None, order.factory, "")
        plan = AnalysisPlan(
            measures=order.measures,
            source=source,
            probe_step=order.probe_step,
            device=order.device,
            strict=order.strict,
        )
        state = AnalysisState(route=order.route, probe_cut=dict(order.probe_cut))
        observer = Observer(plan, order.watched, order.layers, state)
        observer.probe = order.probe
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

    def _mapped(self, inspected: Inspected) -> Mapped:
        tensors = read_checkpoint(inspected.found, self._memory)
        content = content_of(tensors)
        if content.not_finite:
            shown = ", ".join(content.not_finite[:3]) + (" ..." if len(content.not_finite) > 3 else "")
            return Mapped(inspected, content=content, failure=f"NaN or infinity in {shown}", kind="not_finite")
        snapshot = Snapshot(inspected.step, inspected.header.epoch or 0, tensors)
        try:
            measured, activations = self._observer.measure_alone(snapshot)
        except torch.OutOfMemoryError:
            if self._observer.device.type == "cpu":
                raise
            self._observer.state.notice(f"out of memory on {self._observer.device}; a worker goes on on the CPU")
            self._observer.device = torch.device("cpu")
            measured, activations = self._observer.measure_alone(snapshot)
        return Mapped(inspected, measured, activations, content)
