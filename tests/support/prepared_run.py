# SPDX-License-Identifier: Apache-2.0
"""A prepared run directory: a classifier that takes a few steps of descent, its snapshots and its probe."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis.module_pickle import pack_module
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.config.monitor_config import MonitorConfig, resolve
from lightning_interp.config.run_directory import new_manifest
from lightning_interp.core.records import Probe, ProbeSplit, Snapshot
from lightning_interp.core.request import AnalysisRequest, with_options
from lightning_interp.measures import resolve_measures
from lightning_interp.store import Manifest, write_manifest, write_probe, write_snapshot
from lightning_interp.store.layout import SNAPSHOTS

STEPS = (0, 1, 2, 5)


def classifier() -> nn.Sequential:
    """The network of the prepared run, newly initialized."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def probe_split(count: int, *, seed: int) -> ProbeSplit:
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return ProbeSplit(((x, (x.sum(1) > 0).long()),), tuple(range(count)))


@dataclass(frozen=True)
class PreparedRun:
    """A run directory whose training is over, and what its analyzer would have been sent."""

    path: Path
    module: nn.Module
    probe: Probe
    manifest: Manifest

    def order(self, **changes: object) -> StartOrder:
        """What the training process sends its analyzer."""
        request = AnalysisRequest(measures=resolve_measures(self.manifest.configuration["measures"]), device="cpu")
        return with_options(StartOrder(request, packed_module=pack_module(self.module)), changes)

    def commit(self, step: int) -> None:
        """Write a snapshot of the module as it is now."""
        weights = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        write_snapshot(self.path, Snapshot(step, 0, weights), aliases={})

    def descend(self) -> None:
        """One step of gradient descent on the training examples of the probe."""
        x, y = self.probe.train.batches[0]
        gradients = torch.autograd.grad(F.cross_entropy(self.module(x), y), list(self.module.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(self.module.parameters(), gradients, strict=True):
                parameter.sub_(0.5 * gradient)


def prepare_run(
    folder: Path,
    name: str = "run",
    *,
    module: nn.Module | None = None,
    steps: tuple[int, ...] = STEPS,
    measures: object = ("train_loss", "heldout_loss", "train_accuracy", "weight_norm", "hoyer"),
    stored_probe: bool = True,
) -> PreparedRun:
    """Make a prepared run under a name in a folder; the same name and arguments give the same content."""
    torch.manual_seed(0)
    module = classifier() if module is None else module
    config = MonitorConfig.of(measures=measures)
    manifest = replace(new_manifest(config, resolve(config, module), module), status="finished")
    path = folder / name
    (path / SNAPSHOTS).mkdir(parents=True)
    write_manifest(path, manifest)
    run = PreparedRun(path, module, Probe(probe_split(6, seed=1), probe_split(5, seed=2)), manifest)
    if stored_probe:
        write_probe(path, run.probe)
    for step in steps:
        run.commit(step)
        run.descend()
    return run


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., PreparedRun]:
    """`prepare_run` in the folder of the test."""
    return partial(prepare_run, tmp_path)
