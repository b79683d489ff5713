# SPDX-License-Identifier: Apache-2.0
"""What loggers get at the end: by what is on disk then, not by what the analyzer knew when it last wrote."""

import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from prepared_run import prepare_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_records import SETTINGS, WandbRecords

from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Phase, Timeline
from lightning_interp.monitor.delivery import Delivery
from lightning_interp.monitor.listeners import Listeners
from lightning_interp.phases.verdict_state import in_state
from lightning_interp.store import append_record
from lightning_interp.store.layout import PHASES

FOUND = in_state(
    Timeline("grokking", (Phase("fitting", 0, None, 0.5, (0, 0)),), (), {"cleanup": ((0, 0.0), (1, 0.5))}),
    "provisional",
    (2, 2),
)
OF_A_VERDICT = {"interp/verdict", "interp/grokking_step_bound", "interp/fitting_start"}


def ended(folder, analyzed, unwritten=0):
    """A run of four snapshots whose analyzer wrote a timeline after two, at the end of its training, and its loggers."""
    run_dir = prepare_run(folder).path
    wandb = WandbLogger(project="test", save_dir=folder, mode="offline", settings=SETTINGS)
    tensorboard = TensorBoardLogger(folder / "tb")
    delivery = Delivery(run_dir, ("train_loss",), [wandb, tensorboard], listeners=Listeners(), strict=False)
    for step in analyzed:
        append_record(run_dir, Record(step, 0, {"train_loss": 1.0}))
    (run_dir / PHASES).write_text(json.dumps(FOUND.to_dict()))
    delivery.finish("finished", unwritten)
    wandb.experiment.finish()
    tensorboard.experiment.flush()
    return delivery, WandbRecords(Path(wandb.experiment.settings.sync_file)), Path(tensorboard.log_dir)


def test_a_summary_waits_for_a_snapshot_that_is_still_being_written(tmp_path):
    delivery, sent, _ = ended(tmp_path, (0, 1, 2, 5), unwritten=1)
    assert (delivery.timeline.state, delivery.timeline.analyzed) == ("pending", (4, 5))
    assert not OF_A_VERDICT & sent.summary.keys()


@pytest.mark.parametrize(("analyzed", "state"), [((0, 1), "pending"), ((0, 1, 2, 5), "final")])
def test_a_summary_goes_with_a_final_verdict_only(tmp_path, analyzed, state):
    delivery, sent, folder = ended(tmp_path, analyzed)
    assert (delivery.timeline.state, delivery.timeline.analyzed) == (state, (len(analyzed), 4))
    assert OF_A_VERDICT & sent.summary.keys() == (OF_A_VERDICT if state == "final" else set())
    texts = EventAccumulator(str(folder)).Reload().Tags()["tensors"]
    assert ("interp/verdict/text_summary" in texts) == (state == "final")
    assert "interp/train_loss" in sent.rows[0], "rows come all the same"
