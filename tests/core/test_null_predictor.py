# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.phases import PhaseDetector

PLAIN = {"null_loss": 0.5, "null_error": 0.25, "null_source": "given", "n_classes": 4, "heldout_examples": 9}


def test_what_the_file_says_is_read():
    assert NullPredictor.read(PLAIN | {"stage": "running"}) == NullPredictor(0.5, 0.25, "given", 4, 9)


def test_a_file_that_says_nothing_is_read_as_nothing_known():
    assert NullPredictor.read({}) == NullPredictor()


def test_a_detector_is_told_all_of_it():
    told = NullPredictor.read(PLAIN).for_detector()
    assert told == PLAIN
    PhaseDetector(**told)


@pytest.mark.parametrize("known", [NullPredictor(), NullPredictor(0.0, 0.0, "entropy", 1, 0)], ids=["nothing", "one class"])
def test_a_detector_takes_a_null_of_nothing_for_unknown(known):
    assert known.for_detector() == {}
    PhaseDetector(**known.for_detector())


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("value", [[1], True, -1, float("nan"), {}])
def test_values_of_another_kind_count_as_not_known(name, value):
    assert NullPredictor.read({name: value}) == NullPredictor()


@pytest.mark.parametrize("level", [math.nan, math.inf, -1.0])
def test_a_null_that_is_no_level_is_not_told_to_the_detector(level):
    told = NullPredictor(loss=level, error=level, source="of the probe", n_classes=5).for_detector()
    assert told == {"n_classes": 5}
    PhaseDetector(**told)


def test_an_error_over_1_is_not_told_to_the_detector():
    assert NullPredictor(error=2.0).for_detector() == {}


@pytest.mark.parametrize("value", [10**400, -1, "abc", True, [1]])
@pytest.mark.parametrize("name", ["null_loss", "null_error", "n_classes", "heldout_examples"])
def test_a_value_that_nobody_would_write_counts_as_not_known(name, value):
    PhaseDetector(**NullPredictor.read(PLAIN | {name: value}).for_detector())
