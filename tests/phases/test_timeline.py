# SPDX-License-Identifier: Apache-2.0
"""The timeline and its JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp import phases as package
from lightning_interp.core.errors import MetricsError
from lightning_interp.core.timeline import ALARM_NAMES, PHASE_NAMES, STAGE_NAMES, VERDICTS, Timeline
from lightning_interp.phases import because_text, detect_phases
from lightning_interp.phases.verdict_state import in_state

CLAUSE_KEYS = ("rule", "of", "value", "relation", "limit", "holds", "step", "examples", "interval", "says", "limit_is")
steps = st.integers(0, 10**9)
shares = st.floats(0, 1)
intervals = st.lists(steps, min_size=2, max_size=2)
clauses = st.lists(
    st.fixed_dictionaries({"rule": st.text(), "of": st.text(), "value": shares, "relation": st.just("<="), "limit": shares})
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(CLAUSE_KEYS), inner, max_size=9),
)
written = st.fixed_dictionaries(
    {
        "schema": st.just(2),
        "verdict": st.sampled_from(VERDICTS),
        "state": st.sampled_from(["provisional", "pending", "final"]),
        "analyzed": st.none() | intervals,
        "phases": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(PHASE_NAMES),
                    "start": steps,
                    "end": steps | st.none(),
                    "confidence": shares,
                    "start_interval": intervals,
                    "end_interval": intervals | st.none(),
                    "because": clauses,
                }
            ),
            max_size=4,
        ),
        "alarms": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(ALARM_NAMES), "step": steps, "because": clauses}), max_size=3
        ),
        "intensities": st.dictionaries(
            st.sampled_from(["memorization", "cleanup"]), st.lists(st.tuples(steps, shares).map(list), max_size=5)
        ),
        "evidence": st.dictionaries(st.text(), st.none() | st.integers() | st.text()),
        "stages": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(STAGE_NAMES), "start": steps, "end": st.none() | steps, "slope": shares}
            )
        ),
    }
)


@given(written)
def test_timeline_survives_the_json_round_trip(data):
    assert json.loads(json.dumps(Timeline.from_dict(data).to_dict())) == data


@given(anything)
def test_whatever_a_file_gives_as_reasons_can_be_told(because):
    alarm = {"name": "collapse", "step": 5, "because": because}
    plain = {"schema": 2, "verdict": "unknown", "phases": [], "alarms": [alarm], "intensities": {}, "evidence": {}}
    assert isinstance(because_text(Timeline.from_dict(plain).alarms[0].because), str)


def test_to_dict_has_exactly_the_documented_keys(histories):
    data = detect_phases(histories.reference()).to_dict()
    keys = ["schema", "verdict", "state", "analyzed", "phases", "alarms", "intensities", "evidence", "stages"]
    assert list(data) == keys


def test_to_dict_of_a_real_run_is_plain_json(histories):
    data = detect_phases(histories.reference()).to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_from_dict_reads_schema_1():
    phase = {"name": "fitting", "start": 3, "end": None, "confidence": 0.8, "start_interval": [2, 4], "end_interval": None}
    alarms, empty = [{"name": "phase_began", "step": 5}], {"intensities": {}, "evidence": {}, "stages": []}
    found = Timeline.from_dict({"schema": 1, "verdict": "grokking", "phases": [phase], "alarms": alarms} | empty)
    assert (found.verdict, found.current, found.state, found.analyzed) == ("grokking", "fitting", "final", None)
    assert found.alarms[0].step == 5
    assert found.to_dict()["schema"] == 2


def test_from_dict_refuses_another_schema():
    with pytest.raises(MetricsError, match="expected schema 1 or 2, got 3"):
        Timeline.from_dict({"schema": 3})


def test_from_dict_refuses_missing_keys():
    with pytest.raises(MetricsError, match=r"not a phases\.json"):
        Timeline.from_dict({"schema": 1, "verdict": "unknown"})


def test_current_is_none_without_phases():
    assert Timeline("unknown").current is None


@pytest.mark.parametrize("name", package.__all__)
def test_every_public_name_imports(name):
    assert getattr(package, name) is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("verdict", 5),
        ("state", "x"),
        ("analyzed", ["a", "b"]),
        ("analyzed", [1]),
        ("phases", [{"name": "fitting"}]),
        ("phases", [{"name": "fitting", "start": "x", "end": None, "confidence": 1, "start_interval": [0, 1]}]),
        ("alarms", [{"name": 3, "step": 1}]),
        ("alarms", [{"name": "collapse", "step": "1"}]),
    ],
)
def test_from_dict_refuses_values_of_another_type(key, value):
    plain = {"schema": 2, "verdict": "unknown", "phases": [], "alarms": [], "intensities": {}, "evidence": {}, key: value}
    with pytest.raises(MetricsError, match=r"not a phases\.json"):
        Timeline.from_dict(plain)


@pytest.mark.parametrize("because", [None, 3, [3], [{"of": 3}]])
def test_reasons_of_a_verdict_that_are_none_are_left_out(because):
    plain = {"schema": 2, "verdict": "not_fitted", "phases": [], "alarms": [], "intensities": {}}
    found = Timeline.from_dict(plain | {"evidence": {"because": because, "reason": "The training set is not fitted: x."}})
    assert in_state(found, "provisional", (3, 3)).evidence["because"] == []
