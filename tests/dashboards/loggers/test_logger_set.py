# SPDX-License-Identifier: Apache-2.0
"""How loggers are recognised, and what one that fails costs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compared_runs import timeline

from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Alarm, Phase, State, Timeline
from lightning_interp.dashboards.loggers.logger_adapter import LoggerAdapter
from lightning_interp.dashboards.loggers.logger_set import LoggerSet, board_of
from lightning_interp.dashboards.loggers.mlflow import MLflowAdapter, metric_name
from lightning_interp.dashboards.loggers.outcome import Outcome, summary_fields
from lightning_interp.dashboards.loggers.rows import Row, names_of, row_keys, row_of
from lightning_interp.dashboards.loggers.sections import sections_of
from lightning_interp.dashboards.loggers.tensorboard import TensorBoardAdapter, outcome_text, scalar_layout
from lightning_interp.measures.registry import MAX_SCALARS
from lightning_interp.phases.verdict_state import in_state


class Rows:
    """A logger that keeps what it is given, or refuses it."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.steps: list[int | None] = []
        self.refuses = refuses

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.refuses:
            raise ConnectionError("gone")
        self.steps.append(step)


class MLFlowLogger(Rows):
    """Known by its name; what it is a client of is not there."""


class TensorBoardLogger(Rows):
    """Known by its name, without a writer."""


class MyTensorBoardLogger(TensorBoardLogger):
    """A subclass, as people write them."""


@pytest.mark.parametrize(
    ("logger", "kind"),
    [(Rows(), LoggerAdapter), (MLFlowLogger(), MLflowAdapter), (MyTensorBoardLogger(), TensorBoardAdapter)],
)
def test_board_of_knows_a_logger_by_the_name_of_its_class(logger: Rows, kind: type[LoggerAdapter]) -> None:
    assert type(board_of(logger)) is kind


def test_a_logger_that_refuses_rows_costs_one_warning_and_nothing_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    good = Rows()
    loggers = LoggerSet([Rows(refuses=True), good])
    for step in (0, 10, 20):
        loggers.log(Row(step, {"interp/step": float(step)}))
    loggers.summarize(timeline(), 20)
    assert good.steps == [0, 10, 20]
    assert [record.message for record in caplog.records] == [
        "warning: Rows did not take a result (ConnectionError: gone); training goes on"
    ]


def test_a_logger_without_its_client_takes_rows_and_says_once_what_it_cannot_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = TensorBoardLogger()
    loggers = LoggerSet([logger], ["interp/train_loss"])
    loggers.log(Row(5, {"interp/train_loss": 1.0}))
    for _ in range(2):
        loggers.summarize(timeline(), 5)
    assert logger.steps == [5]
    told = [record.message.split(" (")[0] for record in caplog.records]
    assert told == [f"warning: TensorBoardLogger did not take {what}" for what in ("its set-up", "the summary")]


