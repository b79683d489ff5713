# SPDX-License-Identifier: Apache-2.0
"""Every record selected for logging arrives at its own step, read back from the loggers' own files."""

import csv
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from noisy_training import NoisyAddition, P, loaders, quiet_trainer
from wandb_records import SETTINGS, WandbRecords

from lightning_interp import TCA, CyclicGroupTask, InterpMonitor, PhaseChange, Run, open_run
from lightning_interp.dashboards.figures import panels
from lightning_interp.dashboards.loggers.workspace import build_workspace, workspace_json
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.store.delivered import read_delivered

FLOAT32_ROUNDING = 1e-6
"""TensorBoard stores float32: relative rounding 6e-8, with room for values near zero."""


class Trained:
    """One training with every logger, shared by the tests of this file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[PhaseChange] = []
        self.wandb = WandbLogger(project="test", save_dir=root, offline=True, settings=SETTINGS)
        tca = TCA(ranks="1:2", every=5, restarts=2)
        monitor = InterpMonitor(root / "run", task=CyclicGroupTask(P, "add"), every_n_steps=10, tca=tca)
        monitor.on_phase("fitting", self.changes.append)
        csv_logger, tensorboard = CSVLogger(root / "csv"), TensorBoardLogger(root / "tb")
        torch.manual_seed(0)
        trainer = quiet_trainer(root, [monitor], max_steps=120, logger=[self.wandb, csv_logger, tensorboard])
        trainer.fit(NoisyAddition(), *loaders())
        self.metrics = dict(trainer.callback_metrics)
        self.wandb.experiment.finish()
        self.wandb_records = WandbRecords(Path(self.wandb.experiment.settings.sync_file))
        self.csv_file = Path(csv_logger.log_dir) / "metrics.csv"
        self.tensorboard_dir = Path(tensorboard.log_dir)
        self.run: Run = open_run(root / "run")
        delivered = read_delivered(self.run.path)
        assert delivered is not None
        self.logged_names = [name for name in self.run.series if name in delivered.names]

    def expected(self) -> dict[int, dict[str, float]]:
        """Selected values by step, from records.jsonl itself: a component born late may have no key among the loggers'."""
        chosen = set(self.logged_names)
        return {record.step: {k: v for k, v in record.values.items() if k in chosen} for record in self.run.all_records}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("loggers")
        settings = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "LIGHTNING_INTERP_REPORT": "1"}
        for name, value in {**settings, "WANDB_DATA_DIR": str(root / "wandb_data")}.items():
            patch.setenv(name, value)
        patch.setattr("lightning_interp.dashboards.loggers.live_figure.FIRST_S", 0.0)
        yield Trained(root)


def test_records_cover_every_scheduled_step(trained: Trained) -> None:
    assert list(trained.expected()) == list(range(0, 121, 10))


def test_wandb_file_holds_every_record_at_its_own_step(trained: Trained) -> None:
    rows = trained.wandb_records.rows
    assert [int(row["interp/step"]) for row in rows] == list(trained.expected()), "each once, in order"
    for row, values in zip(rows, trained.expected().values(), strict=True):
        assert {name: row[f"interp/{name}"] for name in values} == values


def test_wandb_rows_all_have_the_same_keys(trained: Trained) -> None:
    keys = {frozenset(key for key in row if key.startswith("interp/")) for row in trained.wandb_records.rows}
    assert len(keys) == 1
    assert len(next(iter(keys))) <= 40


def test_wandb_has_every_figure_at_the_last_step(trained: Trained) -> None:
    drawable = {f"interp/figures/{panel.key}" for panel in panels(view_run(trained.run.path))}
    found = dict(trained.wandb_records.figures)
    assert {key for key in found if key.startswith("interp/figures/")} == drawable
    assert {found[key] for key in drawable} == {120}
    assert "interp/figures/components-mlp-act-0" in drawable


def test_wandb_figures_stand_alone(trained: Trained) -> None:
    figure = trained.wandb_records.plotly("interp/figures/losses")
    assert {"train loss", "held-out loss"} <= {trace.get("name") for trace in figure["data"]}
    assert "Losses and phases" in figure["layout"]["title"]["text"]


def test_wandb_timeline_comes_with_steps_of_records_and_last_as_it_is_at_the_end(trained: Trained) -> None:
    steps = [step for key, step in trained.wandb_records.figures if key == "interp/timeline"]
    assert steps[-1] == 120 and set(steps) <= set(trained.expected())
    assert len(trained.wandb_records.plotly("interp/timeline")["data"][0]["x"]) == len(trained.expected())


