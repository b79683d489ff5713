# SPDX-License-Identifier: Apache-2.0
"""One short run of every kind of task, recorded through the product."""

import math
from dataclasses import replace

import pytest
from ordinary.families import all_ordinary
from ordinary.recording import record_ordinary
from pool_file import is_ordinary, read_ordinary
from scoring.judged import JudgedRun

from lightning_interp.store.jsonl import append_line

SPECS = {spec.name: spec for spec in all_ordinary()}
KINDS = {
    "classification": "wine_small-mlp-s0",
    "regression": "friedman_units-shifted-s0",
    "multilabel": "multilabel_rules-few-s0",
    "dense": "dense_shapes-clear-s0",
    "autoencoder": "autoencoder_digits-k8-s0",
}


@pytest.fixture
def recorded(tmp_path):
    """Records a run of twenty steps; returns its line in the index and its metrics."""

    def recorded(name, **changes):
        line = record_ordinary(replace(SPECS[name], steps=20, **changes), tmp_path)
        append_line(tmp_path / "index.jsonl", line)
        return next(entry for entry in read_ordinary(tmp_path) if entry.facts["name"] == line["name"])

    return recorded


@pytest.mark.parametrize("kind", KINDS)
def test_the_monitor_measures_every_kind_and_finds_the_null_itself(recorded, kind):
    entry = recorded(KINDS[kind])
    assert entry.facts["kind"] == kind
    assert math.isfinite(entry.metrics["heldout_loss"][-1]) and entry.metrics["step"][-1] == 20
    # the monitor takes the constant from the training side where targets are numbers: a bound a little over the exact one
    assert entry.facts["monitor"]["null_loss"] == pytest.approx(entry.facts["null_loss"], rel=0.03)


def test_a_task_that_is_switched_leaves_the_probe_as_it_was(recorded):
    plain = recorded("relabelled_digits-adamw-s0", switch="")
    switched = recorded("relabelled_digits-adamw-s0", seed=1)
    assert switched.metrics["train_loss"][-1] > plain.metrics["train_loss"][-1]
    assert (switched.facts["switched"], plain.facts["switched"]) == (True, False)


def test_a_recorded_run_can_be_judged(recorded, tmp_path):
    run = JudgedRun.ordinary(recorded("wine_small-mlp-s0"))
    assert is_ordinary(tmp_path) and run.configuration == "wine_small-mlp"
    assert run.timeline(None, "null").verdict in ("not_fitted", "unknown", "early_generalization")
