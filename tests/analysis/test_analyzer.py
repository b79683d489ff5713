# SPDX-License-Identifier: Apache-2.0
import json
import math
import re
from dataclasses import replace
from typing import ClassVar

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis.device import GpuMemory
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.core.records import ProbeOutputs
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.measures import CyclicGroupTask, Label, Measure, WeightNorm
from lightning_interp.store import open_run, write_manifest
from lightning_interp.store.analysis_state import read_state
from lightning_interp.store.layout import ANALYSIS, OBSERVATIONS, PHASES, RECORDS, SNAPSHOTS, committed_steps, step_file
from lightning_interp.store.recordlog import read_records


class Fails(Measure):
    """Breaks at step 2."""

    name, names, needs = "fails", ("fails",), frozenset({"weights"})

    def __call__(self, observation):
        if observation.snapshot.step == 2:
            raise ArithmeticError("no such number")
        return {"fails": 1.0}


class CountsForwards(nn.Module):
    """Counts forwards in a list that all replicas made by its factory share."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).seen.append(len(x))
        return self.net(x)


class RunsOutOnce(nn.Module):
    """Runs out of memory in its first forward, as a GPU does that the training has filled."""

    left: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if type(self).left:
            raise torch.OutOfMemoryError(type(self).left.pop())
        return self.net(x)


class Scheduled(L.LightningModule):
    """Its validation loss depends on the step, which it reads from its trainer; the batch cannot be guessed."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, *, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(inputs)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(inputs=batch[0]), batch[1]) * 0 + self.trainer.global_step


def record_lines(path):
    return (path / RECORDS).read_text().splitlines()


def analyzed(run, **changes):
    analyzer = analyzer_for(run.path, run.order(**changes))
    analyzer.run_pending()
    analyzer.finish("finished")
    return open_run(run.path)


def test_analyzer_observes_pending_snapshots_in_order(prepare):
    run, told = prepare(), []
    assert analyzer_for(run.path, run.order()).run_pending(on_step=told.append) == 4
    assert told == [json.loads(line)["step"] for line in record_lines(run.path)] == [0, 1, 2, 5]