def test_loggers_are_imported_without_any_dashboard() -> None:
    code = (
        "import sys, lightning_interp.dashboards.loggers.logger_set; "
        "print([m for m in ('wandb', 'mlflow', 'tensorboard', 'tensorboardX', 'plotly', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_row_of_has_the_keys_of_row_keys_and_gaps_where_there_is_no_value() -> None:
    row = row_of(Record(10, 0, {"train_loss": 1.0}), timeline(), ["train_loss", "heldout_loss"])
    assert tuple(row.metrics) == row_keys(["train_loss", "heldout_loss"])
    assert (
        row.metrics["interp/train_loss"] == 1.0 and row.metrics["interp/heldout_loss"] != row.metrics["interp/heldout_loss"]
    )
    assert (row.metrics["interp/step"], row.metrics["interp/phase"]) == (10.0, 1.0)


def test_names_of_takes_as_many_as_a_row_has_room_for() -> None:
    record = Record(0, 0, {f"measure_{number}": 1.0 for number in range(100)})
    assert len(row_keys(names_of([record]))) == MAX_SCALARS


def test_metric_name_is_one_that_mlflow_takes() -> None:
    assert metric_name("interp/component/a b.c#1/<x>/0") == "interp/component/a b.c_1/_x_/0"


def test_sections_leave_no_name_out_and_none_in_twice() -> None:
    names = ["train_loss", "phase", "component/a/0", "component/a/1", "component/b.c/0", "own", "hoyer"]
    charts = [name for section in sections_of(names) for curves in section.charts.values() for name in curves]
    assert sorted(charts) == sorted(names)


def test_scalar_layout_has_the_logger_s_prefix_and_matches_whole_names() -> None:
    layout = scalar_layout(["component/a.b/0"], prefix="run-")
    assert layout == {"components": {"a.b": ["Multiline", [r"run\-interp/component/a\.b/0$"]]}}


@pytest.mark.parametrize(
    ("grokking_step", "expected"),
    [(4000, {"grokking_step": 4000, "grokking_step_bound": 4000}), (None, {"grokking_step_bound": 8000})],
)
def test_summary_fields_always_have_what_a_sweep_minimizes(grokking_step: int | None, expected: dict[str, int]) -> None:
    fields = summary_fields(timeline(grokking_step=grokking_step), 8000)
    assert {name.removeprefix("interp/"): value for name, value in fields.items() if "grokking_step" in name} == expected
    assert fields["interp/fitting_start"] == 10 and fields["interp/fitting_end"] == 100
    assert "interp/converged_end" not in fields


@pytest.mark.parametrize(("state", "analyzed"), [("provisional", (9, 9)), ("pending", (10, 64))])
def test_a_verdict_that_can_change_is_in_no_summary(tmp_path: Path, state: State, analyzed: tuple[int, int]) -> None:
    """A bound that grows with what is analyzed would be least for the slowest analyzer."""
    unfinished = in_state(timeline(grokking_step=None), state, analyzed)
    assert summary_fields(unfinished, 8000) == {}
    assert Outcome(tmp_path, "id", unfinished, 8000).facts == {"last_step": 8000, "state": state}


def test_summary_fields_have_the_step_of_the_early_warning() -> None:
    alarms = (Alarm("phase_began", 300), Alarm("early_warning", 2500))
    warned = replace(timeline(grokking_step=4000), alarms=alarms)
    assert summary_fields(warned, 8000)["interp/early_warning_step"] == 2500
    assert "interp/early_warning_step" not in summary_fields(timeline(grokking_step=4000), 8000)


def test_outcome_text_is_a_table_whatever_a_run_is_named() -> None:
    text = outcome_text(Timeline("<b>|", (Phase("a|<script>", 0, None, 0.5, (0, 0)),)), 1200)
    assert "&lt;script&gt;" in text and "<script>" not in text and text.count("|") == 15
    assert text.endswith("Held-out accuracy of .95: not reached by step 1,200.")


def test_outcome_names_its_files_for_any_dashboard(tmp_path: Path) -> None:
    outcome = Outcome(tmp_path, "../<id>", None, 5)
    assert outcome.artifact_name == "interp-____id_" and outcome.facts == {"last_step": 5, "verdict": "unknown"}
    assert list(outcome.files()) == []


def test_a_figure_that_cannot_be_drawn_costs_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from lightning_interp.dashboards.figures import Panel

    def fail() -> Any:
        raise ZeroDivisionError("by a stranger's number")

    outcome = Outcome(tmp_path, "abc", None, 5)
    panel = Panel("bad", "Bad", "", "phases", fail)
    object.__setattr__(outcome, "_view", None)
    assert outcome._draw(panel) is None and outcome._draw(panel) is None
    assert [record.message for record in caplog.records] == [
        "warning: the figure 'Bad' could not be drawn (ZeroDivisionError: by a stranger's number)"
    ]
