# SPDX-License-Identifier: Apache-2.0
"""What the analyzer of a training is told at its start."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from lightning_interp.analysis.module_pickle import pack_module
from lightning_interp.analysis.packed_types import pack_types
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.config.monitor_config import Resolved
from lightning_interp.core.console import say
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Probe
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store.analysis_state import WEIGHTS_ONLY


def start_order(
    module: nn.Module,
    resolved: Resolved,
    training: TrainingContext,
    *,
    probe: Probe | None,
    batch_types: Mapping[str, type | None] | None = None,
) -> StartOrder:
    """The order, with the module packed where that is possible.

    Args:
        module: The module.
        resolved: The configuration.
        training: The training around it.
        probe: The probe if it is kept out of the run directory.
        batch_types: Classes of the batches of a probe that lies there, by name.
    """
    packed, reason, request = None, "", resolved.request
    try:
        packed = pack_module(module)
    except ProbeError as err:
        if request.module is None:
            reason = f"{WEIGHTS_ONLY}: {err}"
        else:
            say(f"replicas come from module=: {err}")
    return StartOrder(
        replace(request, probe=probe),
        packed_module=packed,
        without_replica=reason,
        training_device=training.device,
        batch_types=pack_types(batch_types or {}),
    )
