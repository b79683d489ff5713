# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from lightning_interp.analysis.measuring import measure_all
from lightning_interp.analysis.observation import SnapshotObservation, Watched
from lightning_interp.errors import MeasureSkipped
from lightning_interp.measures import Measure
from lightning_interp.records import Snapshot
from lightning_interp.store.standing import with_non_finite

OBSERVATION = SnapshotObservation(Snapshot(0, 0, {}), Watched((), ()), {})


def measure(label: str, result: object) -> Measure:
    """A measure that gives a result or raises it."""

    class Given(Measure):
        name, names, needs = label, (label,), frozenset({"weights"})

        def __call__(self, observation):
            if isinstance(result, Exception):
                raise result
            return result

    return Given()


def run(*measures: Measure, layers: tuple[str, ...] = (), on_failure=lambda name, err: None):
    return measure_all(OBSERVATION, measures, layers, on_failure=on_failure)


def test_measure_all_collects_values():
    assert run(measure("a", {"a": 1.0}), measure("b", {"b": 2.0})).values == {"a": 1.0, "b": 2.0}


def test_measure_all_places_per_layer_values_in_the_order_of_the_run():
    found = run(measure("a", {"a": 1.0, "a/second": 2.0}), layers=("first", "second"))
    assert (found.values, found.layers) == ({"a": 1.0}, {"a": [None, 2.0]})


def test_measure_all_keeps_a_name_with_a_slash_that_is_no_layer():
    assert run(measure("a", {"a/part": 1.0}), layers=("first",)).values == {"a/part": 1.0}


def test_measure_all_records_why_a_measure_was_skipped():
    found = run(measure("a", MeasureSkipped("no held-out data")), measure("b", {"b": 1.0}))
    assert (found.skipped, found.values) == ({"a": "no held-out data"}, {"b": 1.0})


def test_a_failing_measure_costs_its_own_values_only():
    told = []
    found = run(
        measure("a", KeyError("x")), measure("b", {"b": 1.0}), on_failure=lambda name, err: told.append((name, type(err)))
    )
    assert found.values == {"b": 1.0}
    assert found.skipped == {"a": "failed: KeyError: 'x'"}
    assert told == [("a", KeyError)]


def test_a_failing_measure_stops_where_the_caller_says_so():
    def stop(name: str, err: Exception) -> None:
        raise err

    with pytest.raises(KeyError):
        run(measure("a", KeyError("x")), on_failure=stop)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_measure_all_records_values_that_are_not_finite_as_skipped(value):
    found = run(measure("a", {"a": value, "a/layer": value}), layers=("layer",))
    assert found.values == {}
    assert found.skipped == {"a": f"not finite ({value})"}
    assert found.layers == {"a": [None]}


@pytest.mark.parametrize("reason", ["not finite (nan)", "the train loss is not finite (nan)"])
def test_with_non_finite_gives_them_back_to_the_detector(reason):
    assert math.isnan(with_non_finite({"x": 1.0}, {"train_loss": reason})["train_loss"])


@pytest.mark.parametrize("reason", ["no held-out data", "failed: ValueError: input is not finite"])
def test_with_non_finite_leaves_other_reasons_alone(reason):
    assert with_non_finite({"x": 1.0}, {"train_loss": reason}) == {"x": 1.0}