def test_analyzer_measures_what_the_live_module_had(prepare):
    run = prepare(steps=(0,), measures="train_loss")
    torch.manual_seed(0)
    x, y = run.probe.train.batches[0]
    fresh = type(run.module)(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    expected = F.cross_entropy(fresh(x).double(), y).item()
    # The same float32 logits; the mean of six float64 losses of order 1 rounds at 1e-16 a term.
    assert analyzed(run).records("train_loss")[1].tolist() == pytest.approx([expected], abs=1e-14)


def stored(run):
    """State, counts and reason as they are on disk."""
    timeline = Timeline.from_dict(json.loads((run.path / PHASES).read_text()))
    return timeline.state, timeline.analyzed, timeline.evidence["reason"]


def training(run):
    """The same run while its training goes on."""
    write_manifest(run.path, replace(run.manifest, status="training"))
    return run


def test_while_training_goes_on_the_verdict_on_disk_is_provisional(prepare):
    run = training(prepare())
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    state, counts, reason = stored(run)
    assert (state, counts) == ("provisional", (4, 4)) and reason.startswith("So far: ")
    analyzer.finish("finished")
    state, counts, reason = stored(run)
    assert (state, counts) == ("final", (4, 4)) and "So far" not in reason


@pytest.mark.parametrize("stage", ["finished", "stopped", "failed"])
def test_however_the_analysis_ends_snapshots_that_are_left_make_the_verdict_pending(prepare, stage):
    run = prepare()
    analyzer, done = analyzer_for(run.path, run.order()), []
    analyzer.run_pending(stop=lambda: len(done) == 3, on_step=done.append)
    analyzer.finish(stage)
    state, counts, reason = stored(run)
    assert (state, counts) == ("pending", (3, 4)) and reason.startswith("So far, 3 of 4 snapshots analyzed: ")


def test_the_analyzer_of_a_training_that_is_gone_says_so(prepare):
    run = training(prepare())
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    analyzer.finish("stopped")
    state, _, reason = stored(run)
    assert state == "final" and reason.endswith("Training was broken off after step 5.")


def test_an_analyzer_that_fails_says_nothing_of_the_training(prepare):
    run = training(prepare())
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    analyzer.finish("failed")
    assert stored(run)[0] == "provisional"


def test_a_damaged_snapshot_leaves_no_verdict_pending(prepare):
    run = prepare()
    step_file(run.path / SNAPSHOTS, 2).write_bytes(b"torn")
    assert analyzed(run).timeline.state == "final"
    assert stored(run)[:2] == ("final", (3, 3))


def test_snapshots_to_be_measured_once_more_are_pending(prepare):
    """Weights alone were measured; now there is a module, and the analysis is stopped half way."""
    run = prepare()
    analyzer_for(run.path, run.order(packed_module=None, without_replica="no module")).run_pending()
    analyzer, done = analyzer_for(run.path, run.order()), []
    analyzer.run_pending(stop=lambda: len(done) == 2, on_step=done.append)
    analyzer.finish("stopped")
    assert stored(run)[:2] == ("pending", (2, 4))


def test_analyzer_observes_what_is_committed_later(prepare):
    run = prepare(steps=(0,))
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    run.commit(9)
    assert analyzer.pending() == [9]


def test_analyzer_stops_before_a_snapshot_when_told(prepare):
    run = prepare()
    answers = iter([False, False, True])
    assert analyzer_for(run.path, run.order()).run_pending(stop=lambda: next(answers)) == 2


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3])
def test_analyzer_stopped_anywhere_goes_on_to_the_same_records(prepare, stop_after):
    whole, cut = prepare("whole"), prepare("cut")
    analyzed(whole)
    first = analyzer_for(cut.path, cut.order())
    for step in first.pending()[:stop_after]:
        first.observe(step)
    with (cut.path / RECORDS).open("a") as handle:
        handle.write('{"step":99,"att')  # it was killed while it wrote
    analyzed(cut)
    assert record_lines(cut.path) == record_lines(whole.path)
    assert (cut.path / PHASES).read_text() == (whole.path / PHASES).read_text()


def test_analyzer_stores_activations_of_both_splits(prepare):
    assert analyzed(prepare()).activations("1").shape == (4, 6 + 5, 4)


def test_analyzer_remembers_how_it_found_outputs(prepare):
    state = analyzed(prepare()).analysis
    assert (state["route"], state["n_classes"], state["stage"], state["last_step"]) == ("pair", 2, "finished", 5)


def test_a_probe_step_that_fails_on_heldout_examples_costs_their_values_only(prepare):
    def trained_only(module, batch):
        if len(batch[1]) == 5:  # the held-out batch
            raise KeyError("no such label")
        return ProbeOutputs(F.cross_entropy(module(batch[0]), batch[1], reduction="none"))

    done = analyzed(prepare(), probe_step=trained_only)
    assert done.records("train_loss")[0].tolist() == [0, 1, 2, 5]
    assert done.all_records[0].skipped["heldout_loss"] == "failed: KeyError: 'no such label'"
    assert "no outputs on the heldout examples: KeyError: 'no such label'" in done.analysis["notices"]


def damage(run, step: int) -> None:
    path = step_file(run.path / SNAPSHOTS, step)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def test_analyzer_records_a_damaged_snapshot_and_goes_on(prepare):
    run = prepare()
    damage(run, 2)
    done = analyzed(run)
    assert done.records("weight_norm")[0].tolist() == [0, 1, 5]
    assert "differ from their CRC32" in done.all_records[2].skipped["snapshot"]
    assert any(notice.startswith("step 2 is left out") for notice in done.analysis["notices"])


def test_analyzer_learns_the_classes_though_the_first_snapshot_is_damaged(prepare):
    run = prepare()
    damage(run, 0)
    assert analyzed(run).analysis["n_classes"] == 2


