# SPDX-License-Identifier: Apache-2.0
import lightning as L
import pytest
import torch
from lightning.pytorch.trainer.states import RunningStage
from torch import nn

from lightning_interp.analysis.module_loss import step_loss
from lightning_interp.analysis.trainer_stand_in import attach_stand_in
from lightning_interp.core.errors import ProbeError


class Reads(L.LightningModule):
    """A step that gives what a function reads of the module."""

    def __init__(self, read) -> None:
        super().__init__()
        self.read = read

    def validation_step(self, batch, batch_idx):
        return torch.tensor(float(self.read(self)))

    training_step = validation_step


def read_by(read, step="validation_step", **settings) -> float:
    module = Reads(read)
    attach_stand_in(module, step=7, epoch=3, settings=settings)
    return step_loss(module, torch.zeros(2, 1), step).value.item()


def test_a_step_may_read_the_epoch_and_step_of_the_snapshot():
    assert read_by(lambda m: m.trainer.current_epoch * 1000 + m.trainer.global_step + m.current_epoch) == 3010.0


@pytest.mark.parametrize(("step", "stage"), [("validation_step", "VALIDATING"), ("training_step", "TRAINING")])
def test_a_step_may_read_which_stage_it_is(step, stage):
    assert read_by(lambda m: m.trainer.state.stage == RunningStage[stage], step) == 1.0
    assert read_by(lambda m: m.trainer.training, step) == float(stage == "TRAINING")


def test_a_step_may_draw_into_a_logger_that_keeps_nothing():
    assert read_by(lambda m: m.logger.experiment.add_image("name", m) is None and m.loggers == [m.logger]) == 1.0


def test_a_step_may_read_the_plain_settings_of_the_training():
    assert read_by(lambda m: m.global_step / m.trainer.max_epochs, max_epochs=14) == 0.5


def test_a_step_may_ask_for_what_need_not_be_there():
    assert read_by(lambda m: getattr(m.trainer, "datamodule", None) is None) == 1.0


def test_what_a_step_reads_and_a_replica_lacks_is_named():
    with pytest.raises(ProbeError, match=r"training_step reads trainer.datamodule, which a replica does not have"):
        read_by(lambda m: m.trainer.datamodule.scale, "training_step")


def test_modules_of_other_kinds_are_left_alone():
    module = nn.Linear(1, 1)
    attach_stand_in(module, step=0, epoch=0)
    assert not hasattr(module, "trainer")
