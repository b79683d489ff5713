# SPDX-License-Identifier: Apache-2.0
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.records import ProbeOutputs
from lightning_interp.measures import Measure
from lightning_interp.posthoc.unfinished_run import analyze_run
from lightning_interp.store import open_run, write_manifest
from lightning_interp.store.layout import PHASES, RECORDS

MEASURES = ["train_loss", "heldout_loss", "weight_norm", "weight_norm_slope", "loss_gap"]


class Own(Measure):
    """A measure of the user's own."""

    name, names, needs = "own", ("own",), frozenset({"weights"})

    def __call__(self, observation):
        return {"own": 1.0}


def own_step(module, batch):
    """The user's way to outputs; twice the loss, so that a guess would be noticed."""
    return ProbeOutputs(2 * F.cross_entropy(module(batch[0]), batch[1], reduction="none"))


def record_lines(path):
    return (path / RECORDS).read_text().splitlines()


def contents(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def analyzed(run, **changes):
    analyzer = analyzer_for(run.path, run.order(**changes))
    analyzer.run_pending()
    analyzer.finish("finished")
    return open_run(run.path)


def configured(run, **changes):
    write_manifest(run.path, replace(run.manifest, configuration={**run.manifest.configuration, **changes}))
    return run


def build() -> nn.Module:
    """The factory a user passes as ``module=``."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_analyze_run_finishes_an_interrupted_run_to_the_live_records(prepare):
    live, cut = prepare("live"), prepare("cut")
    analyzed(live)
    analyzer_for(cut.path, cut.order()).observe(0)
    finished = analyze_run(cut.path, module=build, device="cpu")
    assert finished.observed == (1, 2, 5)
    assert finished.pending == ()
    assert record_lines(cut.path) == record_lines(live.path)


def test_analyze_run_from_the_start_equals_the_live_records(prepare):
    live, late = prepare("live"), prepare("late")
    analyzed(live)
    analyze_run(late.path, module=build, device="cpu")
    assert record_lines(late.path) == record_lines(live.path)
    assert torch.equal(open_run(late.path).activations("1"), open_run(live.path).activations("1"))


def test_analyze_run_without_a_module_lists_what_is_pending(prepare):
    finished = analyze_run(prepare().path, device="cpu")
    assert finished.observed == (0, 1, 2, 5)
    assert {"train_loss", "heldout_loss"} <= set(finished.pending)
    assert "weight_norm" not in finished.pending


def test_analyze_run_tells_what_it_will_do(prepare):
    told = []
    analyze_run(prepare().path, module=build, device="cpu", on_progress=lambda *counts: told.append(counts))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_analyze_run_takes_the_probe_a_run_kept_out_of_its_directory(prepare):
    live, late = prepare("live"), prepare("late", stored_probe=False)
    write_manifest(late.path, replace(late.manifest, probe={"status": "memory"}))
    analyzed(live)
    analyze_run(late.path, module=build, device="cpu", probe=late.probe)
    assert record_lines(late.path) == record_lines(live.path)


def test_analyze_run_with_a_module_finishes_what_weights_alone_left_open(prepare):
    live, late = prepare("live", measures=MEASURES), prepare("late", measures=MEASURES)
    analyzed(live)
    analyze_run(late.path, device="cpu")
    finished = analyze_run(late.path, module=build, device="cpu")
    assert finished.observed == (0, 1, 2, 5)
    assert open_run(late.path).all_records == open_run(live.path).all_records
    assert (late.path / PHASES).read_text() == (live.path / PHASES).read_text()
    assert not any("only weights are measured" in notice for notice in finished.notices)
    assert analyze_run(late.path, module=build, device="cpu").observed == ()


def test_an_analysis_of_weights_alone_is_not_repeated(prepare):
    run = prepare()
    analyze_run(run.path, device="cpu")
    assert analyze_run(run.path, device="cpu").observed == ()


def test_a_better_row_stopped_anywhere_goes_on_to_the_same_records(prepare):
    live, cut = prepare("live", measures=MEASURES), prepare("cut", measures=MEASURES)
    analyzed(live)
    analyze_run(cut.path, device="cpu")
    analyzer_for(cut.path, cut.order()).observe(0)
    assert analyze_run(cut.path, module=build, device="cpu").observed == (1, 2, 5)
    assert open_run(cut.path).all_records == open_run(live.path).all_records
    assert (cut.path / PHASES).read_text() == (live.path / PHASES).read_text()


def wrong() -> nn.Module:
    """A module of another shape."""
    return nn.Linear(7, 2)


@pytest.mark.parametrize("module", [wrong, "no_such_package:build", "math:no_such_name", "no path"])
def test_a_module_that_does_not_fit_changes_nothing(prepare, module):
    run = prepare()
    before = contents(run.path)
    with pytest.raises(ConfigError, match="module"):
        analyze_run(run.path, module=module, device="cpu")
    assert contents(run.path) == before


def test_a_module_file_that_breaks_while_it_is_imported_is_a_bad_argument(prepare, tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        analyze_run(prepare().path, module="breaks_on_import:build", device="cpu")


def test_nothing_the_run_names_is_imported(prepare, tmp_path, monkeypatch):
    (tmp_path / "named_by_a_run.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    run = configured(prepare(), measures=["weight_norm", "named_by_a_run:Own"], probe_step="named_by_a_run:step")
    finished = analyze_run(run.path, device="cpu")
    assert "named_by_a_run" not in sys.modules
    assert finished.to_pass == ("--measures named_by_a_run:Own", "--probe-step named_by_a_run:step")
    assert open_run(run.path).records("weight_norm")[0].tolist() == [0, 1, 2, 5]


def test_a_measure_of_the_users_own_is_added_when_it_is_given(prepare):
    run = configured(prepare(), measures=["weight_norm", f"{__name__}:Own"])
    analyze_run(run.path, device="cpu")
    finished = analyze_run(run.path, device="cpu", measures=[Own])
    assert finished.to_pass == ()
    assert finished.run.records("own")[0].tolist() == finished.run.records("weight_norm")[0].tolist() == [0, 1, 2, 5]


def test_no_loss_is_guessed_for_a_run_with_a_probe_step(prepare):
    run = configured(prepare(), probe_step="somewhere:own_step")
    finished = analyze_run(run.path, module=build, device="cpu")
    assert "train_loss" in finished.pending
    live = analyzed(prepare("live"), probe_step=own_step)
    analyze_run(run.path, module=build, device="cpu", probe_step=own_step)
    assert open_run(run.path).all_records == live.all_records


def test_analyze_run_gives_the_live_vectors_which_no_history_has(prepare):
    measures = ["train_loss", "weight_norm", "weight_sketch"]
    live, late = prepare("live", measures=measures), prepare("late", measures=measures)
    records = analyzed(live).all_records
    analyze_run(late.path, module=build, device="cpu")
    assert record_lines(late.path) == record_lines(live.path)
    assert [len(record.vectors["weight_sketch"]) for record in records] == [128] * 4
    assert set(open_run(live.path).series) == {"train_loss", "weight_norm"}
