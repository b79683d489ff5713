# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from lightning_interp.analysis.measuring import is_incomplete, measure_all, short_decimals
from lightning_interp.analysis.observation import SnapshotObservation, Watched
from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.records import Record, Snapshot
from lightning_interp.measures import Measure
from lightning_interp.store.surviving_records import with_non_finite

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


def test_cheap_measures_come_first_and_results_keep_the_order_asked_for():
    worked: list[str] = []
    given = [measure(name, {name: 1.0, f"{name}/x": 2.0}) for name in "abcd"]
    for each, cost in zip(given, ("heavy", "forward", "unheard of", "free"), strict=True):
        type(each).cost, type(each).__call__ = cost, noted(type(each).__call__, worked, each.name)
    found = run(*given, measure("e", MeasureSkipped("no")), layers=("x",))
    assert worked == ["d", "b", "a", "c"]
    assert (list(found.values), list(found.layers), list(found.skipped)) == (["a", "b", "c", "d"],) * 2 + (["e"],)


def noted(call, worked: list[str], name: str):
    def noting(self, observation):
        worked.append(name)
        return call(self, observation)

    return noting


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


def vector_measure(result: object) -> Measure:
    given = measure("v", result)
    type(given).names, type(given).vector_names = (), ("v",)
    return given


def test_measure_all_keeps_vectors_apart_from_values():
    found = run(vector_measure({"v": torch.tensor([0.5, 0.1], dtype=torch.float64)}), measure("a", {"a": 1.0}))
    assert (found.vectors, found.values, found.skipped) == ({"v": (0.5, 0.1)}, {"a": 1.0}, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])  # the last is beyond float32
def test_measure_all_skips_a_vector_that_is_not_finite(value):
    found = run(vector_measure({"v": torch.tensor([0.5, value], dtype=torch.float64)}))
    assert (found.vectors, found.skipped) == ({}, {"v": "not finite (1 of 2 entries)"})


@pytest.mark.parametrize("result", [{"v": 1.0}, {"v": torch.ones(2, 2)}, {"v": torch.ones(2).long()}])
def test_a_vector_of_another_form_is_a_failure_of_its_measure(result):
    told = []
    found = run(vector_measure(result), measure("b", {"b": 1.0}), on_failure=lambda name, err: told.append(name))
    assert (told, found.vectors, found.values) == (["v"], {}, {"b": 1.0})
    assert "must be a floating-point tensor with one axis" in found.skipped["v"]


def test_measure_all_says_why_a_vector_is_missing():
    assert run(vector_measure(MeasureSkipped("no task")), vector_measure({})).skipped == {"v": "no task"}


def test_short_decimals_give_float32_back_and_are_short():
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31 - 1, (20_000,), generator=generator).int().view(torch.float32)
    finite = bits[bits.isfinite()]
    written = short_decimals(finite)
    assert np.array_equal(np.array(written, dtype=np.float32), finite.numpy())
    digits = [repr(value).partition("e")[0].strip("-").replace(".", "").strip("0") for value in written]
    assert max(map(len, digits)) <= 9
    assert short_decimals(torch.tensor(written, dtype=torch.float64)) == written


def test_a_record_from_before_there_were_vectors_is_complete():
    old = Record(3, 0, {"a": 1.0})
    assert not is_incomplete(old, [measure("a", {}), vector_measure({})], replica=True, probe_step=True)
