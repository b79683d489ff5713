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
from pathlib import Path

import posthoc_project as project
import pytest
import torch
from safetensors.torch import save_file

from lightning_interp import analyze_checkpoints
from lightning_interp.core.errors import CheckpointError, ConfigError
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


def test_checkpoints_give_the_live_records_and_timeline_to_the_last_bit(trained, analyze):
    found = analyze()
    assert len(found.observed) == 11 and found.pending == ()
    assert files(found.run.path) == files(trained / "run")
    live = activations(trained / "run")
    assert all(torch.equal(value, live[layer]) for layer, value in activations(found.run.path).items())


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_two_workers_give_the_same_bits(trained, analyze, engine, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    found = analyze(workers=2, engine=engine, module="posthoc_project:build")
    assert files(found.run.path) == files(trained / "run")


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_worker_that_is_killed_once_loses_nothing(trained, analyze, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    kills = project.KillsOnce(str(tmp_path / "killed"), 100, always=False)
    found = analyze(workers=2, engine=engine, module="posthoc_project:build", measures=kills)
    assert (tmp_path / "killed").exists()
    assert len(found.observed) == 11
    live = {record.step: record.values for record in open_run(trained / "run").all_records}
    assert {r.step: {k: v for k, v in r.values.items() if k != "kills"} for r in found.run.all_records} == live


def test_a_pool_that_breaks_while_a_checkpoint_is_handed_over_loses_none(analyze, monkeypatch):
    submit, handed = ProcessPoolExecutor.submit, []

    def killing(pool, *args):
        handed.append(args)
        if len(handed) == 6:
            for process in pool._processes.values():
                process.kill()
            while not pool._broken:
                time.sleep(0.01)
        return submit(pool, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", killing)
    found = analyze(workers=2, engine="local", module="posthoc_project:build")
    assert list(found.observed) == list(range(0, 201, 20)) and len(handed) > 11


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_checkpoint_that_always_ends_its_worker_is_left_out(analyze, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    kills = project.KillsOnce(str(tmp_path / "killed"), 100, always=True)
    found = analyze(workers=2, engine=engine, module="posthoc_project:build", measures=kills)
    assert 100 not in found.observed and len(found.observed) == 10
    assert [(f.step, f.kind) for f in found.findings] == [(100, "damaged")]


def test_finished_steps_are_not_done_again(trained, analyze, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    for step in (0, 20, 40):
        shutil.copy(trained / "checkpoints" / f"step={step}.ckpt", some)
    assert analyze(some).observed == (0, 20, 40)
    assert analyze(some).observed == ()
    found = analyze()
    assert found.observed == tuple(range(60, 201, 20))
    live = {record.step: measured(record.values) for record in open_run(trained / "run").all_records}
    assert {record.step: measured(record.values) for record in found.run.all_records} == live


def test_an_analysis_that_is_killed_goes_on_where_it_was(trained, tmp_path):
    command = [sys.executable, "-m", "lightning_interp.cli.main", "analyze", str(trained / "checkpoints")]
    command += ["--module", "posthoc_project:build", "--probe", str(trained / "run"), "--out", str(tmp_path / "out")]
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
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"{11 - before} checkpoints measured now" in done.stderr
    assert files(tmp_path / "out")[0] == files(trained / "run")[0]


@pytest.mark.parametrize(
    "form", ["state dict", "under a key", "safetensors", "shards", "hugging face", "run directory", "url"]
)
def test_the_same_weights_in_another_form_give_the_same_records(trained, analyze, tmp_path, form):
    source = tmp_path / "source"
    source.mkdir()
    for path in sorted((trained / "checkpoints").iterdir()):
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
    found = analyze(f"file://{source}" if form == "url" else source)
    assert files(found.run.path)[0] == files(trained / "run")[0]


def write_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    names = list(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, inside in parts.items():
        save_file({name: weights[name].contiguous() for name in inside}, folder / part)
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture
def fifty(tmp_path):
    """Fifty checkpoints of a drifting network, five of them bad."""
    folder = tmp_path / "fifty"
    folder.mkdir()
    torch.manual_seed(0)
    weights = project.build().state_dict()
    for number in range(50):
        weights = {name: tensor + 1e-3 * torch.randn_like(tensor) for name, tensor in weights.items()}
        torch.save({"state_dict": weights, "global_step": 10 * number, "epoch": 0}, folder / f"step={10 * number}.ckpt")
    paths = {step: folder / f"step={step}.ckpt" for step in range(0, 500, 10)}
    change(paths[100], lambda content: content.update(state_dict=torch.load(paths[90])["state_dict"]))
    whole = paths[200].read_bytes()
    paths[200].write_bytes(whole[: len(whole) // 2])
    flip_a_bit(paths[250])
    change(paths[300], lambda content: content["state_dict"].update(position=torch.zeros(3, 3)))
    change(paths[400], lambda content: content["state_dict"]["position"].fill_(torch.nan))
    return folder


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


def test_bad_checkpoints_among_fifty_are_named_and_the_others_analyzed(fifty, analyze):
    found = analyze(fifty)
    kinds = {finding.step: finding.kind for finding in found.findings}
    assert kinds == {100: "duplicate", 200: "damaged", 250: "damaged", 300: "shapes", 400: "not_finite"}
    assert len(found.observed) == 45
    assert found.run.analysis["untrusted"].keys() == {"100", "200", "250", "300", "400"}
    told = {record.step: record.skipped["snapshot"] for record in found.run.all_records if "snapshot" in record.skipped}
    assert told.keys() == kinds.keys() and "CRC32" in told[250] and "step 90" in told[100]
    lines = [json.loads(line) for line in (found.run.path / CHECKPOINTS).read_text().splitlines()]
    assert sum(line["left_out"] is None for line in lines) == 45


def test_a_checkpoint_with_the_weights_of_another_run_is_not_trusted(fifty, analyze):
    torch.manual_seed(1)
    torch.save({"state_dict": project.build().state_dict(), "global_step": 150}, fifty / "step=150.ckpt")
    found = analyze(fifty)
    assert [finding.step for finding in found.findings if finding.kind == "jump"] == [150]
    assert 150 in found.observed and "150" in found.run.analysis["untrusted"]


def test_weights_alone_have_norms_stages_and_components(trained, tmp_path):
    found = analyze_checkpoints(trained / "checkpoints", out=tmp_path / "out", tca=True)
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
