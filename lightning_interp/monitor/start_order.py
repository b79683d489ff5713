# SPDX-License-Identifier: Apache-2.0
"""What the analyzer of a training is told at its start."""

from torch import nn

from lightning_interp.analysis.module_pickle import pack_module
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.config.monitor_config import MonitorConfig, Resolved
from lightning_interp.core.console import say
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Probe
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store.analysis_state import WEIGHTS_ONLY


def start_order(
    config: MonitorConfig, module: nn.Module, resolved: Resolved, training: TrainingContext, *, probe: Probe | None
) -> StartOrder:
    """The order, with the module packed where that is possible.

    Args:
        config: What the user asked for.
        module: The module in training.
        resolved: The checked configuration.
        training: What is around it.
        probe: A probe that is kept out of the run directory.
    """
    packed, reason = None, ""
    try:
        packed = pack_module(module)
    except ProbeError as err:
        if config.module is None:
            reason = f"{WEIGHTS_ONLY}: {err}"
        else:
            say(f"replicas come from module=: {err}")
    return StartOrder(
        packed_module=packed,
        factory=config.module,
        without_replica=reason,
        measures=resolved.measures,
        probe_step=resolved.probe_step,
        probe=probe,
        device=config.device,
        training_device=training.device,
        whole_probe=config.task is not None,
        strict=config.strict,
        tca=resolved.tca,
    )
