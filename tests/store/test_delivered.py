# SPDX-License-Identifier: Apache-2.0
"""delivered.json: where results went and how far."""

import json
from dataclasses import replace

import pytest

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Record
from lightning_interp.store import append_record
from lightning_interp.store.delivered import Delivered, WandbTarget, late_steps, read_delivered, write_delivered
from lightning_interp.store.layout import RECORDS

TARGET = WandbTarget("team", "grokking", "abc", name="run", mode="offline", step=20, read_bytes=100, outcome_step=10)


def test_delivered_is_read_as_it_was_written(run_dir):
    delivered = Delivered(20, ("train_loss", "hoyer"), (TARGET, replace(TARGET, run_id="other", entity=None)))
    write_delivered(run_dir, delivered)
    assert read_delivered(run_dir) == delivered


def test_a_run_without_the_file_has_delivered_nothing(run_dir):
    assert read_delivered(run_dir) is None


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 1}', '{"schema": 1, "step": "x", "names": [], "wandb": []}'])
def test_a_damaged_file_is_named(run_dir, content):
    (run_dir / "delivered.json").write_text(content)
    with pytest.raises(RunError, match=r"delivered\.json: (cannot be read|expected|no `|schema|`step` should)"):
        read_delivered(run_dir)


def test_another_schema_is_refused(run_dir):
    (run_dir / "delivered.json").write_text(json.dumps({"schema": 2}))
    with pytest.raises(RunError, match="schema 2, this version reads 1"):
        read_delivered(run_dir)


def test_with_target_replaces_the_same_run_whose_entity_was_not_known():
    before = Delivered(0, (), (replace(TARGET, entity=None), replace(TARGET, run_id="other")))
    after = before.with_target(replace(TARGET, step=30))
    assert [(each.run_id, each.entity, each.step) for each in after.wandb] == [("other", "team", 20), ("abc", "team", 30)]


def records(run_dir, steps):
    found = [Record(step, 0, {"train_loss": 1.0}) for step in steps]
    for record in found:
        append_record(run_dir, record)
    return found


def test_late_steps_are_those_after_the_latest_row(run_dir):
    found = records(run_dir, [0, 10, 20, 30, 40])
    size = (run_dir / RECORDS).stat().st_size
    assert late_steps(run_dir, replace(TARGET, read_bytes=size), found) == [30, 40]


def test_late_steps_have_those_that_were_observed_again(run_dir):
    found = records(run_dir, [0, 10, 20])
    size = (run_dir / RECORDS).stat().st_size
    records(run_dir, [10])
    assert late_steps(run_dir, replace(TARGET, read_bytes=size), found) == [10]


def test_late_steps_of_a_start_that_had_read_nothing_go_by_the_step(run_dir):
    found = records(run_dir, [0, 10, 20, 30])
    assert late_steps(run_dir, replace(TARGET, read_bytes=0), found) == [30]


def test_late_steps_leave_out_records_without_values(run_dir):
    found = [*records(run_dir, [30]), Record(40, 0, {})]
    assert late_steps(run_dir, replace(TARGET, read_bytes=0), found) == [30]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "team/grokking/abc"), ({"entity": None}, "grokking/abc"), ({"entity": None, "run_id": ""}, "grokking")],
)
def test_place_says_what_is_known(changes, expected):
    assert replace(TARGET, **changes).place == expected
