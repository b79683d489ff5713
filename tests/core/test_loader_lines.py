# SPDX-License-Identifier: Apache-2.0
"""Timelines of further validation loaders: in phases.json, and in one line each."""

import json

from lightning_interp.core.loader_lines import loader_lines
from lightning_interp.core.timeline import Phase, Timeline

NIGHT = Timeline(
    "overfitting",
    phases=(Phase("fitting", 0, 410, 0.9, (0, 1), (400, 420)), Phase("overfitting", 410, None, 0.8, (400, 420))),
    intensities={"memorization": ((0, 0.5),)},
)
DAY = Timeline("grokking", evidence={"t_gen": 2300}, state="pending", analyzed=(3, 9), loaders={"night": NIGHT})


def test_each_loader_has_a_line_with_its_step():
    assert list(loader_lines(DAY)) == ["night: overfitting since step 410"]
    assert list(loader_lines(Timeline("unknown", loaders={"day": DAY}))) == ["day: grokking, solved from step 2,300"]


def test_loaders_come_back_from_json_without_intensities():
    data = json.loads(json.dumps(DAY.to_dict()))
    found = Timeline.from_dict(data)
    assert found.loaders["night"].phases == NIGHT.phases and found.loaders["night"].intensities == {}
    assert found.to_dict() == data


def test_a_loader_has_the_state_of_its_run():
    written = DAY.to_dict()["loaders"]["night"]
    assert (written["state"], written["analyzed"]) == ("pending", [3, 9])


def test_a_timeline_of_one_loader_has_no_such_key():
    assert "loaders" not in NIGHT.to_dict()
