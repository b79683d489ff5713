# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training: rank 0 captures, no rank waits for another; sharding is refused."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from patient_monitor import PATIENT
from small_training import Classifier, fit

from lightning_interp import InterpMonitor, open_run
from lightning_interp.core.errors import ConfigError


@pytest.mark.filterwarnings("ignore")  # fork beside threads, and Lightning's advice on distributed validation
@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])  # "ddp", which runs the script again: test_neutrality
def test_ddp_writes_one_run_directory_from_rank_zero(tmp_path: Path, strategy: str) -> None:
    # No more snapshots than the writer's queue holds: a spawned process has a user's.
    fit(tmp_path, InterpMonitor(every_n_steps=3, **PATIENT), max_steps=6, strategy=strategy, devices=2)
    (directory,) = (tmp_path / "interp_runs").iterdir()
    run = open_run(directory)
    assert run.steps == [0, 3, 6]
    assert [record.step for record in run.all_records] == run.steps
    assert "heldout_loss" in run.series
    assert not any(name.startswith("module.") for name in run.snapshot(6).weights)


def test_setup_refuses_sharding_strategies() -> None:
    from lightning.pytorch.strategies import ModelParallelStrategy

    trainer = SimpleNamespace(strategy=ModelParallelStrategy(), fast_dev_run=False)
    with pytest.raises(ConfigError, match="ModelParallelStrategy shards parameters"):
        InterpMonitor().setup(trainer, Classifier(), "fit")  # type: ignore[arg-type]
