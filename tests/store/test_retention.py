# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.core.errors import ConfigError
from lightning_interp.store.layout import OBSERVATIONS, SNAPSHOTS, step_file
from lightning_interp.store.retention import (
    Retention,
    parse_retention,
    parse_size,
    remove_step,
    sizes_on_disk,
)

STEPS = range(0, 101, 10)


def gives_up(kind: str, *, excess: int = 0, observed: int = 100, count: int = 0) -> list[int]:
    sizes = dict.fromkeys(STEPS, 10)
    return Retention(kind, count).gives_up(sizes, [step for step in STEPS if step <= observed], excess=excess)  # type: ignore[arg-type]


def test_all_gives_nothing_up():
    assert gives_up("all", excess=1000) == []


def test_log_gives_nothing_up_under_the_cap():
    assert gives_up("log", excess=0) == []


def test_log_gives_up_where_steps_are_densest_in_log_step():
    assert gives_up("log", excess=30) == [50, 70, 90]
    assert gives_up("log", excess=25) == [50, 70, 90]  # two are too few


def test_log_leaves_steps_about_evenly_spaced_in_log_step():
    gone = gives_up("log", excess=60)
    assert [step for step in STEPS if step not in gone] == [0, 10, 20, 40, 100]


def test_nothing_unobserved_is_given_up():
    assert max(gives_up("log", excess=1000, observed=50)) == 50
    assert gives_up("last", count=1, observed=50) == [10, 20, 30, 40]


def test_last_keeps_so_many_beside_the_first_and_the_latest():
    assert gives_up("last", count=3) == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("300 MB", 3 * 10**8), ("1.5k", 1500), (77, 77), (None, None)]
)
def test_parse_size_reads_what_people_write(text, size):
    assert parse_size(text, argument="max_disk") == size


@pytest.mark.parametrize("text", ["lots", "", "-1GB", "5PB", 0, True, 2.5])
def test_parse_size_refuses_what_is_no_size(text):
    with pytest.raises(ConfigError, match=r"max_disk: expected a size such as '5GB'"):
        parse_size(text, argument="max_disk")


def test_parse_retention_reads_the_three_kinds():
    assert [parse_retention(text) for text in ("all", "log", "last:7")] == [
        Retention("all"),
        Retention("log"),
        Retention("last", 7),
    ]


@pytest.mark.parametrize("text", ["some", "last", "last:0", "last:-2", 7, None])
def test_parse_retention_refuses_others(text):
    with pytest.raises(ConfigError, match="retention: expected 'all', 'log' or 'last:20'"):
        parse_retention(text)


def test_remove_step_takes_snapshot_and_activations(tmp_path):
    for folder in (SNAPSHOTS, OBSERVATIONS):
        (tmp_path / folder).mkdir()
        for step in (1, 2):
            step_file(tmp_path / folder, step).write_bytes(b"x" * 5)
    assert sizes_on_disk(tmp_path) == {1: 10, 2: 10}
    remove_step(tmp_path, 1)
    remove_step(tmp_path, 1)  # gone already
    assert sizes_on_disk(tmp_path) == {2: 10}
