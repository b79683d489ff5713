# SPDX-License-Identifier: Apache-2.0
"""The `sync` command, on a training whose analysis finished after it; W&B offline, read back by its own reader."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from compared_runs import timeline, write_run
from lightning.pytorch.loggers import WandbLogger
from small_training import fit
from wandb_records import SETTINGS, WandbRecords

from lightning_interp import InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.store import append_record, read_manifest, write_manifest
from lightning_interp.store.delivered import read_delivered
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, PHASES

STEPS = list(range(0, 41, 5))
ANALYSIS_S = 120.0


class Late:
    """A training that did not wait for its analysis, which went on in the background and is over now."""

    def __init__(self, root: Path) -> None:
        self.run_dir = root / "run"
        logger = WandbLogger(project="test", save_dir=root, mode="offline", id="late1", name="late", settings=SETTINGS)
        fit(root, InterpMonitor(self.run_dir, every_n_steps=5, close_timeout=0), max_steps=40, logger=logger)
        logger.experiment.finish()
        self.live = WandbRecords(Path(logger.experiment.settings.sync_file))
        deadline = time.monotonic() + ANALYSIS_S
        while not self.is_analyzed():
            assert time.monotonic() < deadline, "the analysis did not go on in the background"
            time.sleep(0.2)

    def is_analyzed(self) -> bool:
        run = open_run(self.run_dir)
        found = run.timeline
        covered = [series[-1][0] for series in found.intensities.values() if series] if found is not None else []
        return max(covered, default=-1) == STEPS[-1]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Late:
    return Late(tmp_path_factory.mktemp("late"))


@pytest.fixture
def run_dir(late: Late, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(late.run_dir, tmp_path / "run"))


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    monkeypatch.setenv("LIGHTNING_INTERP_REPORT", "1")
    yield


def sync(run_dir: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict]:
    """What `sync --json` says that it sent."""
    assert main(["sync", str(run_dir), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)["sent"]


def test_sync_sends_late_rows_each_at_its_own_step_and_none_twice(
    late: Late, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [int(row["interp/step"]) for row in late.live.rows]
    (sent,) = sync(run_dir, capsys)
    assert (sent["project"], sent["id"], sent["mode"]) == ("test", "late1", "offline")
    found = WandbRecords(Path(sent["directory"]))
    assert sent["steps"] == [int(row["interp/step"]) for row in found.rows] == [s for s in STEPS if s not in before]
    assert sent["rows"] > 0, "the training was over before the analysis had begun"
    for row, record in zip(found.rows, [r for r in open_run(run_dir).all_records if r.step not in before], strict=True):
        assert {name: row[f"interp/{name}"] for name in record.values} == dict(record.values)
    assert found.of_type("run")[0]["run_id"] == "late1"
    assert sync(run_dir, capsys) == [], "a second call has nothing to send"


def test_sync_sends_summary_figures_and_report(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sent,) = sync(run_dir, capsys)
    found, run = WandbRecords(Path(sent["directory"])), open_run(run_dir)
    assert run.timeline is not None and found.summary["interp/verdict"] == run.timeline.verdict
    assert {step for _, step in found.figures} == {40} and "interp/figures/losses" in dict(found.figures)
    assert sent["figures"] == sum(key.startswith("interp/figures/") for key, _ in found.figures)
    (artifact,) = found.artifacts
    assert artifact["files"]["report.html"].read_bytes() == (run_dir / "report.html").read_bytes()
    assert artifact["name"] == f"interp-{run.manifest.run_id}"


def test_sync_keeps_the_keys_of_the_training_s_rows(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delivered = read_delivered(run_dir)
    (sent,) = sync(run_dir, capsys)
    (first, *_) = WandbRecords(Path(sent["directory"])).rows
    assert delivered is not None and {f"interp/{name}" for name in delivered.names} < first.keys()
    assert len([key for key in first if key.startswith("interp/")]) <= 40


def test_sync_says_how_many_rows_went_where(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(run_dir)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "rows (steps " in first and first.endswith("to test/late1 (offline).")
    assert "offline-run-" in second and "wandb sync " in second
    assert main(["sync", str(run_dir)]) == 0
    assert capsys.readouterr().out == "Nothing to send: test/late1 has all results.\n"


def test_sync_sends_a_step_again_that_was_observed_again(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `analyze --module` does, where the training could measure weights only."""
    sync(run_dir, capsys)
    record = open_run(run_dir).all_records[2]
    append_record(run_dir, replace(record, values={**record.values, "train_loss": 0.25}))
    (sent,) = sync(run_dir, capsys)
    (row,) = WandbRecords(Path(sent["directory"])).rows
    assert sent["steps"] == [10] and (row["interp/step"], row["interp/train_loss"]) == (10, 0.25)


