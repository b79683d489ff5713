# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from prepared_run import PreparedRun, prepare_run
from torch import nn

from lightning_interp.analysis.followed_layer import FollowedLayer
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.core.records import Snapshot
from lightning_interp.core.tca_settings import TCA
from lightning_interp.posthoc.unfinished_run import analyze_run
from lightning_interp.store import open_run, resume_run, write_manifest, write_snapshot
from lightning_interp.store.layout import COMPONENTS, OBSERVATIONS, PHASES, RECORDS, components_file, step_file
from lightning_interp.store.tensor_file import write_tensors
from lightning_interp.tca import OnlineTCA

pytestmark = pytest.mark.usefixtures("unchecked_fits")

STEPS = tuple(range(0, 24, 2))
EVERY = 4
SETTINGS = TCA(layers=("1",), ranks=(1, 2), every=EVERY, restarts=2, history=8)
SAME = 1e-4
"""A least-squares loading in float32 against one in float64, for fits whose components are not collinear."""


def rectified() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def rectified_run(folder: Path, name: str = "run", **changes) -> PreparedRun:
    """A run of twelve snapshots whose layer "1" has no negative activations."""
    torch.manual_seed(0)
    return prepare_run(folder, name, **{"module": rectified(), "steps": STEPS, **changes})


@pytest.fixture
def prepared(tmp_path):
    return partial(rectified_run, tmp_path)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, unchecked_fits) -> PreparedRun:
    """A run analyzed to its end with `SETTINGS`, to be read only."""
    run = rectified_run(tmp_path_factory.mktemp("whole"))
    analyzed(run)
    return run


@pytest.fixture
def whole(whole_run):
    return open_run(whole_run.path)


@pytest.fixture
def done_before(whole_run, tmp_path) -> PreparedRun:
    """A copy of the whole run that a test may change."""
    return replace(whole_run, path=Path(shutil.copytree(whole_run.path, tmp_path / "done_before")))


def analyzed(run, settings: TCA = SETTINGS, **changes):
    analyzer = analyzer_for(run.path, run.order(tca=settings, **changes))
    analyzer.run_pending()
    analyzer.finish("finished")
    return open_run(run.path)


def loadings(run, component: int = 0) -> dict[int, float]:
    """Recorded loadings of one component by step."""
    name = f"component/1/{component}"
    return {record.step: record.values[name] for record in run.all_records if name in record.values}


def assert_same_components(one, other) -> None:
    first, second = one.components("1"), other.components("1")
    assert (first.steps, first.component_ids, first.changes) == (second.steps, second.component_ids, second.changes)
    for a, b in zip(first.factors, second.factors, strict=True):
        torch.testing.assert_close(a, b, atol=SAME, rtol=SAME)


def test_a_finished_analysis_leaves_components_of_all_snapshots(whole):
    found = whole.components("1")
    assert found.folded_steps == STEPS
    assert set(found.steps) <= set(STEPS) and len(found.steps) <= SETTINGS.history
    when, stimuli, units = found.factors
    rank = len(found.component_ids)
    assert (when.shape, stimuli.shape, units.shape) == ((len(found.steps), rank), (6 + 5, rank), (8, rank))
    assert [row["rank"] for row in found.table] == [1, 2]
    assert found.recommended in (1, 2) and found.reasons
    assert found.preprocessing["scale"] == "rms" and len(found.preprocessing["scales"]) == len(found.steps)


def test_loadings_are_recorded_from_the_first_fit_on(whole):
    assert list(loadings(whole)) == list(STEPS[EVERY:])
    assert not any(name.startswith("component/") for record in whole.all_records for name in record.skipped)


def test_the_loading_of_a_snapshot_is_its_least_squares_fit_to_components_that_have_not_seen_it(prepared):
    run = prepared()
    analyzer = analyzer_for(run.path, run.order(tca=replace(SETTINGS, nonnegative=False)))
    for step in STEPS[:EVERY]:
        analyzer.observe(step)
    before = open_run(run.path).components("1")
    assert before.folded_steps == STEPS[:EVERY]
    record = analyzer.observe(STEPS[EVERY])
    seen = open_run(run.path).activations("1")[-1].double()
    _, stimuli, units = (factor.double() for factor in before.factors)
    design = torch.einsum("sr,ur->sur", stimuli, units).flatten(0, 1)
    expected = torch.linalg.lstsq(design, (seen / seen.square().mean().sqrt()).flatten()[:, None]).solution[:, 0]
    values = [record.values[f"component/1/{k}"] for k in before.component_ids]
    assert values == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)


