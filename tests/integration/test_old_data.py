# SPDX-License-Identifier: Apache-2.0
"""What earlier versions wrote is opened, reported, analyzed, synchronized and resumed. The data is in `tests/data`."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import old_project
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from noisy_training import quiet_trainer
from old_project import OldClassifier, OldData
from run_facts import TOPICS
from wandb_records import WandbRecords

from lightning_interp import TCA, InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.core.records import Record
from lightning_interp.store import Run
from lightning_interp.store.delivered import read_delivered

DATA = Path(__file__).parents[1] / "data"
VERSIONS = sorted(path.name for path in DATA.glob("v*"))
EXACT = 1e-12
"""Of stored values: sums are added in another order at most."""
MEASURED = 1e-4
"""Of values measured anew from the same float32 weights; other versions of torch round otherwise."""


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy that a test may change, somewhere else than where it was written."""
    return Path(shutil.copytree(DATA / request.param, tmp_path / "old"))


@pytest.fixture
def expected(old: Path) -> dict[str, Any]:
    """What the version that wrote the data read in it."""
    return json.loads((old / "expected.json").read_text(encoding="utf-8"))


def differences(found: Any, wanted: Any, *, rel: float, where: str = "") -> Iterator[str]:
    """Where two nested plain values differ, numbers by more than a share of the larger one."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from differences(found.get(key), wanted.get(key), rel=rel, where=f"{where}/{key}")
    elif isinstance(wanted, list) and isinstance(found, list | tuple) and len(found) == len(wanted):
        for index, (each, other) in enumerate(zip(found, wanted, strict=True)):
            yield from differences(each, other, rel=rel, where=f"{where}/{index}")
    elif not (found == wanted or (isinstance(wanted, float) and found == pytest.approx(wanted, rel=rel, abs=rel))):
        yield f"{where}: {found!r}, was {wanted!r}"


def verdict_of(run: Run) -> str:
    assert run.timeline is not None
    return run.timeline.verdict


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("name", ["finished", "interrupted"])
def test_open_run_reads_what_was_written(old: Path, expected: dict[str, Any], name: str, topic: str) -> None:
    assert set(expected[name]) == set(TOPICS)
    assert list(differences(TOPICS[topic](open_run(old / name)), expected[name][topic], rel=EXACT)) == []


def test_report_tells_the_verdict(old: Path, expected: dict[str, Any]) -> None:
    assert main(["report", str(old / "finished")]) == 0
    page = (old / "finished" / "report.html").read_text(encoding="utf-8")
    words = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    timeline = expected["finished"]["timeline"]
    assert timeline["verdict"] == "grokking" and "grok" in words
    for name, start, _ in timeline["phases"]:
        assert name.replace("_", " ") in words and f"{start:,}" in words


@pytest.mark.parametrize("name", ["finished", "interrupted"])
def test_status_tells_where_a_run_stands(
    old: Path, expected: dict[str, Any], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["status", str(old / name), "--json"]) == 0
    told, timeline = json.loads(capsys.readouterr().out), expected[name]["timeline"]
    assert told["verdict"] == timeline["verdict"] and told["ended"] == (name == "finished")
    assert [[phase["name"], phase["start"], phase["end"]] for phase in told["phases"]] == timeline["phases"]


def test_export_has_every_series(old: Path, expected: dict[str, Any]) -> None:
    assert main(["export", str(old / "finished"), "--to", "csv", "-o", "exported"]) == 0
    with Path("exported/scalars.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    sums = {name: sum(float(row[name]) for row in rows if row[name]) for name in rows[0] if name != "step"}
    wanted = {name: series["sum"] for name, series in expected["finished"]["records"].items()}
    assert list(differences(sums, wanted, rel=EXACT)) == []


def test_compare_puts_a_run_beside_itself(old: Path, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(old / "finished", old / "again")
    assert main(["compare", str(old / "finished"), str(old / "again"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["verdict"] for run in told["runs"]] == [expected["finished"]["timeline"]["verdict"]] * 2
    starts = {row["name"]: row["starts"] for row in told["boundaries"]}
    for name, start, _ in expected["finished"]["timeline"]["phases"][1:]:
        assert starts[name] == {"finished": start, "again": start}


def assert_kept(records: Sequence[Record], before: Sequence[Record]) -> None:
    """Every value recorded before stands. Snapshots are observed again for measures that are newer than the run, and then
    the z of a percentile is that of its present null.
    """
    for now, then in zip(records, before, strict=False):
        kept = {name: now.values.get(name) for name in then.values if name != "heldout_percentile_z"}
        expected = {name: value for name, value in then.values.items() if name != "heldout_percentile_z"}
        assert now.step == then.step and now.layers.keys() == then.layers.keys()
        assert kept == pytest.approx(expected, rel=MEASURED, abs=1e-8)
        for name, values in then.layers.items():
            assert [value is None for value in now.layers[name]] == [value is None for value in values]
            measured = [(n, t) for n, t in zip(now.layers[name], values, strict=True) if t is not None]
            assert [n for n, _ in measured] == pytest.approx([t for _, t in measured], rel=MEASURED, abs=1e-8)
    assert len(records) >= len(before)


@pytest.mark.parametrize("options", [(), ("--module", "old_project:build")], ids=["weights", "module"])
def test_analyze_finishes_an_interrupted_run(old: Path, expected: dict[str, Any], options: tuple[str, ...]) -> None:
    before = open_run(old / "interrupted").all_records
    assert main(["analyze", str(old / "interrupted"), *options, "--device", "cpu"]) == 0
    run = open_run(old / "interrupted")
    assert len(before) < len(run.steps) and [record.step for record in run.all_records] == run.steps
    assert_kept(run.all_records, before)
    names = ("weight_norm", "train_loss", "heldout_loss") if options else ("weight_norm",)
    values = {name: run.records(name)[1].tolist() for name in names}
    assert list(differences(values, {name: expected["analyzed"][name] for name in names}, rel=MEASURED)) == []
    assert not options or verdict_of(run) == expected["analyzed"]["verdict"]


@pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path.")  # as where it was made
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_checkpoint_resumes_its_run_where_it_was_moved_to(old: Path, tmp_path: Path) -> None:
    (checkpoint,) = (old / "checkpoints").glob("*.ckpt")
    before = open_run(old / "finished")
    attempt, records = before.manifest.attempt + 1, before.all_records
    tca = TCA.from_plain(before.manifest.configuration["tca"])
    step = int(torch.load(checkpoint, weights_only=True)["global_step"])
    monitor = InterpMonitor(old / "finished", every_n_steps=100, tca=tca)
    callbacks = [monitor, ModelCheckpoint(tmp_path / "new", every_n_train_steps=200)]
    trainer = quiet_trainer(tmp_path, callbacks, max_steps=step + 200, check_val_every_n_epoch=50, enable_checkpointing=True)
    trainer.fit(OldClassifier(), OldData(), ckpt_path=checkpoint)
    run = open_run(old / "finished")
    assert monitor.run_dir == old / "finished" and run.manifest.attempts[-1].resumed_at == step
    assert [(each.step, each.attempt) for each in run.all_records if each.step > step] == [
        (step + 100, attempt),
        (step + 200, attempt),
    ]
    assert_kept(run.all_records, [each for each in records if each.step <= step])
    assert run.steps[-1] == step + 200 and (old / "finished" / "abandoned" / f"attempt_{attempt - 1}").is_dir()


def test_lightning_cli_takes_its_config(old: Path, tmp_path: Path) -> None:
    """In a process of its own, as the project's command line was when it saved the file."""
    command = [sys.executable, old_project.__file__, "fit", "--config", str(old / "cli" / "config.yaml")]
    paths = [str(Path(old_project.__file__).parent), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    run = open_run(tmp_path / "cli" / "run")
    assert [record.step for record in run.all_records] == run.steps == [0, 2, 4, 6]
    assert {"train_loss", "weight_norm"} <= run.series.keys() and run.component_layers == ("net.1",)


@pytest.mark.parametrize("name", ["history.csv", "chart.csv"])
def test_phases_judges_an_exported_wandb_history(
    old: Path, expected: dict[str, Any], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["phases", str(old / "wandb_export" / name), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == expected["chart_verdict"] == "grokking"


def test_sync_sends_what_the_training_s_wandb_run_lacks(
    old: Path, expected: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    assert main(["sync", str(old / "finished"), "--offline", "--id", "old1", "--json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)["sent"]
    late = [step for step in expected["finished"]["records"]["train_loss"]["steps"] if step > expected["delivered"]["old1"]]
    assert late and sent["steps"] == late
    assert [int(row["interp/step"]) for row in WandbRecords(Path(sent["directory"])).rows] == late
    delivered = read_delivered(old / "finished")
    assert delivered is not None
    assert {target.run_id: target.step for target in delivered.wandb} == expected["delivered"] | {"old1": late[-1]}


def test_analyze_of_a_checkpoint_measures_what_was_recorded(old: Path) -> None:
    assert main(["analyze", str(old / "checkpoints"), "--out", "analyzed", "--device", "cpu"]) == 0
    (step,), (norm,) = open_run("analyzed").records("weight_norm")
    steps, norms = open_run(old / "finished").records("weight_norm")
    assert norm == pytest.approx(dict(zip(steps, norms, strict=True))[step], rel=EXACT)