def test_sync_to_another_run_sends_everything(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sent,) = sync(run_dir, capsys, "--offline", "--project", "other", "--entity", "team", "--id", "mine")
    assert (sent["entity"], sent["project"], sent["id"], sent["steps"]) == ("team", "other", "mine", STEPS)
    assert sync(run_dir, capsys, "--offline", "--project", "other", "--id", "mine") == []
    delivered = read_delivered(run_dir)
    assert delivered is not None and [each.run_id for each in delivered.wandb] == ["late1", "mine"]


def test_sync_begins_a_run_for_a_training_without_wandb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = judged_run(tmp_path / "plain")
    (sent,) = sync(run_dir, capsys, "--offline", "--project", "test")
    found = WandbRecords(Path(sent["directory"]))
    assert sent["id"] and sent["steps"] == [int(row["interp/step"]) for row in found.rows]
    assert sent["rows"] == len(open_run(run_dir).all_records)
    assert found.of_type("run")[0]["display_name"] == "plain"
    assert found.summary["interp/grokking_step"] == found.summary["interp/grokking_step_bound"] == 4000
    assert sync(run_dir, capsys, "--offline", "--project", "test") == []


def judged_run(path: Path) -> Path:
    """A run directory as an analysis of checkpoints leaves it."""
    write_run(path, found=timeline(), layers={})
    content = json.loads((path / PHASES).read_text())
    (path / PHASES).write_text(json.dumps({**content, "intensities": {"memorization": [[0, 0.0], [8000, 0.5]]}}))
    write_manifest(path, replace(read_manifest(path), status="finished"))
    return path


def test_sync_without_a_wandb_run_says_how_to_name_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(judged_run(tmp_path / "plain"))]) == 2
    assert "its training logged to no W&B run. Name one: `--project P`" in capsys.readouterr().err


def test_sync_refuses_while_the_training_delivers(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(run_dir, replace(read_manifest(run_dir), status="training"))
    append_line(run_dir / HEALTH, {"event": "snapshot", "attempt": 0, "time": time.time() - 30.0, "step": 45})
    assert main(["sync", str(run_dir)]) == 2
    told = capsys.readouterr().err
    assert "its training goes on and delivers its results itself (last sign of life" in told
    assert "if it was killed, call again in" in told


def test_sync_supplies_a_training_that_was_killed(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(run_dir, replace(read_manifest(run_dir), status="training"))
    now = time.time()
    monkeypatch.setattr("lightning_interp.cli.sync.time.time", lambda: now + 3600.0)  # long after its last sign of life
    (sent,) = sync(run_dir, capsys)
    assert sent["rows"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 7}, "schema 7, this version reads 1"),
        ({"wandb": [{"project": "test"}]}, "delivered.json: no `entity`"),
    ],
)
def test_sync_names_a_file_it_cannot_read(
    run_dir: Path, capsys: pytest.CaptureFixture[str], change: dict, message: str
) -> None:
    path = run_dir / "delivered.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert main(["sync", str(run_dir)]) == 2
    assert message in capsys.readouterr().err


def test_sync_refuses_when_wandb_is_disabled(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["sync", str(run_dir)]) == 2
    assert "WANDB_MODE=disabled: nothing can be sent" in capsys.readouterr().err


def test_sync_without_a_key_fails_and_notes_nothing(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run_dir / "delivered.json").read_text()
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main(["sync", str(run_dir)]) == 1
    assert "W&B did not take the results (UsageError: No API key configured" in capsys.readouterr().err
    assert (run_dir / "delivered.json").read_text() == before


def test_sync_help_loads_no_heavy_package() -> None:
    code = (
        "import sys; from lightning_interp.cli.main import main; code = main(['sync', '--help']); "
        "print(code, [m for m in ('torch', 'numpy', 'plotly', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
