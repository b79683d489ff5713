# SPDX-License-Identifier: Apache-2.0
"""The `tca` command: what it finds in a small run directory, its JSON, its pictures, and what it says to bad input."""

import argparse
import json
import subprocess
import sys

import pytest
import torch
from batch_kinds import MAKES

from lightning_interp.cli import picture
from lightning_interp.cli.main import main
from lightning_interp.cli.tca_arguments import parse_ranks
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.dashboards import figures
from lightning_interp.posthoc import layer_components
from lightning_interp.posthoc.stimuli import stimuli_of
from lightning_interp.store import Manifest, open_run, write_manifest, write_probe
from lightning_interp.store.layout import ANALYSIS, OBSERVATIONS, step_file
from lightning_interp.store.tensor_file import write_tensors

STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
TRAIN, HELDOUT, UNITS, CLASSES = 18, 12, 16, 3
LAYERS = ("mlp.act", "mlp.pre", "dead")


def planted(*, signed=False, seed=0):
    """Two components, of which one rises and loads on class 0 alone and the other falls, with 1 % noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 1, len(STEPS))
    when = torch.stack([time, 1.2 - time], dim=1)
    labels = torch.arange(TRAIN + HELDOUT) % CLASSES
    which = torch.stack([(labels == 0).float(), torch.rand(len(labels), generator=generator)], dim=1)
    who = torch.rand(UNITS, 2, generator=generator) - (0.5 if signed else 0)
    noise = 0.01 * torch.rand(len(STEPS), len(labels), UNITS, generator=generator)
    return torch.einsum("tr,sr,ur->tsu", when, which, who) + noise


def write_run(path, layers, steps=STEPS):
    """A run directory with these activations and a probe of class labels; nothing was trained."""
    (path / OBSERVATIONS).mkdir(parents=True)
    names = tuple(layers)
    write_manifest(path, Manifest("abc123", "2026-01-01T00:00:00+00:00", names, names, (), "pkg.Net", {}, {}))
    labels = torch.arange(TRAIN + HELDOUT) % CLASSES
    train = ProbeSplit(((torch.zeros(TRAIN, 2), labels[:TRAIN]),))
    heldout = ProbeSplit(((torch.zeros(HELDOUT, 2), labels[TRAIN:]),))
    write_probe(path, Probe(train, heldout))
    for index, step in enumerate(steps):
        observed = {name: tensor[index].contiguous() for name, tensor in layers.items()}
        write_tensors(step_file(path / OBSERVATIONS, step), observed, {"step": step})
    return path


@pytest.fixture
def run_dir(tmp_path):
    layers = dict(
        zip(LAYERS, (planted(), planted(signed=True), torch.zeros(len(STEPS), TRAIN + HELDOUT, UNITS)), strict=True)
    )
    return write_run(tmp_path / "run", layers)


def tca(*arguments):
    return main(["tca", *map(str, arguments), "--restarts", "2"])


def tca_json(capsys, *arguments):
    assert tca(*arguments, "--json") == 0
    captured = capsys.readouterr()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(captured.out, parse_constant=refuse), captured.err


def test_tca_json_has_its_schema(run_dir, capsys):
    found, _ = tca_json(capsys, run_dir, "--layer", "mlp.act", "--ranks", "1:3")
    assert (found["schema"], found["run"], found["skipped"]) == (1, "run", [])
    (layer,) = found["layers"]
    assert set(layer) == {
        "layer", "table", "recommended", "reasons", "nonnegative", "preprocessing", "fit", "components", "null"
    }  # fmt: skip
    assert [row["rank"] for row in layer["table"]] == [1, 2, 3]
    assert {"relative_error", "similarity", "core_consistency", "heldout_error"} <= set(layer["table"][0])
    assert {"rank", "relative_error", "converged", "n_iter", "flags", "cp_weights", "snapshot_factor"} == set(layer["fit"])


def test_tca_finds_what_was_planted(run_dir, capsys):
    found, _ = tca_json(capsys, run_dir, "--layer", "mlp.act", "--ranks", "2")
    (layer,) = found["layers"]
    rising = next(c for c in layer["components"] if c["trend"] == "rises")
    # noise of 1 % of the largest entry is some 3 % of the norm
    assert layer["fit"]["relative_error"] < 0.05 < layer["null"]["relative_error"]
    assert [entry["label"] for entry in rising["classes"]] == [0]
    steps = [step for step, _ in layer["fit"]["snapshot_factor"][rising["component"]]]
    assert steps == list(STEPS)


def test_tca_json_is_the_same_every_time(run_dir, capsys):
    first, _ = tca_json(capsys, run_dir, "--layer", "mlp.pre", "--ranks", "1,3", "--seed", "4")
    again, _ = tca_json(capsys, run_dir, "--layer", "mlp.pre", "--ranks", "1,3", "--seed", "4")
    assert first == again


@pytest.mark.parametrize(
    ("layer", "option", "nonnegative"),
    [
        ("mlp.act", [], True),
        ("mlp.pre", [], False),
        ("mlp.act", ["--no-nonnegative"], False),
        ("mlp.act", ["--nonnegative"], True),
    ],
)
def test_tca_is_nonnegative_by_the_data_unless_told(run_dir, capsys, layer, option, nonnegative):
    found, _ = tca_json(capsys, run_dir, "--layer", layer, "--ranks", "1", *option)
    assert found["layers"][0]["nonnegative"] is nonnegative


def test_tca_text_shows_table_reasons_null_and_sentences(run_dir, capsys):
    assert tca(run_dir, "--layer", "mlp.act", "--ranks", "1:2") == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "Layer mlp.act",
        "10 snapshots (steps 0 to 500) × 30 stimuli × 16 units; factors non-negative: no activation is negative.",
        "Divided each snapshot by its root mean square",
        "Recommended rank: ",
        "with unit labels shuffled in every snapshot",
        "component 0 ",
    ):
        assert part in text


def test_tca_goes_on_without_a_layer_that_cannot_be_analyzed(run_dir, capsys):
    found, errors = tca_json(capsys, run_dir, "--ranks", "1")
    assert [layer["layer"] for layer in found["layers"]] == ["mlp.act", "mlp.pre"]
    assert "left out layer 'dead': every stored activation is zero" in errors
    assert [entry["layer"] for entry in found["skipped"]] == ["dead"]


@pytest.mark.parametrize(("pattern", "layers"), [("mlp.*", ["mlp.act", "mlp.pre"]), ("*.pre", ["mlp.pre"])])
def test_tca_layer_may_be_a_glob(run_dir, capsys, pattern, layers):
    found, _ = tca_json(capsys, run_dir, "--layer", pattern, "--ranks", "1")
    assert [layer["layer"] for layer in found["layers"]] == layers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "nothing*"], "--layer: no stored layer fits 'nothing*'; there are mlp.act, mlp.pre, dead"),
        (["--layer", "dead"], "error: layer 'dead': every stored activation is zero"),
        (["--layer", "mlp.pre", "--nonnegative"], "--nonnegative: some activations are negative (down to -0."),
        (["--layer", "mlp.act", "--ranks", "200"], "--ranks: a tensor of shape (10, 30, 16) is exact with 160"),
        (["--ranks", "3:1"], "expected text such as '1:8', which includes 8, or '1,2,4', up to 512, got '3:1'"),
        (["--ranks", "some"], "got 'some'"),
        (["--ranks", "0"], "up to 512, got '0'"),
        (["--restarts", "0"], "expected a whole number from 1 on, got '0'"),
        (["--device", "cuda:99"], "--device: 'cuda:99' is not there"),
        (["--device", "gpu please"], "--device: 'gpu please' is not a device"),
        (["--figure", "picture.bmp"], "--figure picture.bmp: expected a name that ends in .html or .png"),
        (["--figure", "no/such/picture.html"], "the folder no/such does not exist"),
    ],
)
def test_tca_refuses_bad_arguments_with_one_message(run_dir, capsys, arguments, message):
    assert main(["tca", str(run_dir), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def test_tca_of_a_folder_that_is_no_run_says_so(tmp_path, capsys):
    assert tca(tmp_path) == 2
    assert "not a run directory" in capsys.readouterr().err


def test_tca_of_a_run_without_activations_says_what_to_do(tmp_path, capsys):
    assert tca(write_run(tmp_path / "run", {"act": planted()}, steps=())) == 2
    message = capsys.readouterr().err
    assert "InterpMonitor(layers=...)" in message and "lightning-interp analyze" in message


def test_tca_needs_three_snapshots(tmp_path, capsys):
    assert tca(write_run(tmp_path / "run", {"act": planted()}, steps=(0, 1))) == 2
    assert "error: layer 'act': activations of 2 snapshots, 3 or more are needed" in capsys.readouterr().err


def test_tca_names_where_activations_are_not_finite(tmp_path, capsys):
    broken = planted()
    broken[4, 3, 2] = torch.nan
    assert tca(write_run(tmp_path / "run", {"act": broken})) == 2
    assert "layer 'act'" in (message := capsys.readouterr().err) and "nan at snapshot 4, stimulus 3, unit 2" in message


def test_tca_leaves_out_ranks_no_tensor_of_this_shape_needs(tmp_path, capsys):
    found, _ = tca_json(capsys, write_run(tmp_path / "run", {"act": planted()[:3, :, :1]}, steps=STEPS[:3]))
    (layer,) = found["layers"]
    assert [row["rank"] for row in layer["table"]] == [1, 2, 3]
    assert any("Ranks over 3 left out" in note for note in layer["preprocessing"])


def test_tca_writes_one_page_for_all_layers(run_dir, tmp_path, capsys):
    page = tmp_path / "page.html"
    _, errors = tca_json(capsys, run_dir, "--ranks", "1", "--figure", page)
    text = page.read_text(encoding="utf-8")
    assert "layer mlp.act" in text and "layer mlp.pre" in text and f"Picture: {page}" in errors


def test_tca_writes_one_image_a_layer(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "write_image", lambda figure, path: path.write_bytes(b"image"))
    tca_json(capsys, run_dir, "--ranks", "1", "--figure", tmp_path / "f.png")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["f-mlp.act.png", "f-mlp.pre.png"]


def test_tca_prints_what_it_found_before_an_image_fails(run_dir, tmp_path, monkeypatch, capsys):
    def fail(figure, path):
        raise RuntimeError("ChromeNotFoundError: none")

    monkeypatch.setattr(figures, "write_image", fail)
    assert tca(run_dir, "--layer", "mlp.act", "--ranks", "1", "--json", "--figure", tmp_path / "f.png") == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["layers"]
    assert "no image could be made (ChromeNotFoundError: none)" in captured.err and ".html" in captured.err


def test_tca_says_before_it_begins_that_kaleido_is_missing(run_dir, monkeypatch, capsys):
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    assert tca(run_dir, "--figure", "f.png") == 2
    assert "an image needs kaleido" in capsys.readouterr().err


def test_tca_returns_130_when_interrupted(run_dir, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(layer_components, "select_rank", interrupted)
    assert (tca(run_dir), capsys.readouterr().err) == (130, "Interrupted.\n")


def test_tca_out_of_memory_is_a_failure_with_a_way_out(run_dir, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(layer_components, "select_rank", full)
    assert tca(run_dir, "--layer", "mlp.act") == 1
    assert "out of memory on cpu. Use --device cpu" in capsys.readouterr().err


@pytest.mark.gpu
def test_tca_on_a_gpu_finds_the_same(run_dir, capsys):
    on_gpu, _ = tca_json(capsys, run_dir, "--layer", "mlp.act", "--ranks", "2", "--device", "cuda")
    on_cpu, _ = tca_json(capsys, run_dir, "--layer", "mlp.act", "--ranks", "2")
    errors = [found["layers"][0]["fit"]["relative_error"] for found in (on_gpu, on_cpu)]
    assert errors[0] == pytest.approx(errors[1], abs=1e-4)  # both converged to the tolerance of 1e-6 a sweep


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("1:3", (1, 2, 3)), ("4", (4,)), ("1,2,4", (1, 2, 4)), ("6,1:2", (1, 2, 6)), ("1:12", tuple(range(1, 13)))],
)
def test_parse_ranks_includes_both_ends(text, ranks):
    assert parse_ranks(text) == ranks


@pytest.mark.parametrize("text", ["", "1:", ":3", "1-3", "-1", "1.5", "2:1", "1:1000000000"])
def test_parse_ranks_refuses_what_is_no_range(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        parse_ranks(text)


def test_tca_help_teaches_by_example_and_loads_no_heavy_package():
    code = (
        "import sys, time; from lightning_interp.cli.main import main; code = main(['tca', '--help']); "
        "heavy = [m for m in ('torch', 'lightning', 'numpy', 'plotly', 'rich') if m in sys.modules]; "
        "print(code, heavy, time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and "--figure components.html" in done.stdout
    heavy, seconds = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert heavy == "0 []" and float(seconds) < 2.0


def test_stimuli_of_gives_classes_and_splits_in_stored_order(run_dir):
    found = stimuli_of(open_run(run_dir), TRAIN + HELDOUT)
    assert found.labels.tolist() == [index % CLASSES for index in range(TRAIN + HELDOUT)]
    assert found.heldout.tolist() == [False] * TRAIN + [True] * HELDOUT


def test_stimuli_of_a_large_probe_are_the_evenly_spaced_ones(run_dir):
    labels = torch.arange(1000) % 7
    write_probe(run_dir, Probe(ProbeSplit(({"x": torch.zeros(1000, 2), "labels": labels},))))
    found = stimuli_of(open_run(run_dir), 256)
    assert found.labels.tolist() == labels[torch.linspace(0, 999, 256).round().long()].tolist()


@pytest.mark.parametrize("kind", MAKES)
def test_stimuli_of_batches_of_every_kind_have_the_classes_that_they_name(run_dir, kind):
    labels = torch.arange(TRAIN) % 2
    write_probe(run_dir, Probe(ProbeSplit((MAKES[kind](torch.zeros(TRAIN, 2), labels),))))
    assert stimuli_of(open_run(run_dir), TRAIN).labels.tolist() == labels.tolist()


def test_stimuli_of_a_probe_that_was_cut_follow_the_cut(run_dir):
    (run_dir / ANALYSIS).write_text(json.dumps({"probe_cut": {"train": 6, "heldout": 4}}))
    assert stimuli_of(open_run(run_dir), 10).heldout.tolist() == [False] * 6 + [True] * 4


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(TRAIN, 2), torch.zeros(TRAIN)),
        (torch.zeros(TRAIN, 2), torch.zeros(TRAIN, 2, dtype=torch.long)),
        (torch.zeros(TRAIN, 2), torch.arange(TRAIN)),
        torch.zeros(TRAIN, 2),
    ],
    ids=["real targets", "several targets", "a class each", "no targets"],
)
def test_stimuli_of_other_targets_have_no_classes(run_dir, batch):
    write_probe(run_dir, Probe(ProbeSplit((batch,))))
    found = stimuli_of(open_run(run_dir), TRAIN)
    assert found.labels is None and found.heldout.tolist() == [False] * TRAIN


def test_stimuli_of_another_number_are_not_known(run_dir):
    found = stimuli_of(open_run(run_dir), TRAIN + HELDOUT + 1)
    assert (found.labels, found.heldout) == (None, None)


def test_the_call_from_python_finds_what_the_command_prints(run_dir, capsys):
    printed, _ = tca_json(capsys, run_dir, "--layer", "mlp.act", "--ranks", "1:3")
    asked = layer_components.Options(ranks=(1, 2, 3), restarts=2)
    assert layer_components.analyze_layer(open_run(run_dir), "mlp.act", asked).content == printed["layers"][0]
