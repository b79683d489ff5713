# SPDX-License-Identifier: Apache-2.0
"""A run directory as figures see it: complete, and the same however it was read."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from reference_run import append_snapshot, make_reference_run, manifest, rows

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Record
from lightning_interp.dashboards.layer_grid import GrowingGrid
from lightning_interp.dashboards.run_view import RunFollower, training_series, view_run
from lightning_interp.store import Attempt, append_record, open_run, write_manifest
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, RECORDS

LAYERS = ("act", "weight.a", "weight.b")


@pytest.fixture
def layered(tmp_path):
    """Five records with per-layer rows, one of them with a gap, and a vector."""
    path = tmp_path / "run"
    path.mkdir()
    write_manifest(path, manifest("training", layers=LAYERS))
    for step in range(5):
        append_layered(path, step)
    return path


def append_layered(path, step, attempt=0, scale=1.0):
    rows = {"hoyer": (0.1 * step * scale, None, None), "weight_norm": (None, step * scale, 2.0 * step)}
    vectors = {"weight_sketch": (float(step), -1.0)}
    append_record(path, Record(step, attempt, {"train_loss": scale / (1 + step)}, rows, {}, vectors))


def same(first, second):
    assert first.series == second.series
    assert first.by_layer.keys() == second.by_layer.keys()
    for name, grid in first.by_layer.items():
        other = second.by_layer[name]
        assert grid.layers == other.layers
        np.testing.assert_array_equal(grid.steps, other.steps)
        np.testing.assert_array_equal(grid.values, other.values)
    for name, (steps, values) in first.vectors.items():
        np.testing.assert_array_equal(steps, second.vectors[name][0])
        np.testing.assert_array_equal(values, second.vectors[name][1])
    assert first.training == second.training


def test_view_run_has_every_record(tmp_path):
    view = view_run(make_reference_run(tmp_path))
    steps, losses = view.series["heldout_loss"]
    assert dict(zip(steps, losses, strict=True)) == {step: row["heldout_loss"] for step, row in rows().items()}
    assert view.timeline.verdict == "grokking" and view.last_step == 16_000 and view.name == "reference"


def test_view_run_has_per_layer_values_as_the_run_gives_them(layered):
    view, run = view_run(layered), open_run(layered)
    grid = view.by_layer["weight_norm"]
    assert grid.layers == ("weight.a", "weight.b")
    for column, layer in enumerate(grid.layers):
        steps, values = run.records(f"weight_norm/{layer}")
        np.testing.assert_array_equal(grid.steps, steps)
        np.testing.assert_array_equal(grid.values[:, column], values)


def test_follower_sees_new_records_as_a_fresh_view_does(layered):
    follower = RunFollower(layered)
    follower.look()
    for step in range(5, 200):  # past the room a grid begins with
        append_layered(layered, step)
        follower.look()
    same(follower.look(), view_run(layered))


def test_follower_gives_the_same_object_where_nothing_changed(layered):
    follower = RunFollower(layered)
    assert follower.look() is follower.look()


def test_follower_reads_only_what_is_new(layered, monkeypatch):
    from lightning_interp.dashboards import run_view

    follower = RunFollower(layered)
    follower.look()
    size, asked = (layered / RECORDS).stat().st_size, []
    read = run_view.read_rows

    def note(path, offset=0, **most):
        asked.append(offset)
        return read(path, offset, **most)

    monkeypatch.setattr(run_view, "read_rows", note)
    append_layered(layered, 5)
    follower.look()
    assert asked == [size, (layered / RECORDS).stat().st_size]


@pytest.mark.parametrize("part", [1, 100, 1000])
def test_follower_reads_a_long_file_in_parts(layered, monkeypatch, part):
    from lightning_interp.dashboards import run_view

    whole = view_run(layered)
    monkeypatch.setattr(run_view, "PART_BYTES", part)
    same(view_run(layered), whole)


def test_follower_takes_a_better_row_of_an_earlier_step(layered):
    follower = RunFollower(layered)
    follower.look()
    append_layered(layered, 2, scale=3.0)
    same(follower.look(), view_run(layered))
    assert follower.look().series["train_loss"][1][2] == 1.0


def test_follower_forgets_what_a_resume_took_back(layered):
    follower = RunFollower(layered)
    follower.look()
    write_manifest(layered, manifest("training", layers=LAYERS, attempts=(Attempt(0), Attempt(1, 2))))
    append_layered(layered, 3, attempt=1, scale=7.0)
    same(follower.look(), view_run(layered))
    assert follower.look().series["train_loss"][0] == [0, 1, 2, 3]


def test_follower_leaves_a_torn_line_for_later(layered):
    follower = RunFollower(layered)
    before = follower.look()
    text = (layered / RECORDS).read_text()
    (layered / RECORDS).write_text(text + '{"step": 5, "att')
    assert follower.look().series == before.series
    (layered / RECORDS).write_text(text)
    append_layered(layered, 5)
    assert follower.look().series["train_loss"][0][-1] == 5


def test_follower_of_nothing_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        RunFollower(tmp_path).look()


def test_follower_notices_a_directory_that_vanished(tmp_path):
    follower = RunFollower(make_reference_run(tmp_path, last_step=1000))
    follower.look()
    shutil.rmtree(tmp_path / "reference")
    with pytest.raises(RunError, match="not a run directory"):
        follower.look()


def test_follower_recovers_from_a_file_that_could_not_be_read(tmp_path):
    path = make_reference_run(tmp_path, last_step=1000)
    follower = RunFollower(path)
    follower.look()
    whole = (path / "phases.json").read_text()
    (path / "phases.json").write_text("{")
    append_snapshot(path, 1100)
    (path / "phases.json").write_text("{")
    with pytest.raises(RunError, match=r"phases\.json: cannot be read as JSON"):
        follower.look()
    (path / "phases.json").write_text(whole)
    same(follower.look(), view_run(path))
    assert follower.look().health == view_run(path).health and follower.look().timeline.phases


def test_follower_that_began_with_an_error_sees_everything_later(tmp_path):
    path = make_reference_run(tmp_path, last_step=1000)
    whole = (path / "phases.json").read_text()
    (path / "phases.json").write_text("{")
    follower = RunFollower(path)
    with pytest.raises(RunError):
        follower.look()
    (path / "phases.json").write_text(whole)
    same(follower.look(), view_run(path))
    assert follower.look().series and follower.look().health


def test_follower_sees_phases_change(tmp_path):
    path = make_reference_run(tmp_path, last_step=5000)
    follower = RunFollower(path)
    assert follower.look().timeline.verdict != "grokking"
    for step in (step for step in rows() if step > 5000):
        append_snapshot(path, step)
    assert follower.look().timeline.verdict == "grokking"


def test_settings_and_what_was_logged_are_told_apart(layered):
    scalars = {"interp/lr": 0.1, "val_loss": 2.0, "lr": 0.2}
    append_line(layered / HEALTH, {"event": "snapshot", "attempt": 0, "step": 0, "scalars": scalars})
    assert view_run(layered).training == {"lr": ([0], [0.1]), "logged/val_loss": ([0], [2.0]), "logged/lr": ([0], [0.2])}


def test_settings_of_a_loop_of_ones_own_have_plain_names():
    rows = [{"event": "snapshot", "step": 3, "attempt": 0, "scalars": {"lr": 0.5, "loss": 1.0}}]
    assert training_series(rows, {}) == {"lr": ([3], [0.5]), "logged/loss": ([3], [1.0])}


def test_settings_that_a_resume_took_back_are_left_out():
    rows = [{"event": "snapshot", "step": s, "attempt": 0, "scalars": {"interp/lr": 1.0}} for s in (0, 10, 20)]
    rows += [{"event": "snapshot", "step": 15, "attempt": 1, "scalars": {"interp/lr": 2.0}}]
    assert training_series(rows, {1: 10}) == {"lr": ([0, 10, 15], [1.0, 1.0, 2.0])}


def test_scalars_that_are_no_numbers_are_left_out():
    row = {"event": "snapshot", "step": 9, "attempt": 0, "scalars": {"loss": "<b>", "flag": True, "x": 1.5}}
    assert training_series([row], {}) == {"logged/x": ([9], [1.5])}


def test_follower_sees_settings_as_a_fresh_view_does(tmp_path):
    path = make_reference_run(tmp_path, last_step=3000)
    follower = RunFollower(path)
    follower.look()
    for step in (step for step in rows() if 3000 < step <= 6000):
        append_snapshot(path, step)
        follower.look()
    assert follower.look().training == view_run(path).training != {}


def test_vectors_of_another_length_are_left_out(layered):
    append_record(layered, Record(9, 0, {"train_loss": 1.0}, {}, {}, {"weight_sketch": (1.0, 2.0, 3.0)}))
    assert view_run(layered).vectors["weight_sketch"][0].tolist() == [0, 1, 2, 3, 4]


def test_growing_grid_holds_what_was_put_in():
    random = np.random.default_rng(0)
    expected = random.normal(size=(300, 4))
    expected[random.random(expected.shape) < 0.2] = np.nan
    grid = GrowingGrid(4)
    for step, row in enumerate(expected):
        grid.append(step, [None if np.isnan(value) else value for value in row])
    found = grid.view(("a", "b", "c", "d"))
    np.testing.assert_array_equal(found.values, expected)
    assert found.steps.tolist() == list(range(300))


def test_components_are_read_in_the_order_of_layers(tmp_path):
    from reference_run import make_hostile_run

    view = view_run(make_hostile_run(tmp_path))
    assert len(view.components) == 1 and replace(view, components=()).components == ()