@pytest.mark.usefixtures("checked_types")
def test_record_and_timeline_are_committed_before_the_fit(prepared, monkeypatch):
    run, seen, refit = prepared(), [], OnlineTCA.refit

    def watched(self):
        lines = (run.path / RECORDS).read_text().splitlines()
        points = json.loads((run.path / PHASES).read_text())["intensities"]["memorization"]
        seen.append((self.steps[-1], json.loads(lines[-1])["step"], points[-1][0]))
        return refit(self)

    monkeypatch.setattr(OnlineTCA, "refit", watched)
    analyzed(run)
    assert [step for step, *_ in seen] == [6, 14, 22]
    assert all(step == recorded == covered for step, recorded, covered in seen)


@pytest.mark.parametrize("stop_after", [1, 4, 6, 12])
def test_an_analyzer_stopped_anywhere_goes_on_to_the_same_components(prepared, whole, stop_after):
    cut = prepared()
    first = analyzer_for(cut.path, cut.order(tca=SETTINGS))
    for step in first.pending()[:stop_after]:
        first.observe(step)
    done = analyzed(cut)
    assert_same_components(done, whole)
    assert loadings(done) == pytest.approx(loadings(whole), rel=SAME)


def test_an_analyzer_killed_before_a_fit_makes_it(prepared, whole, monkeypatch):
    cut = prepared()
    monkeypatch.setattr(FollowedLayer, "fit", lambda self: None)
    first = analyzer_for(cut.path, cut.order(tca=SETTINGS))
    for step in STEPS[:EVERY]:
        first.observe(step)
    monkeypatch.undo()
    assert not components_file(cut.path, "1").exists()
    done = analyzed(cut)
    assert loadings(done) == pytest.approx(loadings(whole), rel=SAME)


def test_auto_decides_by_the_first_activations(whole, prepare):
    assert whole.components("1").nonnegative
    assert not analyzed(prepare("tanh", steps=STEPS)).components("1").nonnegative


@pytest.mark.usefixtures("checked_types")
def test_auto_gives_up_when_a_later_snapshot_is_negative(prepared):
    run = prepared(module=nn.Sequential(nn.Linear(3, 8), nn.PReLU(init=0.0), nn.Linear(8, 2)), steps=())
    for step in STEPS:
        if step == STEPS[6]:
            nn.init.constant_(run.module[1].weight, 0.5)
        run.commit(step)
    done = analyzed(run)
    found = done.components("1")
    assert not found.nonnegative and found.folded_steps == STEPS
    assert any("turn negative at step 12" in notice for notice in done.analysis["notices"])


def test_components_that_cannot_be_nonnegative_cost_a_notice_only(prepare):
    done = analyzed(prepare(steps=STEPS), replace(SETTINGS, nonnegative=True))
    assert done.component_layers == ()
    assert len(done.all_records) == len(STEPS)
    notices = [n for n in done.analysis["notices"] if n.startswith("components of 1 failed, the analysis goes on without")]
    assert len(notices) == 1


def test_strict_lets_failing_components_end_the_analysis(prepare):
    with pytest.raises(ConfigError):
        analyzed(prepare(steps=STEPS), replace(SETTINGS, nonnegative=True), strict=True)


def test_steps_that_are_not_finite_are_left_out(prepared):
    run = prepared()
    weights = {name: tensor.clone() for name, tensor in run.module.state_dict().items()}
    weights["0.weight"][0, 0] = float("nan")
    write_snapshot(run.path, Snapshot(30, 0, weights), aliases={})
    done = analyzed(run)
    assert done.components("1").folded_steps == STEPS
    assert any("leave out steps at which its activations are not finite" in n for n in done.analysis["notices"])
    assert 30 not in loadings(done)


