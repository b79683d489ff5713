# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.core.null_predictor import NullPredictor

PLAIN = {"null_loss": 0.5, "null_error": 0.25, "null_source": "given", "n_classes": 4, "heldout_examples": 9}


def test_what_the_file_says_is_read():
    assert NullPredictor.read(PLAIN | {"stage": "running"}) == NullPredictor(0.5, 0.25, "given", 4, 9)


def test_a_file_that_says_nothing_is_read_as_nothing_known():
    assert NullPredictor.read({}) == NullPredictor()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("value", [[1], True, -1, float("nan"), {}])
def test_values_of_another_kind_count_as_not_known(name, value):
    assert NullPredictor.read({name: value}) == NullPredictor()