def test_measures_of_history_see_what_those_before_them_gave_whatever_they_cost(prepare):
    class Doubled(Fails):
        """Twice what `first` gave for the same snapshot."""

        name, names, needs, cost = "doubled", ("doubled",), frozenset({"history"}), "free"

        def __call__(self, observation):
            return {"doubled": 2 * observation.current_values["first"]}

    class First(Doubled):
        """The step, at a high price."""

        name, names, cost = "first", ("first",), "heavy"

        def __call__(self, observation):
            return {"first": float(observation.snapshot.step)}

    run = prepare()
    analyzer_for(run.path, run.order(measures=(First(), Doubled()))).run_pending()
    records = read_records(run.path, run.manifest)
    assert [record.values for record in records] == [{"first": float(k), "doubled": 2.0 * k} for k in (0, 1, 2, 5)]


def test_labels_of_the_users_own_measures_are_kept_for_whoever_reads_the_run(prepare):
    class Labelled(Fails):
        names: ClassVar = {"fails": Label("share of failures", "share", section="weights")}

    built_in, own = prepare("built-in"), prepare("own")
    for run, measures in ((built_in, (WeightNorm(),)), (own, (WeightNorm(), Labelled()))):
        analyzer_for(run.path, run.order(measures=measures)).run_pending()
    assert "labels" not in json.loads((built_in.path / ANALYSIS).read_text())
    assert view_run(own.path).labels == Labelled.names


def test_a_failing_measure_costs_its_own_values_at_its_step(prepare):
    done = analyzed(prepare(), measures=(Fails(), WeightNorm()))
    assert done.records("fails")[0].tolist() == [0, 1, 5]
    assert done.records("weight_norm")[0].tolist() == [0, 1, 2, 5]
    assert done.all_records[2].skipped == {"fails": "failed: ArithmeticError: no such number"}
    assert "measure fails failed" in " ".join(done.analysis["notices"])


def test_strict_lets_a_failing_measure_end_the_analysis(prepare):
    run = prepare()
    with pytest.raises(ArithmeticError):
        analyzed(run, measures=(Fails(),), strict=True)
    assert len(record_lines(run.path)) == 2


def test_a_loss_that_is_not_finite_is_skipped_and_reaches_the_detector(prepare):
    run = prepare(steps=tuple(range(12)), measures=["train_loss", "heldout_loss"])
    with torch.no_grad():
        run.module[0].weight.fill_(math.nan)
    run.commit(12)
    done = analyzed(run)
    assert "not finite" in done.all_records[-1].skipped["train_loss"]
    assert done.timeline.verdict == "diverged"


def test_a_resumed_analyzer_remembers_that_the_loss_was_not_finite(prepare):
    run = prepare(steps=tuple(range(12)), measures=["train_loss", "heldout_loss"])
    with torch.no_grad():
        run.module[0].weight.fill_(math.nan)
    run.commit(12)
    analyzed(run)
    (run.path / PHASES).unlink()
    run.commit(13)
    assert analyzed(run).timeline.verdict == "diverged"


def test_analyzer_measures_weights_without_a_module(prepare):
    done = analyzed(prepare(), packed_module=None, without_replica="only weights are measured: no module")
    assert done.records("weight_norm")[0].tolist() == [0, 1, 2, 5]
    assert "weights only" in done.all_records[0].skipped["train_loss"]
    assert "only weights are measured: no module" in done.analysis["notices"]


def test_analyzer_measures_weights_where_no_loss_is_found(prepare):
    run = prepare(module=nn.Linear(3, 1), steps=())
    for step in (0, 1, 2, 5):
        run.commit(step)
    done = analyzed(run)
    assert done.records("weight_norm")[0].tolist() == [0, 1, 2, 5]
    assert "no loss can be found" in done.analysis["notices"][0]


def test_weights_alone_run_no_forward(prepare):
    run = prepare(module=CountsForwards())
    analyzer = analyzer_for(run.path, run.order(packed_module=None, measures=(WeightNorm(),)))
    CountsForwards.seen.clear()
    analyzer.run_pending()
    assert CountsForwards.seen == []


