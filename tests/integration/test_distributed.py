# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training: rank 0 captures, no rank waits for another; sharding is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patient_monitor import PATIENT
from small_training import Classifier, fit

from lightning_interp import InterpMonitor, open_run
from lightning_interp.core.errors import ConfigError


@pytest.mark.filterwarnings("ignore")  # fork beside threads, and Lightning's advice on distributed validation
@pytest.mark.parametrize(  # "ddp", which runs the script again: test_neutrality
    ("strategy", "background"), [("ddp_fork", "process"), ("ddp_spawn", "inline")]
)
def test_ddp_writes_one_run_directory_from_rank_zero(tmp_path: Path, strategy: str, background: Any) -> None:
    # No more snapshots than the writer's queue holds: a spawned process has a user's.
    monitor = InterpMonitor(every_n_steps=3, background=background, **PATIENT)
    fit(tmp_path, monitor, max_steps=6, strategy=strategy, devices=2)
    (directory,) = (tmp_path / "interp_runs").iterdir()
    run = open_run(directory)
    assert run.steps == [0, 3, 6]
    assert run.records("heldout_loss")[0].tolist() == run.steps, "the analyzer of a forked process reads the probe, too"
    assert not any(name.startswith("module.") for name in run.snapshot(6).weights)


def test_setup_refuses_sharding_strategies() -> None:
    from lightning.pytorch.strategies import ModelParallelStrategy

    trainer = SimpleNamespace(strategy=ModelParallelStrategy(), fast_dev_run=False)
    with pytest.raises(ConfigError, match="ModelParallelStrategy shards parameters"):
        InterpMonitor().setup(trainer, Classifier(), "fit")  # type: ignore[arg-type]