def test_memory_running_out_moves_the_components_to_the_cpu(prepared, whole, monkeypatch):
    left, refit = ["no memory left"], OnlineTCA.refit

    def refit_once_out_of_memory(self):
        if left:
            raise torch.OutOfMemoryError(left.pop())
        return refit(self)

    monkeypatch.setattr(OnlineTCA, "refit", refit_once_out_of_memory)
    done = analyzed(prepared())
    assert_same_components(done, whole)
    assert any("out of memory on cpu for components of 1" in notice for notice in done.analysis["notices"])


def test_a_resume_makes_the_components_again_from_what_stays(prepared, done_before):
    run = done_before
    resume_run(run.path, STEPS[7])
    assert open_run(run.path).component_layers == ()
    short = analyzed(prepared("short", steps=STEPS[:8]))
    assert_same_components(analyzed(run), short)


def test_components_of_steps_a_resume_took_back_are_not_gone_on_from(done_before):
    run = done_before
    kept = components_file(run.path, "1").read_bytes()
    resume_run(run.path, STEPS[7])
    components_file(run.path, "1").write_bytes(kept)  # an analyzer of the earlier start was late
    assert analyzed(run).components("1").folded_steps == STEPS[:8]


def test_an_older_run_directory_gets_its_components(prepared, whole):
    run = prepared()
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    analyzer.finish("finished")
    assert not (run.path / COMPONENTS).exists()
    assert_same_components(analyzed(run), whole)


def test_damaged_components_are_made_again(done_before):
    path = components_file(done_before.path, "1")
    path.write_bytes(path.read_bytes()[:100])
    done = analyzed(done_before)
    assert done.components("1").folded_steps == STEPS
    assert any("components of 1 are made again" in notice for notice in done.analysis["notices"])


def test_other_settings_make_other_components(done_before):
    assert [row["rank"] for row in analyzed(done_before, replace(SETTINGS, ranks=(1, 2, 3))).components("1").table] == [
        1,
        2,
        3,
    ]


def test_finished_components_are_not_fitted_again(done_before, whole, monkeypatch):
    monkeypatch.setattr(OnlineTCA, "refit", None)
    assert_same_components(analyzed(done_before, strict=True), whole)


def test_a_damaged_observation_is_left_out(prepared):
    run = prepared()
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    path = step_file(run.path / OBSERVATIONS, 4)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    done = analyzed(run)
    assert done.components("1").folded_steps == tuple(step for step in STEPS if step != 4)
    assert any("components leave out step 4" in notice for notice in done.analysis["notices"])


def test_a_snapshot_observed_late_takes_its_place(prepared):
    run = prepared(steps=())
    (run.path / OBSERVATIONS).mkdir()
    generator = torch.Generator().manual_seed(0)
    for step in (0, 1, 2, 3):
        write_tensors(step_file(run.path / OBSERVATIONS, step), {"1": torch.rand(5, 4, generator=generator)}, {})
    layer = FollowedLayer(run.path, "1", replace(SETTINGS, every=100), device="cpu", notice=print, may_write=lambda: True)
    for step in (0, 1, 3, 2):
        layer.follow(step)
    layer.fit()
    assert open_run(run.path).components("1").folded_steps == (0, 1, 2, 3)


def test_too_few_snapshots_have_no_components(prepared):
    done = analyzed(prepared(steps=(0, 1)), replace(SETTINGS, every=1))
    assert done.component_layers == ()
    assert done.analysis["stage"] == "finished"


def test_ranks_that_a_narrow_layer_cannot_carry_are_left_out(prepared):
    narrow = nn.Sequential(nn.Linear(3, 1), nn.Softplus(), nn.Linear(1, 2))
    done = analyzed(prepared(module=narrow), replace(SETTINGS, ranks=(1, 2, 50), every=1))
    assert [row["rank"] for row in done.components("1").table] == [1, 2]
    assert "components of 1: 11 stimuli x 1 units carry at most 8 of them" in done.analysis["notices"]


