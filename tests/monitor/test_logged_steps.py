# SPDX-License-Identifier: Apache-2.0
"""When a value was logged, told by the memory it lies in."""

import pickle

import torch

from lightning_interp.monitor.logged_steps import LoggedSteps


def steps(logged, values):
    return {name.removeprefix("interp/logged_"): step for name, step in logged.scalars(values).items()}


def test_a_value_that_is_handed_out_again_was_not_logged_again():
    logged, value = LoggedSteps(), torch.tensor(2.0)
    logged.look({"val_loss": value.detach()}, step=4, kind="average")
    logged.look({"val_loss": value.detach()}, step=9, kind="batch")
    assert steps(logged, {"val_loss": value}) == {"average/val_loss": 4.0}


def test_an_equal_value_in_other_memory_was_logged_anew():
    logged = LoggedSteps()
    for step in (4, 9):
        logged.look({"loss": torch.tensor(2.0)}, step=step, kind="batch")
    assert steps(logged, {"loss": None}) == {"batch/loss": 9.0}


def test_a_batch_s_value_is_none_of_the_validation_that_came_after_it():
    logged = LoggedSteps()
    logged.look({"loss": torch.tensor(2.0)}, step=1, kind="batch")
    values = {"loss": torch.tensor(1.0), "val_loss": torch.tensor(3.0)}
    logged.look(values, step=6, kind="average")
    assert steps(logged, values) == {"batch/loss": 6.0, "average/val_loss": 6.0}


def test_an_average_takes_the_place_of_the_last_batch_s_value():
    logged = LoggedSteps()
    logged.look({"loss": torch.tensor(2.0), "loss_step": torch.tensor(2.0)}, step=1, kind="batch")
    average = torch.tensor(1.5)
    values = {"loss": average.detach(), "loss_epoch": average.detach()}
    logged.look(values, step=6, kind="average")
    assert steps(logged, values) == {"average/loss": 6.0, "average/loss_epoch": 6.0}


def test_an_epoch_is_looked_at_where_a_snapshot_may_fall_into_the_next():
    logged = LoggedSteps()
    assert [logged.epoch_ends_at(step) for step in (0, 30, 50)] == [0, 90, 90]


def test_a_copy_has_seen_nothing():
    logged, values = LoggedSteps(), {"loss": torch.tensor(2.0)}
    logged.look(values, step=1, kind="batch")
    assert pickle.loads(pickle.dumps(logged)).scalars(values) == {}
