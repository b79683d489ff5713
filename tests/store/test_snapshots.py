# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import CorruptSnapshotError, RunError
from lightning_interp.core.records import Snapshot
from lightning_interp.store import read_snapshot, snapshot_steps, write_snapshot
from lightning_interp.store.layout import SNAPSHOTS


def commit(run_dir, step, weights, *, scalars=None, aliases=None, frozen=()):
    snapshot = Snapshot(step, 2, weights, scalars or {})
    return write_snapshot(run_dir, snapshot, aliases=aliases or {}, frozen=frozen)


def frozen_files(run_dir):
    return sorted(path.name for path in (run_dir / SNAPSHOTS).glob("frozen_*"))


def test_write_snapshot_round_trips(run_dir):
    weights = {"z": torch.ones(2), "a": torch.arange(3), "m": torch.ones(1, dtype=torch.bfloat16)}
    commit(run_dir, 5, weights, scalars={"loss": 0.5})
    back = read_snapshot(run_dir, 5)
    assert (back.step, back.epoch, back.scalars) == (5, 2, {"loss": 0.5})
    assert list(back.weights) == ["z", "a", "m"]
    assert all(torch.equal(back.weights[name], weights[name]) for name in weights)


def test_read_snapshot_gives_tied_names_the_same_tensor(run_dir):
    commit(run_dir, 1, {"embed": torch.ones(2)}, aliases={"head": "embed"})
    weights = read_snapshot(run_dir, 1).weights
    assert weights["head"] is weights["embed"]


def test_write_snapshot_keeps_scalars_that_are_not_finite(run_dir):
    commit(run_dir, 1, {"w": torch.ones(1)}, scalars={"loss": math.nan, "up": math.inf, "down": -math.inf})
    scalars = read_snapshot(run_dir, 1).scalars
    assert math.isnan(scalars["loss"])
    assert (scalars["up"], scalars["down"]) == (math.inf, -math.inf)


def test_write_snapshot_stores_frozen_tensors_once(run_dir):
    still, first = (
        {"still": torch.ones(1000)},
        commit(run_dir, 1, {"w": torch.zeros(1), "still": torch.ones(1000)}, frozen=["still"]),
    )
    second = commit(run_dir, 2, {"w": torch.ones(1), **still}, frozen=["still"])
    assert len(frozen_files(run_dir)) == 1
    assert second < first
    assert torch.equal(read_snapshot(run_dir, 2).weights["still"], still["still"])


def test_write_snapshot_follows_a_frozen_tensor_moved_by_hand(run_dir):
    teacher = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    for step in (1, 2):
        commit(run_dir, step, {"teacher": teacher.detach().clone()}, frozen=["teacher"])
        teacher.data.mul_(0.5)  # an averaged teacher moves without a gradient
    assert [read_snapshot(run_dir, step).weights["teacher"][0].item() for step in (1, 2)] == [1.0, 0.5]


def test_write_snapshot_uses_an_older_frozen_file_again(run_dir):
    for step, value in ((1, 0.0), (2, 1.0), (3, 0.0)):
        commit(run_dir, step, {"t": torch.full((2,), value)}, frozen=["t"])
    assert len(frozen_files(run_dir)) == 2


def test_read_snapshot_says_when_the_frozen_file_is_gone(run_dir):
    commit(run_dir, 1, {"t": torch.ones(2)}, frozen=["t"])
    (run_dir / SNAPSHOTS / frozen_files(run_dir)[0]).unlink()
    with pytest.raises(CorruptSnapshotError, match="frozen_"):
        read_snapshot(run_dir, 1)


def test_read_snapshot_names_the_nearest_step(run_dir):
    commit(run_dir, 10, {"w": torch.ones(1)})
    commit(run_dir, 90, {"w": torch.ones(1)})
    with pytest.raises(RunError, match="no snapshot at step 70; the nearest is 90 of 2"):
        read_snapshot(run_dir, 70)


def test_snapshot_steps_counts_committed_files_only(run_dir):
    commit(run_dir, 1_000_000_000, {"w": torch.ones(1)})
    commit(run_dir, 5, {"w": torch.ones(1)}, frozen=["w"])
    (run_dir / SNAPSHOTS / ".step_000000009.safetensors.1.tmp").write_bytes(b"")
    assert snapshot_steps(run_dir) == [5, 1_000_000_000]


def test_snapshot_steps_of_a_missing_folder_are_none(tmp_path):
    assert snapshot_steps(tmp_path) == []
