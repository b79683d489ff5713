# SPDX-License-Identifier: Apache-2.0
"""What may be asked of a logged number that decides, and what its name alone tells."""

import pytest

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.outcome import Outcome, direction_of, nearest, outcome_of


@pytest.mark.parametrize(
    "name", ["val/f1", "MulticlassF1Score", "valF1", "BinaryAUROC", "val/acc_epoch", "mIoU", "val_r2", "mAP"]
)
def test_direction_of_names_of_which_more_is_better(name):
    assert direction_of(name) == "max"


@pytest.mark.parametrize("name", ["val_loss", "val/wer", "MeanSquaredError", "f1_loss", "val/perplexity/dataloader_idx_0"])
def test_direction_of_names_of_which_less_is_better(name):
    assert direction_of(name) == "min"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("val/quality", "'max:val/quality' or 'min:val/quality'"),
        ("", "name of a logged number"),
        (3, "got a int"),
        (Outcome("val/f1", "up"), "expected max or min, got 'up'"),
        (Outcome("val/f1", null_value=1.0), "under 1, got 1.0"),
        (Outcome("val/f1", best=0.0), "over 0"),
        (Outcome("val/mse", null_value=0.0), "over 0, got 0.0"),
        (Outcome("val/mse", best=100.0), "leave it out"),
    ],
)
def test_outcome_of_says_what_cannot_be_honoured(given, message):
    with pytest.raises(ConfigError, match=message):
        outcome_of(given)


def test_outcome_of_takes_the_direction_before_a_name():
    assert outcome_of("max:val/quality") == Outcome("val/quality", "max")
    assert outcome_of("min:val/f1") == Outcome("val/f1", "min")


def test_a_null_is_known_by_definition_or_as_given():
    assert Outcome("val/auroc", "max", best=100.0).known_null[0] == 50.0
    assert Outcome("val/auroc", "max", null_value=0.4).known_null == (0.4, "given as the null of val/auroc")
    assert Outcome("val/f1", "max").known_null is None
    assert Outcome("auc", "min").known_null is None


def test_outcome_survives_run_json():
    outcome = Outcome("val/bleu", "max", null_value=2.0, best=100.0)
    assert Outcome.from_plain({**outcome.plain(), "later": 1}) == outcome


def test_nearest_lists_eight_names_and_counts_the_rest():
    assert nearest("val/f1", [f"loss_{number}" for number in range(10)]).endswith("and 2 more")
    assert nearest("val/f1", []) == "nothing is logged"