def test_the_first_snapshot_costs_few_forwards_and_the_others_one_a_split(prepare):
    run = prepare(module=CountsForwards(), measures=["train_loss", "heldout_loss", "train_accuracy"])
    analyzer = analyzer_for(run.path, run.order(packed_module=None, module=CountsForwards))
    analyzer.observe(0)
    CountsForwards.seen.clear()
    analyzer.observe(1)
    assert sorted(CountsForwards.seen) == [5, 6]


def test_memory_running_out_moves_the_analysis_to_the_cpu(prepare):
    run = prepare(module=RunsOutOnce(), measures=["train_loss"])
    RunsOutOnce.left.append("no memory left")
    done = analyzed(run, packed_module=None, module=RunsOutOnce)
    assert done.records("train_loss")[0].tolist() == [0, 1, 2, 5]
    assert any("out of memory on cpu at step 0; the analysis moved to the CPU" in n for n in done.analysis["notices"])


def test_memory_that_ran_out_is_given_back_before_the_cpu_goes_on(prepare, monkeypatch):
    """On a shared GPU, what the analyzer leaves in torch's cache would be missing to the training until the end."""
    run = prepare(steps=(0,), module=RunsOutOnce(), measures=["train_loss"])
    released = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append(True))
    RunsOutOnce.left.append("no memory left")
    analyzed(run, packed_module=None, module=RunsOutOnce)
    assert released == [True]


def test_memory_that_runs_out_for_activations_alone_moves_the_analysis_too(prepare):
    run = prepare(module=RunsOutOnce(), measures=["weight_norm"])
    analyzer = analyzer_for(run.path, run.order(packed_module=None, module=RunsOutOnce))
    analyzer.observe(0)
    RunsOutOnce.left.append("no memory left")  # no measure asks for outputs: the activations to keep do
    analyzer.observe(1)
    assert any("out of memory on cpu at step 1; the analysis moved to the CPU" in n for n in analyzer.state.notices)
    assert 1 in committed_steps(run.path / OBSERVATIONS)


def test_a_validation_step_reads_the_step_of_each_snapshot(prepare):
    run = prepare(module=nn.Linear(3, 2), steps=(), measures=["train_loss"])
    run = replace(run, module=Scheduled())
    for step in (3, 8):
        run.commit(step)
    assert analyzed(run).records("train_loss")[1].tolist() == [3.0, 8.0]


def test_analyzer_waits_for_a_probe_that_is_being_collected(prepare):
    run = prepare(stored_probe=False)
    write_manifest(run.path, replace(run.manifest, probe={"status": "pending"}))
    analyzer = analyzer_for(run.path, run.order())
    assert analyzer.probe_missing
    assert analyzer.run_pending() == 0
    analyzer.give_probe(run.probe)
    assert analyzer.run_pending() == 4


def test_analyzer_goes_on_without_a_probe_that_will_not_come(prepare):
    run = prepare(stored_probe=False)
    analyzer = analyzer_for(run.path, run.order())
    analyzer.without_probe()
    analyzer.run_pending()
    assert open_run(run.path).records("weight_norm")[0].tolist() == [0, 1, 2, 5]


def test_a_slow_probe_is_cut_before_the_first_record(prepare, monkeypatch):
    from lightning_interp.analysis import probe_budget

    monkeypatch.setattr(probe_budget, "PROBE_SECONDS", 1e-9)
    done = analyzed(prepare())
    assert done.analysis["probe_cut"] == {"train": 1, "heldout": 1}
    assert done.activations("1").shape == (4, 2, 4)
    assert any("it is cut to 1 train, 1 heldout examples" in notice for notice in done.analysis["notices"])


def test_a_probe_that_must_stay_whole_is_not_cut(prepare, monkeypatch):
    from lightning_interp.analysis import probe_budget

    monkeypatch.setattr(probe_budget, "PROBE_SECONDS", 1e-9)
    assert analyzed(prepare(), task=CyclicGroupTask(7, "add")).analysis["probe_cut"] == {}


