# SPDX-License-Identifier: Apache-2.0
"""From an order to an analyzer: the same for a process, a thread, inline work and the command line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.analysis.device import choose_device, gpu_memory, is_shared
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.analysis.replica import FactorySource, PackedSource, ReplicaSource
from lightning_interp.analysis.watchdog import Watch
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.core.device import check_device, with_index
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import import_object
from lightning_interp.store.analysis_state import WEIGHTS_ONLY


def analyzer_for(run_dir: Path, order: StartOrder, *, watch: Watch | None = None) -> Analyzer:
    """An analyzer that carries out an order; the caller holds the run's analyzer lock."""
    left_out = order.quarantine.components if order.quarantine is not None else ""
    source, reason = replica_source(order.packed_module, order.request.module, order.without_replica)
    device = _device(order)
    request = replace(order.request, device=device, tca=None if left_out else order.request.tca)
    plan = AnalysisPlan(request, source, reason, shares_gpu=is_shared(device, training=order.training_device))
    analyzer = Analyzer(run_dir, plan, order, watch=watch)
    if left_out:
        analyzer.state.notice(f"tensor components are left out: {left_out}; `lightning-interp analyze` tries them again")
    return analyzer


def _device(order: StartOrder) -> str:
    """Chosen where the analysis runs, so that a training process never starts up GPUs it does not use.

    Nor does this one where the device is named: to ask for the memory of a GPU takes some of it.
    """
    wanted = order.request.device
    if wanted == "auto":
        return choose_device("auto", training=order.training_device, gpus=gpu_memory())
    check_device(wanted)
    return str(with_index(wanted))


def replica_source(packed: bytes | None, factory: Any, without: str) -> tuple[ReplicaSource | None, str]:
    """The pickled module, else the factory, else none and the reason, `without`."""
    if packed is not None:
        return PackedSource(packed), ""
    if factory is None:
        return None, without
    try:
        build = import_object(factory, argument="module") if isinstance(factory, str) else factory
    except ConfigError as err:
        return None, f"{WEIGHTS_ONLY}: {err}"
    return FactorySource(build), ""
