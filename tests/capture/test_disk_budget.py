# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from lightning_interp.capture.disk_budget import DiskBudget
from lightning_interp.store.layout import SNAPSHOTS, committed_steps, step_file
from lightning_interp.store.retention import Retention

SIZE = 1000


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / SNAPSHOTS).mkdir()
    return tmp_path


def grow(run_dir: Path, budget: DiskBudget, steps: range) -> list[int]:
    """Write a snapshot a step where there is room; returns the steps for which there was none."""
    refused = []
    for step in steps:
        is_room, _ = budget.make_room(SIZE)
        if is_room:
            step_file(run_dir / SNAPSHOTS, step).write_bytes(b"x" * SIZE)
        else:
            refused.append(step)
    return refused


def test_a_run_stays_under_its_cap_and_reaches_its_end(run_dir):
    observed = iter(range(-1, 10**6))
    budget = DiskBudget(run_dir, retention=Retention("log"), cap=20 * SIZE, observed_until=lambda: next(observed))
    assert grow(run_dir, budget, range(200)) == []
    kept = committed_steps(run_dir / SNAPSHOTS)
    assert len(kept) <= 20
    assert {0, 199} <= set(kept)
    assert budget.removed == 200 - len(kept)


def test_what_is_not_observed_is_never_removed_and_what_has_no_room_is_refused(run_dir):
    budget = DiskBudget(run_dir, retention=Retention("log"), cap=20 * SIZE)
    assert grow(run_dir, budget, range(30)) == list(range(20, 30))
    assert committed_steps(run_dir / SNAPSHOTS) == list(range(20))


def test_all_refuses_at_the_cap(run_dir):
    budget = DiskBudget(run_dir, retention=Retention("all"), cap=5 * SIZE, observed_until=lambda: 10**6)
    assert grow(run_dir, budget, range(8)) == [5, 6, 7]


def test_last_keeps_the_latest_few_without_any_cap(run_dir):
    budget = DiskBudget(run_dir, retention=Retention("last", 3), cap=None, observed_until=lambda: 10**6)
    assert grow(run_dir, budget, range(20)) == []
    # the first, three observed ones, the latest before the last write, and the last write itself
    assert committed_steps(run_dir / SNAPSHOTS) == [0, 15, 16, 17, 18, 19]


def test_a_resumed_run_counts_what_is_there(run_dir):
    for step in range(10):
        step_file(run_dir / SNAPSHOTS, step).write_bytes(b"x" * SIZE)
    budget = DiskBudget(run_dir, retention=Retention("all"), cap=10 * SIZE)
    assert budget.make_room(SIZE) == (False, [])
