# SPDX-License-Identifier: Apache-2.0
"""Tensor components of real trainings: on disk, in loggers, after a resume, after the analyzer was killed."""

import csv
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from noisy_training import quiet_trainer
from small_training import Classifier, data, fit
from torch.utils.data import DataLoader
from waiting import until_closed

from lightning_interp import TCA, InterpMonitor, Run, analyze_run, open_run
from lightning_interp.store.layout import ABANDONED, COMPONENTS, components_file

LAYER = "net.1"
EVERY = 5
PATIENCE_S = 200.0


def monitor(root: Path, **changes: Any) -> InterpMonitor:
    arguments: dict[str, Any] = {"every_n_steps": 2, "tca": TCA(ranks="1:3", every=EVERY, restarts=2)}
    return InterpMonitor(root / "run", **arguments | changes)


def loading_rows(run: Run) -> dict[int, dict[str, float]]:
    """Recorded loadings by step."""
    return {r.step: {n: v for n, v in r.values.items() if n.startswith("component/")} for r in run.all_records}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tca")
    fit(root, monitor(root, background="inline"), logger=CSVLogger(root / "csv", name="", version=""))
    return root


def test_components_of_the_whole_run_are_on_disk(trained: Path) -> None:
    run = open_run(trained / "run")
    assert run.component_layers == (LAYER,)
    found = run.components(LAYER)
    assert list(found.folded_steps) == run.observed_steps == list(range(0, 61, 2))
    assert found.nonnegative  # the layer is a ReLU
    assert found.factors[0].shape == (len(found.steps), len(found.component_ids))
    assert run.manifest.configuration["tca"]["ranks"] == [1, 2, 3]


def test_loadings_are_recorded_after_the_first_fit(trained: Path) -> None:
    rows = loading_rows(open_run(trained / "run"))
    assert [step for step, values in rows.items() if values] == list(range(2 * EVERY, 61, 2))
    assert all(math.isfinite(value) and value >= 0 for values in rows.values() for value in values.values())


def test_loggers_get_the_loadings_under_the_same_keys_in_every_row(trained: Path) -> None:
    with (trained / "csv" / "metrics.csv").open() as handle:
        rows = {int(row["step"]): row for row in csv.DictReader(handle) if row["interp/step"]}
    slots = [f"component/{LAYER}/{k}" for k in range(3)]
    recorded = loading_rows(open_run(trained / "run"))
    assert sorted(rows) == sorted(recorded)
    for step, row in rows.items():
        shown = {name: float(row[f"interp/{name}"]) for name in slots}  # an absent key would be an empty field
        assert {name: value for name, value in shown.items() if not math.isnan(value)} == {
            name: value for name, value in recorded[step].items() if name in slots
        }


class StopsAt(L.Callback):
    """Ends a training as a crash does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crashed")


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_follows_its_components_from_where_it_resumed(tmp_path: Path) -> None:
    def run_to_step_60(*callbacks: L.Callback, **arguments: Any) -> None:
        checkpoints = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=30, save_last=True)
        torch.manual_seed(0)
        trainer = quiet_trainer(
            tmp_path,
            [monitor(tmp_path, background="inline"), checkpoints, *callbacks],
            max_steps=60,
            enable_checkpointing=True,
        )
        trainer.fit(Classifier(), *loaders(), **arguments)

    with pytest.raises(RuntimeError, match="crashed"):
        run_to_step_60(StopsAt(50))
    until_closed(tmp_path / "run")
    assert max(open_run(tmp_path / "run").components(LAYER).folded_steps) > 30
    run_to_step_60(ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    run = open_run(tmp_path / "run")
    assert run.manifest.attempts[-1].resumed_at == 30
    assert list(run.components(LAYER).folded_steps) == run.observed_steps == list(range(0, 61, 2))
    aside = run.path / ABANDONED / "attempt_0" / COMPONENTS
    assert [path.name for path in aside.iterdir()] == [components_file(run.path, LAYER).name]
    assert [step for step, values in loading_rows(run).items() if values] == list(range(2 * EVERY, 61, 2))


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)


class KillsTheAnalyzer(L.Callback):
    """Kills the analyzer process once it has fitted components, and the one that takes its place before it does anything."""

    def __init__(self, watcher: InterpMonitor) -> None:
        self.watcher = watcher
        self.killed = False

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step < 30 or self.killed:
            return
        assert self.watcher.run_dir is not None and self.watcher._monitor is not None
        engine: Any = self.watcher._monitor._engine
        deadline = time.monotonic() + PATIENCE_S
        while not components_file(self.watcher.run_dir, LAYER).exists():
            assert time.monotonic() < deadline, "the analyzer fitted nothing in time"
            engine.resume()  # it may be halted to see what it costs, and the training, which waits here, would not end that
            time.sleep(0.02)
        first = engine.pid
        os.kill(first, signal.SIGKILL)
        while engine.pid == first:
            assert time.monotonic() < deadline, "no analyzer took its place"
            time.sleep(0.02)
        os.kill(engine.pid, signal.SIGKILL)
        self.killed = True


def test_a_killed_analyzer_costs_no_components_once_the_run_is_analyzed(tmp_path: Path) -> None:
    watcher = monitor(tmp_path)
    torch.manual_seed(0)
    trainer = quiet_trainer(tmp_path, [watcher, KillsTheAnalyzer(watcher)], max_steps=60)
    trainer.fit(Classifier(), *loaders())
    assert trainer.global_step == 60
    assert max(open_run(tmp_path / "run").components(LAYER).folded_steps) < 60
    run = analyze_run(tmp_path / "run", module=Classifier, device="cpu").run
    assert list(run.components(LAYER).folded_steps) == run.steps == list(range(0, 61, 2))
    assert [step for step, values in loading_rows(run).items() if values] == list(range(2 * EVERY, 61, 2))
