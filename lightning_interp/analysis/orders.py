# SPDX-License-Identifier: Apache-2.0
"""From an order to an analyzer: the same for a process, a thread, inline work and the command line."""

from pathlib import Path
from typing import Any

import torch

from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.analysis.device import check_device, choose_device, gpu_memory, is_shared, with_index
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.analysis.replica import FactorySource, PackedSource, ReplicaSource
from lightning_interp.analysis.watchdog import Watch
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import import_object
from lightning_interp.store.analysis_state import WEIGHTS_ONLY


def analyzer_for(run_dir: Path, order: StartOrder, *, watch: Watch | None = None) -> Analyzer:
    """An analyzer that carries out an order; the caller holds the run's analyzer lock.

    Args:
        run_dir: Run directory.
        order: What it does.
        watch: Ends what hangs, where the analyzer has a process of its own.
    """
    left_out = order.quarantine.components if order.quarantine is not None else ""
    source, reason = replica_source(order.packed_module, order.factory, order.without_replica)
    device = _device(order)
    plan = AnalysisPlan(
        measures=order.measures,
        source=source,
        probe_step=order.probe_step,
        device=device,
        whole_probe=order.whole_probe,
        strict=order.strict,
        tca=None if left_out else order.tca,
        without_replica=reason,
        shares_gpu=is_shared(device, training=order.training_device),
        quarantine=order.quarantine,
        start_id=order.start_id,
        least_limit_s=order.least_limit_s,
    )
    analyzer = Analyzer(run_dir, plan, probe=order.probe, watch=watch)
    if left_out:
        analyzer.state.notice(f"tensor components are left out: {left_out}; `lightning-interp analyze` tries them again")
    return analyzer


def _device(order: StartOrder) -> str:
    """Chosen where the analysis runs, so that a training process never starts up GPUs it does not use.

    Nor does this one where the device is named: to ask for the memory of a GPU takes some of it.
    """
    if order.device == "auto":
        return choose_device("auto", training=order.training_device, gpus=gpu_memory())
    check_device(order.device, count=torch.cuda.device_count())
    return with_index(order.device)


def replica_source(packed: bytes | None, factory: Any, without: str) -> tuple[ReplicaSource | None, str]:
    """The pickled module, else the factory, else none and the reason.

    Args:
        packed: Module without its weights.
        factory: The user's `module=`, a callable or ``pkg.mod:name``.
        without: The reason where there is neither.
    """
    if packed is not None:
        return PackedSource(packed), ""
    if factory is None:
        return None, without
    try:
        build = import_object(factory, argument="module") if isinstance(factory, str) else factory
    except ConfigError as err:
        return None, f"{WEIGHTS_ONLY}: {err}"
    return FactorySource(build), ""
