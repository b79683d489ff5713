# SPDX-License-Identifier: Apache-2.0
"""Comparing runs: boundaries, phase time, statistics over seeds, representations, and a reason for what is missing."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from compared_runs import STARTS, STEPS, STIMULI, activations, phases, timeline, write_run
from small_training import Classifier, fit

from lightning_interp import InterpMonitor
from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.measures.similarity import linear_cka, procrustes_distance
from lightning_interp.phases.alignment import align
from lightning_interp.posthoc.comparison import boundary_table, compare_runs, summarize, unique_names
from lightning_interp.store.layout import ANALYSIS, OBSERVATIONS, PHASES, step_file


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "a", found=timeline())


def later(factor):
    return {name: round(factor * start) for name, start in STARTS.items()}


def at(comparison, phase):
    return next(found for found in comparison.similarity if found.phase == phase)


def test_a_run_compared_with_itself_is_the_same(run):
    found = compare_runs([run, run])
    assert [each.name for each in found.runs] == ["a", "a (2)"]
    assert all(set(row.starts.values()) == {row.summary.lowest} for row in found.boundaries)
    assert {row.summary.spread_decades for row in found.boundaries} == {0.0}
    assert [phase.phase for phase in found.similarity] == list(STARTS)
    for phase in found.similarity:
        (layer,) = phase.layers
        # Both are exact up to the rounding of sums of numbers of order 1.
        assert layer.cka[0][1] == pytest.approx(1, abs=1e-12)
        assert layer.procrustes[0][1] == pytest.approx(0, abs=1e-12)
    assert found.reasons == {} and [dict(each.reasons) for each in found.runs] == [{}, {}]


def test_a_run_with_doubled_steps_is_the_same_in_phase_time(run, tmp_path):
    doubled = write_run(tmp_path / "b", scale=2, found=timeline(later(2), grokking_step=8000))
    found = compare_runs([run, doubled])
    first, second = (each.trajectories["heldout_loss"] for each in found.runs)
    assert second.steps == tuple(2 * step for step in first.steps)
    # A logarithm and an exponential of order 10: relative error of some 1e-15.
    assert first.phase_time == pytest.approx(STEPS, rel=1e-13)
    assert second.phase_time == pytest.approx(STEPS, rel=1e-13)
    spreads = {row.name: row.summary.spread_decades for row in found.boundaries}
    assert spreads == {"warm_up": 0.0} | {name: pytest.approx(math.log10(2)) for name in spreads if name != "warm_up"}
    assert [layer.cka[0][1] for phase in found.similarity for layer in phase.layers] == pytest.approx([1] * 6, abs=1e-12)


def test_phase_time_meets_every_shared_boundary_and_increases():
    ours, theirs = phases(), phases({"warm_up": 0, "fitting": 40, "memorization": 90, "cleanup": 7000, "converged": 7100})
    alignment = align(ours, theirs)
    mapped = [alignment.phase_time(knot.step) for knot in alignment.knots]
    assert mapped == pytest.approx([10, 100, 3000, 5000], rel=1e-13)
    times = [alignment.phase_time(step) for step in range(0, 20_000, 7)]
    assert times[0] == 0 and all(low < high for low, high in pairwise(times))


def test_phase_time_between_boundaries_is_linear_in_logarithms():
    alignment = align(phases({"fitting": 10, "memorization": 1000}), phases({"fitting": 20, "memorization": 200}))
    assert alignment.phase_time(round(math.sqrt(20 * 200))) == pytest.approx(100, rel=0.01)  # 63.2 as a whole step
    assert (alignment.phase_time(10), alignment.phase_time(400)) == (pytest.approx(5), pytest.approx(2000))


def test_align_keeps_the_longest_chain_with_one_order():
    starts = {"warm_up": 0, "cleanup": 5, "fitting": 20, "memorization": 30, "circuit_formation": 40}
    alignment = align(phases(), phases(starts))
    assert [knot.name for knot in alignment.knots] == ["fitting", "memorization", "circuit_formation"]
    assert alignment.left_out == {"cleanup": "comes in another order"}


def test_align_leaves_out_a_boundary_at_step_0():
    alignment = align(phases(), phases({"fitting": 0, "memorization": 50}))
    assert [knot.name for knot in alignment.knots] == ["memorization"]
    assert alignment.left_out == {"fitting": "begins at step 0 in one of the two"}


def test_align_without_a_shared_boundary_says_so():
    alignment = align(phases(), phases({"warm_up": 0}))
    assert alignment.phase_time(5) is None
    assert alignment.reason == "no boundary after step 0 is shared with the first run"


def test_a_phase_that_comes_back_counts_where_it_came_first():
    again = (*phases({"fitting": 1, "memorization": 10, "circuit_formation": 20}), *phases({"memorization": 30}))
    (row,) = [row for row in boundary_table({"a": again}, {"a": None}) if row.name == "memorization"]
    assert (dict(row.starts), row.repeated) == ({"a": 10}, ("a",))


def test_boundary_table_has_intervals_those_missing_and_generalization():
    table = {
        row.name: row
        for row in boundary_table(
            {"a": phases(), "b": phases(later(1.1)), "c": phases({"warm_up": 0, "fitting": 30})}, {"a": 9, "b": None, "c": 3}
        )
    }
    assert list(table) == [*STARTS, "grokking_step"]
    assert (dict(table["cleanup"].starts), table["cleanup"].missing) == ({"a": 3000, "b": 3300}, ("c",))
    assert dict(table["cleanup"].intervals) == {"a": (2700, 3300), "b": (2970, 3630)}
    assert table["cleanup"].intervals_meet is True and table["fitting"].intervals_meet is False
    assert (dict(table["grokking_step"].starts), table["grokking_step"].missing) == ({"a": 9, "c": 3}, ("b",))
    assert table["grokking_step"].intervals_meet is None


def test_summarize_agrees_with_numpy_and_scipy():
    from scipy.stats import bootstrap

    steps = [100, 300, 200, 900, 500, 700, 650]
    found = summarize(steps)
    assert (found.n, found.median, found.lowest, found.highest) == (7, 500, 100, 900)
    assert found.quartiles == tuple(np.percentile(steps, (25, 75)))
    assert found.spread_decades == pytest.approx(math.log10(9))
    slow = bootstrap((steps,), np.median, method="percentile", rng=1, n_resamples=9999).confidence_interval
    assert found.median_interval == (slow.low, slow.high)  # both ends are among seven values, far from a tie
    assert found.notes == ()


def test_summarize_is_the_same_every_time():
    assert summarize([1, 5, 9, 70]) == summarize([1, 5, 9, 70])


@pytest.mark.parametrize(
    ("steps", "of", "note"),
    [
        ([5], 1, "one run: no interval of the median"),
        ([5, 9, 10], 3, "3 runs: even their whole range covers the median of all seeds with 75% only"),
        ([5, 6, 7, 8, 9, 10], 8, "2 of 8 runs do not have it (yet), so the others are the early ones"),
        ([0, 6, 7, 8, 9, 10], 6, "no spread in decades: one run has it at step 0"),
    ],
)
def test_summarize_says_what_limits_it(steps, of, note):
    assert summarize(steps, of=of).notes == (note,)


def test_similarity_is_that_of_the_last_observation_in_each_phase(run, tmp_path):
    others = activations(STEPS, seed=1, units=7)
    starts = {"warm_up": 0, "fitting": 9, "memorization": 450}
    found = compare_runs([run, write_run(tmp_path / "b", found=timeline(starts), layers={"act": others})])
    assert [phase.phase for phase in found.similarity] == list(starts)
    fitting = at(found, "fitting")
    assert (dict(fitting.ends), dict(fitting.steps)) == ({"a": 100, "b": 450}, {"a": 100, "b": 100})
    x, y = activations(STEPS)[5], others[5]
    assert fitting.layers[0].cka[0][1] == fitting.layers[0].cka[1][0] == linear_cka(x, y).item()
    assert fitting.layers[0].procrustes[1][0] == procrustes_distance(x, y).item()
    assert (fitting.layers[0].stimuli, fitting.layers[0].cka[0][0], fitting.layers[0].procrustes[1][1]) == (STIMULI, 1, 0)
    memorization = at(found, "memorization")
    assert (dict(memorization.steps), memorization.still_open) == ({"a": 1000, "b": 8000}, ("b",))


def test_shuffled_stimuli_of_the_same_activations_are_unlike(run):
    (layer,) = at(compare_runs([run, run]), "cleanup").layers
    # Ten shuffles of 12 stimuli: a mean CKA of 0 with a deviation of some .25 each.
    assert abs(layer.shuffled_cka) < 0.3
    assert layer.shuffled_procrustes > 0.3


def test_a_layer_missing_in_one_run_is_left_out_with_a_reason(run, tmp_path):
    layers = {"act": activations(STEPS), "late": activations(STEPS)}
    found = compare_runs([run, write_run(tmp_path / "b", found=timeline(), layers=layers)])
    known, missing = at(found, "fitting").layers
    assert (known.layer, known.reason, missing.layer, missing.reason) == ("act", None, "late", "not stored in a")
    assert missing.cka is None and missing.procrustes is None


def test_other_numbers_of_stimuli_are_no_matrix(run, tmp_path):
    few = [matrix[:9] for matrix in activations(STEPS)]
    found = compare_runs([run, write_run(tmp_path / "b", found=timeline(), layers={"act": few})])
    assert at(found, "fitting").layers[0].reason == "the numbers of stimuli differ (a: 12, b: 9)"


def test_constant_activations_are_no_matrix(run, tmp_path):
    dead = [torch.zeros_like(matrix) for matrix in activations(STEPS)]
    found = compare_runs([run, write_run(tmp_path / "b", found=timeline(), layers={"act": dead})])
    assert at(found, "fitting").layers[0].reason == "all stimuli give the same activations in b"


def test_a_damaged_observation_costs_its_phase_only(run, tmp_path):
    other = write_run(tmp_path / "b", found=timeline())
    step_file(other / OBSERVATIONS, 3000).write_bytes(b"nothing")
    found = compare_runs([run, other])
    assert "damaged" in at(found, "circuit_formation").reason
    assert at(found, "cleanup").reason is None


def test_a_phase_without_observations_is_left_out_with_a_reason(run, tmp_path):
    starts = STARTS | {"fitting": 2, "memorization": 4}
    found = compare_runs([run, write_run(tmp_path / "b", found=timeline(starts))])
    assert at(found, "fitting").reason == "no activations were stored during it in b"


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ({"status": "ready", "hash": "bbbb"}, r"the probes differ \(a: aaaa, b: bbbb\): train on the same split"),
        ({"status": "none"}, "run.json of b has no hash of its probe"),
    ],
)
def test_probes_that_differ_leave_no_similarity(run, tmp_path, probe, reason):
    found = compare_runs([run, write_run(tmp_path / "b", found=timeline(), probe=probe)])
    assert found.similarity == () and re.search(reason, found.reasons["similarity"])
    assert found.boundaries and found.runs[1].trajectories["train_loss"].phase_time is not None


def test_other_parts_of_the_same_probe_leave_no_similarity(run, tmp_path):
    other = write_run(tmp_path / "b", found=timeline())
    (other / ANALYSIS).write_text(json.dumps({"probe_cut": {"train": 6}}))
    reason = compare_runs([run, other]).reasons["similarity"]
    assert reason == "different parts of the probe were observed (a: whole, b: {'train': 6})"


def test_no_activations_and_no_shared_phase_are_reasons(run, tmp_path):
    bare = write_run(tmp_path / "bare", found=timeline(), layers={})
    other = write_run(tmp_path / "other", found=timeline({"collapse": 3}))
    assert compare_runs([run, bare]).reasons["similarity"] == "no activations are stored of bare"
    assert compare_runs([run, other]).reasons["similarity"] == "no phase is in all runs"


@pytest.mark.parametrize("first", [True, False])
def test_a_run_without_a_timeline_keeps_what_needs_none(run, tmp_path, first):
    bare = write_run(tmp_path / "bare")
    found = compare_runs([bare, run] if first else [run, bare])
    without = found.runs[0 if first else 1]
    assert without.verdict is None and without.phases == ()
    assert "no timeline yet; finish the analysis" in without.reasons["phases"]
    assert without.final["weight_norm"] == 9.0
    assert found.runs[0].trajectories["train_loss"].phase_time == pytest.approx(STEPS, rel=1e-13)
    assert found.runs[1].trajectories["train_loss"].phase_time is None
    reason = "the first run has no phases" if first else "the run has no phases"
    assert found.runs[1].reasons["phase_time"] == reason
    assert found.reasons["similarity"] == "no phases are known of bare"
    assert {row.summary.n for row in found.boundaries} == {1}


def test_a_damaged_timeline_is_a_reason(run, tmp_path):
    other = write_run(tmp_path / "b", found=timeline())
    (other / PHASES).write_text("{")
    assert "cannot be read as JSON" in compare_runs([run, other]).runs[1].reasons["phases"]


def test_runs_without_anything_have_reasons(tmp_path):
    bare = [write_run(tmp_path / name, layers={}, steps=()) for name in "ab"]
    found = compare_runs(bare)
    assert found.reasons["boundaries"] == "no run has a phase"
    assert found.runs[0].last_step is None and found.runs[0].reasons["weight_norm"] == "not recorded"


def test_phases_of_another_version_are_told(run, tmp_path):
    from lightning_interp.store import read_manifest, write_manifest

    write_manifest(run, replace(read_manifest(run), status="finished"))
    # The detector does not find the phases that the test wrote.
    assert "its stored phases are not those this version finds" in compare_runs([run, run]).runs[0].reasons["stored_phases"]


def test_compare_runs_needs_two_that_are_runs(run, tmp_path):
    with pytest.raises(ConfigError, match="needs two or more run directories, got 1"):
        compare_runs([run])
    with pytest.raises(RunError, match="not a run directory"):
        compare_runs([run, tmp_path])


def test_unique_names_never_give_one_name_twice():
    assert unique_names(["/x/a", "/x/a (2)", "/x/a"]) == ["a", "a (2)", "a (3)"]
    assert unique_names(["/run", "/x/run"]) == ["/run", "x/run"]


def test_to_dict_is_json_without_nan(run, tmp_path):
    other = write_run(tmp_path / "b", found=timeline(later(1.5)), layers={"late": activations(STEPS)})
    content = compare_runs([run, other]).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False))["schema"] == 1
    assert {"reference", "runs", "boundaries", "similarity", "reasons"} < set(content)


def test_two_trained_networks_are_compared_on_their_common_probe(tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        monitor = InterpMonitor(tmp_path / f"seed_{seed}", every_n_steps=4, background="inline")
        fit(tmp_path, monitor, Classifier(lr=0.05), max_steps=120)
    found = compare_runs([tmp_path / "seed_0", tmp_path / "seed_1"])
    assert "similarity" not in found.reasons and "stored_phases" not in found.runs[0].reasons
    assert {row.name for row in found.boundaries} >= {"fitting"}
    layers = [layer for phase in found.similarity for layer in phase.layers]
    assert layers and all(-1 <= layer.cka[0][1] < 1 and 0 < layer.procrustes[0][1] <= 1 for layer in layers)
    assert found.runs[0].final["heldout_loss"] != found.runs[1].final["heldout_loss"]
