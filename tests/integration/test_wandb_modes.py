# SPDX-License-Identifier: Apache-2.0
"""W&B as people use it: a run of their own, a resumed one, several, none; every record at its own step in each."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import logged_training
import pytest
import torch
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from noisy_training import quiet_trainer
from small_training import Classifier, data, fit
from torch.utils.data import DataLoader
from wandb_records import SETTINGS, WandbRecords, values_by_step

from lightning_interp import InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.store.delivered import read_delivered

STEPS = [0, 5, 10, 15, 20]


@pytest.fixture(autouse=True)
def wandb_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies of artifacts go to the test's folder, and no run stays open."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    yield
    while wandb.run is not None:
        wandb.run.finish()


def monitor(root: Path, **options: Any) -> InterpMonitor:
    """A monitor that needs no process of its own."""
    return InterpMonitor(root / "run", background="inline", every_n_steps=5, **options)


def start_run(root: Path, **options: Any) -> Any:
    return wandb.init(project="test", dir=root, mode="offline", settings=wandb.Settings(**SETTINGS), **options)


def assert_every_record_once(root: Path, rows: list[dict[str, Any]], steps: list[int] = STEPS) -> None:
    """The rows are the records, each at its own step."""
    assert [int(row["interp/step"]) for row in rows] == steps
    expected = {record.step: dict(record.values) for record in open_run(root / "run").all_records}
    for step, values in values_by_step(rows, ["heldout_loss", "weight_norm"]).items():
        assert values == {name: expected[step][name] for name in values}


@pytest.mark.filterwarnings("ignore:There is a wandb run already in progress")  # WandbLogger says which it takes
def test_a_run_that_the_user_began_gets_every_record_beside_the_user_s_own_rows(tmp_path: Path) -> None:
    run = start_run(tmp_path, name="mine", id="mine1")
    run.log({"mine": 1.0}, step=1000)  # W&B's own counter is ahead of every step of ours
    fit(tmp_path, monitor(tmp_path), max_steps=20, logger=WandbLogger())
    run.log({"mine": 2.0})
    run.finish()
    found = WandbRecords(Path(run.settings.sync_file))
    assert_every_record_once(tmp_path, found.rows)
    assert [row["mine"] for row in found.history if "mine" in row] == [1.0, 2.0]
    assert found.summary["interp/verdict"] and found.summary["interp/grokking_step_bound"] == 20
    delivered = read_delivered(tmp_path / "run")
    assert delivered is not None and [(each.run_id, each.name) for each in delivered.wandb] == [("mine1", "mine")]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_run_id_gets_only_what_it_has_not_got(tmp_path: Path) -> None:
    loaders = DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)
    files = []
    for start, max_steps in enumerate((10, 20)):
        logger = WandbLogger(project="test", save_dir=tmp_path / str(start), mode="offline", id="again", settings=SETTINGS)
        checkpoints = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=10, save_top_k=-1)
        torch.manual_seed(0)
        callbacks = [monitor(tmp_path), checkpoints]
        trainer = quiet_trainer(tmp_path, callbacks, max_steps=max_steps, logger=logger, enable_checkpointing=True)
        (checkpoint,) = list((tmp_path / "ckpt").glob("*step=10.ckpt")) or [None]
        trainer.fit(Classifier(), *loaders, ckpt_path=checkpoint)
        logger.experiment.finish()
        files.append(WandbRecords(Path(logger.experiment.settings.sync_file)))
    first, second = ([int(row["interp/step"]) for row in found.rows] for found in files)
    assert (first, second) == ([0, 5, 10], [15, 20]), "though the checkpoint was made before anything was delivered"
    assert_every_record_once(tmp_path, files[1].rows, second)
    delivered = read_delivered(tmp_path / "run")
    assert delivered is not None and [(each.run_id, each.step) for each in delivered.wandb] == [("again", 20)]


def test_two_wandb_runs_and_a_csv_file_get_every_record(tmp_path: Path) -> None:
    runs = [start_run(tmp_path, id=name, reinit="create_new") for name in ("one", "two")]
    csv_logger = CSVLogger(tmp_path)
    loggers = [*(WandbLogger(experiment=run) for run in runs), csv_logger]
    fit(tmp_path, monitor(tmp_path), max_steps=20, logger=loggers)
    for run in runs:
        run.finish()
        found = WandbRecords(Path(run.settings.sync_file))
        assert_every_record_once(tmp_path, found.rows)
        assert len(found.artifacts) == 1 and len(found.figures) > 5
    assert (Path(csv_logger.log_dir) / "metrics.csv").read_text().count("\n") > len(STEPS)
    delivered = read_delivered(tmp_path / "run")
    assert delivered is not None and [each.run_id for each in delivered.wandb] == ["one", "two"]


def test_disabled_wandb_takes_everything_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lightning_interp")
    logger = WandbLogger(project="test", save_dir=tmp_path, mode="disabled")
    fit(tmp_path, monitor(tmp_path), max_steps=20, logger=[logger, CSVLogger(tmp_path)])
    assert "warning" not in caplog.text
    delivered = read_delivered(tmp_path / "run")
    assert delivered is not None and (delivered.step, delivered.wandb) == (20, ()), "there is no run to supply later"


class FinishesEarly(L.Callback):
    """Ends the W&B run as scripts do, before the monitor has delivered everything."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.logger.experiment.finish()


def test_a_run_that_was_finished_too_early_costs_one_warning_and_is_supplied_by_sync(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = WandbLogger(project="test", save_dir=tmp_path, mode="offline", id="early", settings=SETTINGS)
    torch.manual_seed(0)
    trainer = quiet_trainer(tmp_path, [monitor(tmp_path), FinishesEarly()], max_steps=20, logger=logger)
    trainer.fit(Classifier(), DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20))
    assert caplog.text.count("warning: WandbLogger did not take") == 1, caplog.text
    assert trainer.global_step == 20
    before = [int(row["interp/step"]) for row in WandbRecords(Path(logger.experiment.settings.sync_file)).rows]
    delivered = read_delivered(tmp_path / "run")
    assert delivered is not None and delivered.wandb[0].step == max(before, default=-1)
    assert main(["sync", str(tmp_path / "run"), "--json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)["sent"]
    assert (sent["project"], sent["id"], sent["mode"]) == ("test", "early", "offline")
    late = WandbRecords(Path(sent["directory"]))
    assert [*before, *(int(row["interp/step"]) for row in late.rows)] == STEPS
    assert late.summary["interp/verdict"] and len(late.artifacts) == 1


def test_figures_report_and_files_move_no_random_state_and_no_weight(tmp_path: Path) -> None:
    command = [sys.executable, logged_training.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    without, watched = json.loads(done.stdout.splitlines()[-1])
    assert without == watched
    (folder,) = (tmp_path / "with" / "wandb").glob("offline-run-*")
    assert len(WandbRecords(folder).figures) > 5 and (tmp_path / "run" / "report.html").exists(), "there was enough to do it"
