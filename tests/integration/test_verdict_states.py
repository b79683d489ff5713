# SPDX-License-Identifier: Apache-2.0
"""An analyzer that was killed after 10 of 64 snapshots: no logger gets a verdict until `analyze` and `sync` complete it."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from half_second_measure import Slow
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from patient_monitor import make_patient
from small_training import Classifier, fit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from waiting import until
from waits_for_file import WaitsForFile
from wandb_records import SETTINGS, WandbRecords

from lightning_interp import InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Timeline
from lightning_interp.store.heartbeat import read_heartbeat
from lightning_interp.store.layout import PHASES

SNAPSHOTS, ANALYZED = 64, 10
SO_FAR = f"So far, {ANALYZED} of {SNAPSHOTS} snapshots analyzed: "
OF_A_VERDICT = ("verdict", "_start", "_end", "grokking_step", "early_warning_step")


class Unfinished:
    """A training that was over before its analysis, whose analyzer was killed then."""

    def __init__(self, root: Path) -> None:
        self.run_dir = root / "run"
        self.wandb = WandbLogger(project="test", save_dir=root, mode="offline", id="late", settings=SETTINGS)
        csv_logger, tensorboard = CSVLogger(root / "csv"), TensorBoardLogger(root / "tb")
        measures = ["standard", WaitsForFile(ANALYZED, root / "never")]
        monitor = InterpMonitor(self.run_dir, every_n_steps=1, measures=measures, close_timeout=0.1)
        module = Analyzed(self.run_dir)
        fit(root, monitor, module, max_steps=SNAPSHOTS - 1, logger=[self.wandb, csv_logger, tensorboard])
        self.said: Timeline | None = monitor.timeline
        self.wandb.experiment.finish()
        self.records = WandbRecords(Path(self.wandb.experiment.settings.sync_file))
        self.csv_file, self.tensorboard_dir = Path(csv_logger.log_dir) / "metrics.csv", Path(tensorboard.log_dir)
        beat = read_heartbeat(self.run_dir)
        assert beat is not None
        os.kill(beat.pid, signal.SIGKILL)


class Analyzed(Classifier):
    """Ends its training only when the analyzer has come to where it waits."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.run_dir = run_dir

    def on_train_end(self) -> None:
        until(lambda: len(open_run(self.run_dir).all_records) == ANALYZED)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unfinished]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("unfinished")
        settings = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "LIGHTNING_INTERP_REPORT": "1"}
        for name, value in {**settings, "WANDB_DATA_DIR": str(root / "wandb_data")}.items():
            patch.setenv(name, value)
        make_patient(patch)
        yield Unfinished(root)


@pytest.fixture
def run_dir(unfinished: Unfinished, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(unfinished.run_dir, tmp_path / "run"))


def test_the_verdict_is_pending_for_the_training_and_for_readers(unfinished: Unfinished) -> None:
    stored = Timeline.from_dict(json.loads((unfinished.run_dir / PHASES).read_text(encoding="utf-8")))
    assert stored.state == "pending", "as the analyzer wrote it, with fewer snapshots then"
    for timeline in (unfinished.said, open_run(unfinished.run_dir).timeline):
        assert timeline is not None
        assert (timeline.state, timeline.analyzed) == ("pending", (ANALYZED, SNAPSHOTS))
        assert timeline.evidence["reason"].startswith(SO_FAR)


def test_no_logger_gets_a_verdict_of_it(unfinished: Unfinished) -> None:
    assert not [key for key in unfinished.records.summary if key.startswith("interp/") and key.endswith(OF_A_VERDICT)]
    assert "interp/grokking_step_bound" not in unfinished.records.summary
    tags = EventAccumulator(str(unfinished.tensorboard_dir)).Reload().Tags()
    assert "interp/verdict/text_summary" not in tags["tensors"] and "interp/train_loss" in tags["scalars"]
    with unfinished.csv_file.open() as handle:
        columns = csv.DictReader(handle).fieldnames
    assert columns is not None and "interp/train_loss" in columns
    assert not {"interp/verdict", "interp/grokking_step_bound"} & {*columns}


def test_every_surface_says_how_far_the_verdict_goes(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = f"so far, {ANALYZED} of {SNAPSHOTS} snapshots analyzed"
    assert main(["phases", str(run_dir)]) == 0
    assert f"({short})" in capsys.readouterr().out
    assert main(["phases", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["analyzed"] == [ANALYZED, SNAPSHOTS]
    assert main(["status", str(run_dir)]) == 0
    assert short in " ".join(capsys.readouterr().out.split()).lower()
    assert main(["status", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "pending"
    assert main(["compare", str(run_dir), str(run_dir)]) == 0
    assert short in " ".join(capsys.readouterr().out.split())
    assert SO_FAR in (run_dir / "report.html").read_text(encoding="utf-8")


def test_sync_sends_the_summary_when_everything_is_analyzed(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(run_dir), "--json"]) == 0
    early = [sent for sent in json.loads(capsys.readouterr().out)["sent"] if sent["directory"]]
    for sent in early:  # rows that the training had no time for
        assert sent["state"] == "pending" and "interp/verdict" not in WandbRecords(Path(sent["directory"])).summary
    assert main(["analyze", str(run_dir), "--module", "small_training:Classifier"]) == 0
    assert "(final)" in capsys.readouterr().out
    assert main(["sync", str(run_dir), "--json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)["sent"]
    run, summary = open_run(run_dir), WandbRecords(Path(sent["directory"])).summary
    assert run.timeline is not None and (run.timeline.state, run.timeline.analyzed) == ("final", (SNAPSHOTS, SNAPSHOTS))
    assert summary["interp/verdict"] == run.timeline.verdict
    assert summary["interp/grokking_step_bound"] == (run.timeline.grokking_step or SNAPSHOTS - 1)
    assert main(["sync", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == []


def test_close_timeout_none_waits_for_the_whole_analysis(tmp_path: Path) -> None:
    """Half a second for each of six snapshots, which no training waits for by chance."""
    monitor = InterpMonitor(
        tmp_path / "run", every_n_steps=2, measures=["train_loss", Slow()], close_timeout=None, max_overhead=1e9
    )
    fit(tmp_path, monitor, max_steps=10)
    run = open_run(tmp_path / "run")
    assert run.timeline is not None and (run.timeline.state, run.timeline.analyzed) == ("final", (6, 6))
    assert monitor.timeline == run.timeline
    assert run.manifest.configuration["close_timeout"] is None
