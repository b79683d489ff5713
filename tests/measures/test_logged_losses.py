# SPDX-License-Identifier: Apache-2.0
"""Which logged number is which curve."""

import pytest

from lightning_interp.core.logged_curves import LoggedAs
from lightning_interp.measures.curve_names import curve_name
from lightning_interp.measures.logged_losses import ENOUGH_EPOCHS, logged_losses
from lightning_interp.measures.logged_names import logged_at


def scalars(*logged):
    """A snapshot's scalars, from (name, kind, step); the value is the place among them."""
    found = {name: float(value) for value, (name, _, _) in enumerate(logged)}
    return found | {logged_at(name, kind): float(step) for name, kind, step in logged}


def chosen(*logged, epoch=0, followed=None):
    found = logged_losses(scalars(*logged), epoch=epoch, followed=followed)
    return {each.curve: (each.logged_as.name, each.logged_as.kind, each.step) for each in found}


@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("loss", "train_loss"),
        ("train/loss_step", "train_loss"),
        ("training_loss", "train_loss"),
        ("Loss/validation", "heldout_loss"),
        ("valid_loss", "heldout_loss"),
        ("test_nll", "heldout_loss"),
        ("val_loss/dataloader_idx_0", "heldout_loss"),
        ("eval/accuracy", "heldout_accuracy"),
        ("val_acc_epoch", "heldout_accuracy"),
        ("trainAcc", "train_accuracy"),
        ("g_loss", "train_loss"),
    ],
)
def test_a_name_is_understood(name, curve):
    assert curve_name(name).curve == curve


@pytest.mark.parametrize(
    "name",
    ["val/acc_best", "loss_scale", "grad_norm", "val_f1", "val_loss/dataloader_idx_1", "min_val_loss", "lossless", ""],
)
def test_a_name_that_is_no_loss_of_the_first_loader_is_none(name):
    assert curve_name(name) is None


def test_a_record_s_own_spelling_goes_before_plain_words_and_those_before_others():
    found = chosen(("aux_loss", "batch", 4), ("loss", "batch", 4), ("train_loss", "batch", 4))
    assert found == {"train_loss": ("train_loss", "batch", 4)}
    assert chosen(("aux_loss", "batch", 4), ("loss", "batch", 4)) == {"train_loss": ("loss", "batch", 4)}


def test_of_two_losses_the_first_logged_is_taken_and_the_other_named():
    (found,) = logged_losses(scalars(("g_loss", "batch", 4), ("d_loss", "batch", 4)), epoch=0)
    assert (found.logged_as.name, found.passed_over) == ("g_loss", ("d_loss",))


TWINS = (("loss", "average", 30), ("loss_step", "batch", 36), ("loss_epoch", "average", 30))


def test_batch_values_are_a_curve_until_there_are_enough_epochs():
    assert chosen(*TWINS, epoch=ENOUGH_EPOCHS - 1) == {"train_loss": ("loss_step", "batch", 36)}
    assert chosen(*TWINS, epoch=ENOUGH_EPOCHS) == {"train_loss": ("loss_epoch", "average", 30)}


def test_a_curve_goes_on_with_the_number_it_began_with():
    followed = {"train_loss": LoggedAs("loss_step", "batch")}
    assert chosen(("train_loss", "average", 9), *TWINS, epoch=50, followed=followed)["train_loss"][0] == "loss_epoch"
    assert chosen(("train_loss", "average", 9), followed=followed) == {}


def test_a_value_of_which_nobody_tells_when_it_was_logged_is_none():
    assert list(logged_losses({"val_loss": 1.0}, epoch=0)) == []
