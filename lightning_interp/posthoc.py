# SPDX-License-Identifier: Apache-2.0
"""Finishing the analysis of a run directory whose training is gone: the live path without a Trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import nn

from lightning_interp.analysis.device import check_device
from lightning_interp.analysis.messages import StartOrder
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.errors import ConfigError
from lightning_interp.imports import import_object
from lightning_interp.measures import CyclicGroupTask, Measure, resolve_measures
from lightning_interp.records import Probe, ProbeStep
from lightning_interp.store import Manifest, Run, analyzer_lock, open_run


@dataclass(frozen=True)
class Finished:
    """What a post-hoc analysis did.

    Attributes:
        run: The run, to read results from.
        observed: Steps observed now.
        pending: Names of measures that need a replica and had none.
        notices: Lines for the user.
    """

    run: Run
    observed: tuple[int, ...]
    pending: tuple[str, ...]
    notices: tuple[str, ...]


def analyze_run(
    run_dir: str | PathLike[str],
    *,
    module: Callable[[], nn.Module] | str | None = None,
    device: str = "auto",
    probe: Probe | None = None,
    probe_step: ProbeStep | None = None,
    on_plan: Callable[[list[int]], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
) -> Finished:
    """Observe every committed snapshot that has no record yet, with the measures the run was started with.

    Args:
        run_dir: Run directory; nothing in it is unpickled or imported.
        module: Factory of the module, or ``pkg.mod:build``; None for weights and history only.
        device: Where to compute.
        probe: The probe where the run kept it out of its directory.
        probe_step: The user's way to outputs where the run had one that cannot be imported again.
        on_plan: Told the pending steps before work starts.
        on_step: Told each observed step.

    Raises:
        RunError: This is no run directory, or another analyzer works on it.
        ConfigError: `module` cannot be imported, or `device` is not there.
    """
    run = open_run(run_dir)
    manifest = run.manifest
    check_device(device, count=torch.cuda.device_count())
    build = import_object(module, argument="module") if isinstance(module, str) else module
    measures, lost = _measures(manifest)
    order = StartOrder(
        packed_module=None,
        factory=build,
        without_replica="" if build is not None else "only weights are measured: no module= was given",
        measures=measures,
        probe_step=probe_step or _named_probe_step(manifest),
        probe=probe,
        device=device,
        training_device="cpu",
        whole_probe=manifest.configuration.get("task") is not None,
        strict=False,
    )
    observed: list[int] = []

    def observe(step: int) -> None:
        observed.append(step)
        on_step(step)

    with analyzer_lock(run.path, wait_s=1.0):
        analyzer = analyzer_for(run.path, order)
        if analyzer.probe_missing:
            analyzer.without_probe()
        on_plan(analyzer.pending())
        analyzer.run_pending(on_step=observe)
        analyzer.finish("finished")
        notices = (*lost, *analyzer.state.notices)
    pending = () if build is not None else tuple(m.name for m in measures if m.needs - {"weights", "history"})
    return Finished(run, tuple(observed), pending, notices)


def _measures(manifest: Manifest) -> tuple[tuple[Measure, ...], list[str]]:
    """The run's measures by name, and a line for each that cannot be found here."""
    entry: dict[str, Any] | None = manifest.configuration.get("task")
    task = None if entry is None else CyclicGroupTask(**{**entry, "operands": tuple(entry["operands"])})
    named = manifest.configuration.get("measures", "standard")
    found: dict[str, Measure] = {}
    lost: list[str] = []
    for name in [named] if isinstance(named, str) else named:
        try:
            found |= {measure.name: measure for measure in resolve_measures(name, task=task)}
        except ConfigError as err:
            lost.append(f"left out: {err}")
    return tuple(found.values()), lost


def _named_probe_step(manifest: Manifest) -> ProbeStep | None:
    """The run's `probe_step` where it was given as ``pkg.mod:fn`` or can be imported under that name."""
    named = manifest.configuration.get("probe_step")
    if not isinstance(named, str) or "<locals>" in named or named.startswith("__main__"):
        return None
    found: ProbeStep = import_object(named, argument="probe_step")
    return found
