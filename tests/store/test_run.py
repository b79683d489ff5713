# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Probe, ProbeSplit, Record, Snapshot
from lightning_interp.store import append_record, open_run, write_probe, write_snapshot
from lightning_interp.store.layout import ANALYSIS, OBSERVATIONS, PHASES, step_file
from lightning_interp.store.tensor_file import write_tensors


@pytest.fixture
def recorded(run_dir):
    """Three records; the layer list is (act, w)."""
    append_record(run_dir, Record(0, 0, {"x": 1.0, "total/part": 9.0}, {"hoyer": (0.5, None), "rank": (None, 2.0)}))
    append_record(run_dir, Record(5, 0, {"x": 2.0}, {"hoyer": (0.25, None)}))
    append_record(run_dir, Record(9, 0, {}, {}, {"x": "not finite (nan)"}))
    return run_dir


def test_open_run_refuses_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        open_run(tmp_path)


def test_open_run_takes_a_path_as_text(run_dir):
    assert open_run(str(run_dir)).path == run_dir


def test_records_gives_steps_and_values_of_a_scalar(recorded):
    steps, values = open_run(recorded).records("x")
    assert (steps.tolist(), values.tolist()) == ([0, 5], [1.0, 2.0])
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)


@pytest.mark.parametrize(("name", "expected"), [("hoyer/act", [0.5, 0.25]), ("rank/w", [2.0]), ("total/part", [9.0])])
def test_records_gives_per_layer_values_and_names_with_a_slash(recorded, name, expected):
    assert open_run(recorded).records(name)[1].tolist() == expected


def test_records_names_what_is_recorded(recorded):
    with pytest.raises(
        RunError, match=r"no record named 'y'. Recorded: total/part, x; by layer, as 'name/<layer>': hoyer, rank"
    ):
        open_run(recorded).records("y")


def test_records_of_a_run_without_any_say_so(run_dir):
    with pytest.raises(RunError, match="Recorded: nothing yet"):
        open_run(run_dir).records("x")


def test_series_gives_every_scalar(recorded):
    assert open_run(recorded).series == {"x": ([0, 5], [1.0, 2.0]), "total/part": ([0], [9.0])}


def test_steps_and_snapshot_read_what_is_committed(run_dir):
    run = open_run(run_dir)
    write_snapshot(run_dir, Snapshot(4, 0, {"w": torch.ones(2)}), aliases={})
    assert run.steps == [4]
    assert run.snapshot(4).weights["w"].tolist() == [1.0, 1.0]
    assert repr(run).endswith("1 snapshots)")


def test_activations_are_snapshot_by_stimulus_by_unit(run_dir):
    for step in (0, 7):
        write_tensors(step_file(run_dir / OBSERVATIONS, step), {"act": torch.full((4, 3), float(step))}, {})
    found = open_run(run_dir).activations("act")
    assert found.shape == (2, 4, 3)
    assert found[:, 0, 0].tolist() == [0.0, 7.0]


def test_activations_names_the_layers_there_are(run_dir):
    write_tensors(step_file(run_dir / OBSERVATIONS, 0), {"act": torch.zeros(4, 3)}, {})
    with pytest.raises(RunError, match="no tensor named 'acts'; it holds act"):
        open_run(run_dir).activations("acts")


def test_activations_of_a_run_without_any_say_so(run_dir):
    with pytest.raises(RunError, match="no activations are stored yet"):
        open_run(run_dir).activations("act")


def test_probe_is_read_from_the_directory(run_dir):
    write_probe(run_dir, Probe(ProbeSplit((torch.ones(1),))))
    assert open_run(run_dir).probe.train.batches[0].item() == 1.0


def test_to_xarray_labels_scalars_and_layers(recorded):
    data = open_run(recorded).to_xarray()
    assert data["x"].dims == ("step",)
    assert data["hoyer_by_layer"].dims == ("step", "layer")
    assert data["hoyer_by_layer"].sel(step=5, layer="act").item() == 0.25
    assert math.isnan(data["x"].sel(step=9).item())


def test_json_files_that_are_missing_are_empty(run_dir):
    run = open_run(run_dir)
    assert (run.timeline, run.analysis, run.health, run.all_records) == (None, {}, [], [])


@pytest.mark.parametrize(("name", "attribute"), [(PHASES, "timeline"), (ANALYSIS, "analysis")])
def test_json_files_that_are_damaged_are_named(run_dir, name, attribute):
    (run_dir / name).write_text("{")
    with pytest.raises(RunError, match=f"{name}: cannot be read as JSON"):
        getattr(open_run(run_dir), attribute)