def test_a_resumed_analyzer_cuts_the_probe_as_before(prepare, monkeypatch):
    from lightning_interp.analysis import probe_budget

    run = prepare()
    monkeypatch.setattr(probe_budget, "PROBE_SECONDS", 1e-9)
    analyzer_for(run.path, run.order()).observe(0)
    monkeypatch.undo()
    assert analyzed(run).activations("1").shape == (4, 2, 4)


def start_again(run, step):
    """What a training does that resumes from a step."""
    write_manifest(run.path, run.manifest.resumed(step))


def test_an_analyzer_stops_once_the_training_started_again(prepare):
    run = prepare()
    analyzer = analyzer_for(run.path, run.order())
    analyzer.observe(0)
    start_again(run, 1)
    assert analyzer.run_pending() == 0
    analyzer.finish("finished")
    assert analyzer.pending() == []
    assert (read_state(run.path).stage, "superseded by a later start" in read_state(run.path).notices) == ("stopped", True)


def test_an_analyzer_commits_nothing_when_the_training_starts_again_during_an_observation(prepare):
    class StartsAgain(WeightNorm):
        def __call__(self, observation):
            start_again(run, 1)
            return super().__call__(observation)

    run = prepare()
    analyzer = analyzer_for(run.path, run.order(measures=(StartsAgain(),)))
    assert analyzer.observe(0) is None
    assert not (run.path / RECORDS).exists()
    assert not list((run.path / "observations").iterdir())


def test_records_carry_the_attempt_the_analyzer_started_with(prepare):
    run = prepare()
    start_again(run, 1)
    assert {record.attempt for record in analyzed(run).all_records} == {1}


def test_the_pace_is_told_once(prepare):
    run = prepare()
    notices = [analyzed(run, measures=(WeightNorm(), *more)).analysis["notices"] for more in ((), (Fails(),))][-1]
    assert len([notice for notice in notices if re.fullmatch(r"analysis takes \S+ s per snapshot on cpu", notice)]) == 1


def test_state_counts_what_is_pending(prepare):
    run = prepare()
    analyzer_for(run.path, run.order()).observe(0)
    assert read_state(run.path).pending == 3
    assert analyzed(run).analysis["pending"] == 0


def test_a_new_measure_is_computed_for_all_steps(prepare):
    run = prepare()
    analyzed(run, measures=(WeightNorm(),))
    assert analyzed(run, measures=(WeightNorm(), Fails())).records("fails")[0].tolist() == [0, 1, 5]
    assert analyzer_for(run.path, run.order(measures=(WeightNorm(), Fails()))).pending() == []


def test_a_step_observed_again_sees_no_later_step(prepare):
    seen = []

    class Looks(WeightNorm):
        name, names, needs = "looks", ("looks",), frozenset({"history"})

        def __call__(self, observation):
            seen.append(observation.history.get("weight_norm", ([], []))[0][:])
            return {"looks": 1.0}

    run = prepare()
    analyzed(run, measures=(WeightNorm(),))
    analyzed(run, measures=(WeightNorm(), Looks()))
    assert seen == [[], [0], [0, 1], [0, 1, 2]]


def test_weights_alone_say_why_other_values_are_missing_also_without_a_probe(prepare):
    run = prepare(stored_probe=False)
    analyzer = analyzer_for(run.path, run.order())
    analyzer.without_probe()
    assert analyzer.observe(0).skipped["train_loss"].startswith("needs a replica of the module")


def test_a_shared_gpu_that_fills_up_is_left_to_the_training(prepare, monkeypatch):
    from lightning_interp.analysis import analyzer as under_test

    run = prepare(steps=(0,))
    analyzer = analyzer_for(run.path, run.order())
    analyzer._plan, analyzer.observer.device = replace(analyzer._plan, shares_gpu=True), torch.device("cuda:0")
    monkeypatch.setattr(under_test, "memory_of", lambda device: GpuMemory(0, 5, 100))
    analyzer.observe(0)
    assert "cuda:0 is nearly full, and the training uses it; the analysis moved to the CPU" in analyzer.state.notices
    assert open_run(run.path).records("train_loss")[0].tolist() == [0]
