# SPDX-License-Identifier: Apache-2.0
import pytest
from scoring.configurations import configuration_of, counted

SEEDS = [("a", True), ("a", False), ("b", True), ("b", True)]


def test_a_configuration_is_right_only_if_all_its_seeds_are():
    found = counted(SEEDS, every=True)
    assert (found.runs.counted, found.configurations.counted) == ("3 of 4", "1 of 2")


def test_a_configuration_raises_a_false_alarm_if_one_of_its_seeds_does():
    assert counted([("a", True), ("a", False), ("b", False)], every=False).configurations.counted == "1 of 2"


def test_no_false_alarm_in_fifty_configurations_leaves_seven_percent():
    # Clopper and Pearson 1934: 1 - .025 ** (1 / 50)
    found = counted([(str(i), False) for i in range(50) for _ in range(4)], every=False)
    assert found.configurations.high == pytest.approx(1 - 0.025 ** (1 / 50))


def test_runs_that_differ_in_their_seed_alone_share_a_configuration():
    one, other = ({"name": str(seed), "spec": {"task": "add", "size": 43, "seed": seed}} for seed in (0, 1))
    assert configuration_of(one) == configuration_of(other)
    assert configuration_of(one) != configuration_of({"name": "x", "spec": {"task": "add", "size": 31}})


def test_an_ordinary_configuration_is_named_by_its_family():
    assert configuration_of({"family": "digits", "config": "w32", "spec": {"seed": 1}}) == "digits-w32"
