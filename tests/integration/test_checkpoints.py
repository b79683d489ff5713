# SPDX-License-Identifier: Apache-2.0
"""Checkpoints analyzed afterwards: the same as live, whichever engine; bad ones named and left out."""

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import posthoc_project as project
import pytest
import torch
from safetensors.torch import save_file

from lightning_interp import TCA, analyze_checkpoints
from lightning_interp.cli.main import main
from lightning_interp.core.errors import CheckpointError, ConfigError
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.measures import null_of_classes
from lightning_interp.store import open_run
from lightning_interp.store.layout import CHECKPOINTS, PHASES, RECORDS


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory and the checkpoints of the same training."""
    out = tmp_path_factory.mktemp("trained")
    project.train(out)
    return out


@pytest.fixture
def analyze(trained, tmp_path):
    """Analyze checkpoints as the live run was analyzed."""

    def analyze(source=None, name="out", **options):
        given = {"module": project.build, "probe": str(trained / "run"), "device": "cpu"} | options
        return analyze_checkpoints(source or trained / "checkpoints", out=tmp_path / name, **given)

    return analyze


def files(path: Path) -> tuple[str, str]:
    return (path / RECORDS).read_text(), (path / PHASES).read_text()


def measured(values):
    """Without the loadings of components, whose last fit each analysis that ends makes anew."""
    return {name: value for name, value in values.items() if not name.startswith("component/")}


def activations(path: Path) -> dict[str, torch.Tensor]:
    run = open_run(path)
    return {layer: run.activations(layer) for layer in run.manifest.activation_layers}


def some_checkpoints(trained: Path, folder: Path, *, last: int) -> Path:
    """Copies of the first checkpoints."""
    some = folder / "some"
    some.mkdir()
    for step in range(0, last + 1, project.EVERY):
        shutil.copy(trained / "checkpoints" / f"step={step}.ckpt", some)
    return some


def test_checkpoints_give_the_live_records_and_timeline_to_the_last_bit(trained, analyze):
    found = analyze()
    assert len(found.observed) == 11 and found.pending == ()
    assert files(found.run.path) == files(trained / "run")
    live = activations(trained / "run")
    assert all(torch.equal(value, live[layer]) for layer, value in activations(found.run.path).items())


def test_a_run_and_its_checkpoints_know_the_same_null(trained, analyze, tmp_path):
    analyze()
    live, found = (NullPredictor.read(open_run(path).analysis) for path in (trained / "run", tmp_path / "out"))
    targets = torch.cat([y for _, y in open_run(trained / "run").probe.heldout.batches])
    expected = null_of_classes(targets)
    assert live == found == replace(expected, n_classes=live.n_classes)
    assert live.n_classes > 1


def analyze_with_kills(trained, folder: Path, *, once=(), always=(), last=200, **options):
    """Two workers, which steps `once` and `always` kill, at the checkpoints up to step `last`; see `kills.killed`."""
    source = some_checkpoints(trained, folder, last=last)
    kills = project.Kills(str(folder / "killed"), once=once, always=always)
    given = {"module": "posthoc_project:build", "probe": str(trained / "run"), "device": "cpu", "workers": 2} | options
    return analyze_checkpoints(source, out=folder / "out", measures=kills, **given), kills


def same_as_live(trained, found) -> bool:
    """Whether each step that was observed has the values of the live run to the last bit."""
    live = {record.step: record.values for record in open_run(trained / "run").all_records}
    now = {record.step: dict(record.values) for record in found.run.all_records if record.step in found.observed}
    return all(now[step].pop("kills") == 1.0 and now[step] == live[step] for step in found.observed)


@pytest.fixture(scope="module")
def killed(trained, tmp_path_factory):
    """An analysis in which one checkpoint killed its worker once, and the last one does so always."""
    return analyze_with_kills(trained, tmp_path_factory.mktemp("killed"), once=(20,), always=(80,), last=80)


def test_workers_give_the_same_bits(trained, killed):
    assert same_as_live(trained, killed[0])


def test_a_worker_that_is_killed_once_loses_nothing(killed):
    found, kills = killed
    assert kills.killed(20) == 1 and found.observed == (0, 20, 40, 60)


def test_a_checkpoint_that_always_ends_its_worker_is_left_out(killed):
    found, kills = killed
    assert kills.killed(80) >= 1 and 80 not in found.observed
    assert [(f.step, f.kind) for f in found.findings] == [(80, "damaged")]


@pytest.fixture(scope="module")
def by_ray(trained, tmp_path_factory):
    """An analysis by Ray, of which one worker was killed. Starting Ray takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        return analyze_with_kills(trained, tmp_path_factory.mktemp("ray"), once=(100,), engine="ray")