def test_csv_logger_holds_every_record_at_its_own_step(trained: Trained) -> None:
    with trained.csv_file.open() as handle:
        rows = {int(row["step"]): row for row in csv.DictReader(handle) if row["interp/step"]}
    assert sorted(rows) == sorted(trained.expected())
    for step, values in trained.expected().items():
        assert {name: float(rows[step][f"interp/{name}"]) for name in values} == values


def test_tensorboard_holds_every_record_at_its_own_step(trained: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.tensorboard_dir), size_guidance={"scalars": 0}).Reload()
    for name in trained.logged_names:
        points = {event.step: event.value for event in events.Scalars(f"interp/{name}")}
        steps, values = trained.run.records(name)
        for step, value in zip(steps, values, strict=True):
            assert math.isclose(points[step], value, rel_tol=FLOAT32_ROUNDING, abs_tol=1e-30), (name, step)


def test_callback_metrics_have_the_latest_results(trained: Trained) -> None:
    assert {"interp/train_loss", "interp/step", "interp/intensity_memorization"} <= set(trained.metrics)


def test_on_phase_is_called_when_a_phase_begins(trained: Trained) -> None:
    assert [(change.name, change.kind) for change in trained.changes] == [("fitting", "began")]


@pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces 0.4, when it is imported
def test_workspace_view_shows_what_a_real_run_logged(trained: Trained) -> None:
    view = workspace_json(build_workspace("team", "test", name="phases"))
    panels = [p["config"] for s in view["spec"]["section"]["panelBankConfig"]["sections"] for p in s["panels"]]
    shown = {key for panel in panels for key in panel.get("metrics", [])}
    (pattern,) = {panel["metricRegex"] for panel in panels if panel.get("useMetricRegex")}
    logged = {key for key in trained.wandb_records.rows[0] if key.startswith("interp/") and key != "interp/step"}
    assert {key for key in logged if not re.match(pattern, key)} == shown
    assert {key for key in logged if re.match(pattern, key)} == {key for key in logged if "/component/" in key} != set()
    figures = {key for panel in panels for key in panel.get("mediaKeys", [])}
    assert figures <= dict(trained.wandb_records.figures).keys()


def test_wandb_summary_has_verdict_boundaries_and_what_a_sweep_minimizes(trained: Trained) -> None:
    summary, timeline = trained.wandb_records.summary, trained.run.timeline
    assert timeline is not None and summary["interp/verdict"] == timeline.verdict
    assert {f"interp/{phase.name}_start": phase.start for phase in timeline.phases}.items() <= summary.items()
    assert (timeline.grokking_step, summary["interp/grokking_step_bound"]) == (None, 120), "a bound where it has not grokked"


def test_wandb_has_an_alert_for_a_phase(trained: Trained) -> None:
    assert [text for text in trained.wandb_records.alerts if "Phase fitting began" in text]


def test_wandb_artifact_has_report_results_and_components(trained: Trained) -> None:
    (artifact,) = trained.wandb_records.artifacts
    assert (artifact["name"], artifact["type"]) == (f"interp-{trained.run.manifest.run_id}", "interp-report")
    components = {f"components/{path.name}" for path in (trained.run.path / "components").iterdir()}
    assert set(artifact["files"]) == {"report.html", "phases.json", "records.jsonl", "run.json", *components}
    assert components
    for name, copy in artifact["files"].items():
        assert copy.read_bytes() == (trained.run.path / name).read_bytes()
    assert json.loads(artifact["files"]["run.json"].read_text())["status"] == "finished"


def test_delivered_file_names_the_wandb_run_and_how_far_it_is_supplied(trained: Trained) -> None:
    delivered = read_delivered(trained.run.path)
    assert delivered is not None and delivered.step == 120
    (target,) = delivered.wandb
    run = trained.wandb.experiment
    assert (target.project, target.run_id, target.name, target.mode) == ("test", run.id, run.name, "offline")
    assert (target.step, target.outcome_step, target.url) == (120, 120, None)
    assert target.read_bytes == (trained.run.path / "records.jsonl").stat().st_size
    assert Path(target.files_dir or "").is_dir()


def test_tensorboard_has_layout_images_and_words(trained: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = EventAccumulator(str(trained.tensorboard_dir)).Reload().Tags()
    assert "custom_scalars__config__" in tags["tensors"] and "interp/verdict/text_summary" in tags["tensors"]
    assert tags["images"] == [f"interp/figures/{key}" for key in ("losses", "timeline", "trajectory", "accuracies")]