def test_ranks_that_no_snapshots_can_carry_cost_a_notice_only(prepared):
    narrow = nn.Sequential(nn.Linear(3, 1), nn.Softplus(), nn.Linear(1, 2))
    done = analyzed(prepared(module=narrow), replace(SETTINGS, ranks=(50,)))
    assert any("carry at most 8 components" in notice for notice in done.analysis["notices"])


def test_a_fit_waits_for_as_many_snapshots_as_its_ranks_need(prepared):
    narrow = nn.Sequential(nn.Linear(3, 1), nn.Softplus(), nn.Linear(1, 2))
    done = analyzed(prepared(module=narrow), replace(SETTINGS, ranks=(6,), every=2))
    assert next(iter(loadings(done))) == STEPS[6]


def test_a_layer_with_a_slash_in_its_name_is_followed(prepared):
    module = nn.Sequential()
    for name, child in (("in", nn.Linear(3, 8)), ("a/b", nn.ReLU()), ("out", nn.Linear(8, 2))):
        module.add_module(name, child)
    done = analyzed(prepared(module=module), replace(SETTINGS, layers=("a/b",)))
    assert done.component_layers == ("a/b",)
    assert done.records("component/a/b/0")[0].tolist() == list(STEPS[EVERY:])


def test_components_move_no_random_stream(prepared):
    run = prepared()
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    layer = FollowedLayer(run.path, "1", SETTINGS, device="cpu", notice=print, may_write=lambda: True)
    before = torch.get_rng_state()
    layer.restore(STEPS)
    layer.fit()
    assert torch.equal(torch.get_rng_state(), before)


def configured(run, **changes):
    write_manifest(run.path, replace(run.manifest, configuration={**run.manifest.configuration, **changes}))
    return run


def test_analyze_run_finishes_components_to_the_live_ones(prepared, whole):
    cut = configured(prepared("cut"), tca=replace(SETTINGS, layers=None).plain())
    analyzer_for(cut.path, cut.order(tca=SETTINGS)).observe(0)
    done = analyze_run(cut.path, module=rectified, device="cpu").run
    assert_same_components(done, whole)
    assert loadings(done) == pytest.approx(loadings(whole), rel=SAME)


def test_analyze_run_needs_no_module_for_components_of_stored_activations(prepared):
    run = configured(prepared(), tca=SETTINGS.plain())
    analyzer_for(run.path, run.order()).run_pending()
    assert analyze_run(run.path, device="cpu").run.components("1").folded_steps == STEPS


def test_analyze_run_does_without_components_where_the_run_asked_for_none(prepared):
    assert analyze_run(prepared().path, module=rectified, device="cpu").run.component_layers == ()


def test_analyze_run_names_settings_it_does_not_understand(prepared):
    with pytest.raises(RunError, match=r"run.json: the settings .* of tca are not understood"):
        analyze_run(configured(prepared(), tca={"ranks": "many"}).path, device="cpu")


def test_a_superseded_analyzer_writes_no_components(prepared):
    run = prepared()
    analyzer = analyzer_for(run.path, run.order(tca=SETTINGS))
    for step in STEPS[: EVERY - 1]:
        analyzer.observe(step)
    write_manifest(run.path, run.manifest.resumed(0))
    analyzer.run_pending()
    analyzer.finish("finished")
    assert not components_file(run.path, "1").exists()


@pytest.mark.usefixtures("checked_types")
def test_a_layer_that_wakes_up_late_is_followed_from_then_on(prepared):
    run = prepared(steps=())
    (run.path / OBSERVATIONS).mkdir()
    generator = torch.Generator().manual_seed(0)
    notices: list[str] = []
    layer = FollowedLayer(run.path, "1", SETTINGS, device="cpu", notice=notices.append, may_write=lambda: True)
    for step in range(12):
        alive = torch.rand(5, 4, generator=generator) if step >= 6 else torch.zeros(5, 4)
        write_tensors(step_file(run.path / OBSERVATIONS, step), {"1": alive}, {})
        layer.follow(step)
        assert (run.path / COMPONENTS).exists() == (step >= 6)  # due since the fourth snapshot, made at the first to speak
    assert open_run(run.path).components("1").folded_steps[:7] == (0, 1, 2, 3, 4, 5, 6)
    assert not notices