def test_ray_gives_the_same_bits(trained, by_ray):
    found, _ = by_ray
    assert same_as_live(trained, found) and (found.run.path / PHASES).read_text() == files(trained / "run")[1]


def test_a_worker_of_ray_that_is_killed_once_loses_nothing(by_ray):
    found, kills = by_ray
    assert kills.killed(100) == 1 and found.observed == tuple(range(0, 201, 20))


@pytest.mark.verify
def test_a_checkpoint_that_always_ends_its_worker_of_ray_is_left_out(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    found, kills = analyze_with_kills(trained, tmp_path, always=(100,), engine="ray")
    assert kills.killed(100) >= 1 and 100 not in found.observed and len(found.observed) == 10
    assert [(f.step, f.kind) for f in found.findings] == [(100, "damaged")]


def test_a_pool_that_breaks_while_a_checkpoint_is_handed_over_loses_none(trained, analyze, tmp_path, monkeypatch):
    submit, handed = ProcessPoolExecutor.submit, []

    def killing(pool, *args):
        handed.append(args)
        if len(handed) == 3:
            for process in pool._processes.values():
                process.kill()
            while not pool._broken:
                time.sleep(0.01)
        return submit(pool, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", killing)
    found = analyze(some_checkpoints(trained, tmp_path, last=60), workers=2, module="posthoc_project:build")
    assert found.observed == (0, 20, 40, 60) and len(handed) > 4


def test_finished_steps_are_not_done_again(trained, analyze, tmp_path):
    some = some_checkpoints(trained, tmp_path, last=40)
    assert analyze(some).observed == (0, 20, 40)
    assert analyze(some).observed == ()
    found = analyze()
    assert found.observed == tuple(range(60, 201, 20))
    live = {record.step: measured(record.values) for record in open_run(trained / "run").all_records}
    assert {record.step: measured(record.values) for record in found.run.all_records} == live


def test_an_analysis_that_is_killed_goes_on_where_it_was(trained, tmp_path, capsys):
    arguments = ["analyze", str(trained / "checkpoints"), "--module", "posthoc_project:build", "--device", "cpu"]
    arguments += ["--probe", str(trained / "run"), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "lightning_interp.cli.main", *arguments]
    environment = {"PYTHONPATH": f"{Path(project.__file__).parent}:{Path(__file__).parents[2]}", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = tmp_path / "out" / RECORDS
    deadline = time.monotonic() + 120
    while not (records.exists() and records.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = records.read_text().count("\n")
    assert before >= 3
    assert main(arguments) == 0
    assert f"{11 - before} checkpoints measured now" in capsys.readouterr().err
    assert files(tmp_path / "out")[0] == files(trained / "run")[0]


@pytest.mark.parametrize(
    "form", ["state dict", "under a key", "safetensors", "shards", "hugging face", "run directory", "url"]
)
def test_the_same_weights_in_another_form_give_the_same_records(trained, analyze, tmp_path, form):
    source = tmp_path / "source"
    source.mkdir()
    for path in (trained / "checkpoints" / f"step={step}.ckpt" for step in (0, 20, 40)):
        weights = torch.load(path, weights_only=False)["state_dict"]
        step = int(path.stem.partition("=")[2])
        if form == "state dict":
            torch.save(weights, source / f"weights_{step}.pt")
        elif form == "under a key":
            torch.save({"model": weights, "step": step}, source / f"{'abcdefghijk'[step // 20]}.pth")
        elif form == "safetensors":
            save_file(weights, source / f"step-{step}.safetensors")
        elif form == "hugging face":
            (source / f"checkpoint-{step}").mkdir()
            save_file(weights, source / f"checkpoint-{step}" / "model.safetensors")
            torch.save({"state": 1}, source / f"checkpoint-{step}" / "optimizer.pt")
        elif form == "shards":
            write_shards(source / f"checkpoint-{step}", weights)
        else:
            shutil.copy(path, source)
    if form == "run directory":
        source = trained / "run"
    found = analyze(f"file://{source}" if form == "url" else source, measures=["losses", "norms"])
    assert found.observed[:3] == (0, 20, 40)
    live = {record.step: record.values for record in open_run(trained / "run").all_records}
    for record in found.run.all_records:
        assert {"heldout_loss", "weight_norm"} < record.values.keys()
        assert record.values == {name: live[record.step][name] for name in record.values}


def write_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    names = list(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, inside in parts.items():
        save_file({name: weights[name].contiguous() for name in inside}, folder / part)
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BAD = {20: "duplicate", 50: "damaged", 80: "damaged", 110: "shapes", 140: "not_finite"}
"""What is the matter with checkpoints of a folder, by step; that of step 170 is whole, but another run's."""


@pytest.fixture(scope="module")
def survey(trained, tmp_path_factory):
    """An analysis of twenty checkpoints of a drifting network, five of them bad and one of another run."""
    folder = tmp_path_factory.mktemp("survey")
    paths = {step: folder / f"step={step}.ckpt" for step in range(0, 200, 10)}
    torch.manual_seed(0)
    weights = project.build().state_dict()
    for step, path in paths.items():
        weights = {name: tensor + 1e-3 * torch.randn_like(tensor) for name, tensor in weights.items()}
        torch.save({"state_dict": weights, "global_step": step, "epoch": 0}, path)
    change(paths[20], lambda content: content.update(state_dict=torch.load(paths[10])["state_dict"]))
    whole = paths[50].read_bytes()
    paths[50].write_bytes(whole[: len(whole) // 2])
    flip_a_bit(paths[80])
    change(paths[110], lambda content: content["state_dict"].update(position=torch.zeros(3, 3)))
    change(paths[140], lambda content: content["state_dict"]["position"].fill_(torch.nan))
    change(paths[170], lambda content: content.update(state_dict=project.build().state_dict()))
    out = tmp_path_factory.mktemp("surveyed") / "out"
    options = {"module": project.build, "probe": str(trained / "run"), "device": "cpu", "measures": ["losses", "norms"]}
    return analyze_checkpoints(folder, out=out, **options)


def flip_a_bit(path: Path) -> None:
    """In the numbers of the largest tensor, not in what lies between."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content = bytearray(path.read_bytes())
    name_length, extra_length = struct.unpack("<HH", content[largest.header_offset + 26 : largest.header_offset + 30])
    content[largest.header_offset + 30 + name_length + extra_length + largest.file_size // 2] ^= 16
    path.write_bytes(content)


def change(path: Path, edit) -> None:
    content = torch.load(path)
    edit(content)
    torch.save(content, path)


def test_bad_checkpoints_are_named(survey):
    assert {each.step: each.kind for each in survey.findings if each.kind != "jump"} == BAD
    assert survey.run.analysis["untrusted"].keys() == {*map(str, BAD), "170"}
    told = {each.step: each.skipped["snapshot"] for each in survey.run.all_records if "snapshot" in each.skipped}
    assert told.keys() == BAD.keys() and "CRC32" in told[80] and "step 10" in told[20]


def test_checkpoints_beside_bad_ones_are_analyzed(survey):
    assert survey.observed == tuple(step for step in range(0, 200, 10) if step not in BAD)
    assert survey.run.records("heldout_loss")[0].tolist() == list(survey.observed)
    lines = [json.loads(line) for line in (survey.run.path / CHECKPOINTS).read_text().splitlines()]
    assert sum(line["left_out"] is None for line in lines) == 15


def test_a_checkpoint_with_the_weights_of_another_run_is_not_trusted(survey):
    assert [each.step for each in survey.findings if each.kind == "jump"] == [170]
    assert 170 in survey.observed and "170" in survey.run.analysis["untrusted"]


def test_weights_alone_have_norms_stages_and_components(trained, tmp_path):
    found = analyze_checkpoints(trained / "checkpoints", out=tmp_path / "out", tca=TCA(layers="unembedding*", ranks=[1, 2]))
    live = open_run(trained / "run")
    assert (found.run.records("weight_norm")[1] == live.records("weight_norm")[1]).all()
    assert "train_loss" in found.pending
    assert found.run.timeline.verdict == "unknown" and found.run.timeline.stages
    kept = found.run.activations("unembedding.weight")
    assert torch.equal(kept[3], live.snapshot(60).weights["unembedding.weight"])
    assert found.run.components("unembedding.weight")


def test_a_function_can_give_the_probe(trained, tmp_path):
    found = analyze_checkpoints(
        trained / "checkpoints",
        out=tmp_path / "out",
        module=project.build,
        probe=lambda: open_run(trained / "run").probe,
        measures=["losses", "norms"],
    )
    live = open_run(trained / "run")
    assert (found.run.records("heldout_loss")[1] == live.records("heldout_loss")[1]).all()


class Breaks(project.Measure):
    """A measure of the user's own, which is no measure of any run."""

    name, names, needs = "breaks", ("breaks",), frozenset({"weights"})

    def __call__(self, observation):
        if observation.snapshot.step == 40:
            raise ValueError("no number here")
        return {"breaks": 1.0}


@pytest.mark.parametrize("strict", [False, True])
def test_a_measure_that_fails_costs_its_own_values_unless_asked_to_be_strict(trained, tmp_path, strict):
    options = {"out": tmp_path / "out", "measures": ["norms", Breaks()], "strict": strict}
    if strict:
        with pytest.raises(ValueError, match="no number here"):
            analyze_checkpoints(trained / "checkpoints", **options)
        return
    found = analyze_checkpoints(trained / "checkpoints", **options)
    assert 40 not in found.run.records("breaks")[0] and 40 in found.run.records("weight_norm")[0]


def test_an_analysis_of_weights_is_not_gone_on_with_as_another(trained, analyze, tmp_path):
    analyze_checkpoints(trained / "checkpoints", out=tmp_path / "out", measures="norms")
    with pytest.raises(ConfigError, match="begun without a probe"):
        analyze()


def test_a_run_of_a_training_is_no_place_for_checkpoints(trained):
    with pytest.raises(ConfigError, match="holds the run of a training"):
        analyze_checkpoints(trained / "checkpoints", out=trained / "run")


def test_nothing_readable_is_an_error_with_reasons(tmp_path):
    (tmp_path / "step=1.ckpt").write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints can be analyzed.*step=1\.ckpt"):
        analyze_checkpoints(tmp_path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"workers": 0}, "workers: expected"),
        ({"engine": "spark"}, "engine: expected local or ray"),
        ({"colour": 1}, "no option 'colour'"),
        ({"step_pattern": "("}, "no regular expression"),
        ({"step_pattern": "x"}, "has 0 groups"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(trained, tmp_path, option, message):
    with pytest.raises(ConfigError, match=message):
        analyze_checkpoints(trained / "checkpoints", out=tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()
