# SPDX-License-Identifier: Apache-2.0
"""A number that the training logs decides in place of held-out accuracy, in a real training and read again afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Classifier, data, fit
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from lightning_interp import InterpMonitor, Monitor, Outcome, analyze_run, open_run
from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Timeline

EPOCH, EPOCHS = 3, 40
"""Steps of an epoch, and epochs."""


class Scored(Classifier):
    """Logs as val/f1 what a test wants of each validation, and the F1 score beside it."""

    def __init__(self, score: Any) -> None:
        super().__init__()
        self.score, self.validations = score, -1  # the sanity check is none

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validations += 1
            self.log("val/f1", float(self.score(self.validations)))
            self.log("val/wer", 1.0 - float(self.score(self.validations)))


def late(validation: int) -> float:
    """Unsolved for thirty validations, solved for ten."""
    return 0.3 if validation < 30 else 1.0


def trained(root: Path, outcome: Any, score: Any = late, **options: Any) -> Path:
    monitor = InterpMonitor(
        root / "run", outcome=outcome, every_n_steps=2, background="inline", strict=True, report=False, **options
    )
    fit(root, monitor, Scored(score), max_steps=EPOCH * EPOCHS)
    return root / "run"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training whose outcome is val/f1."""
    return trained(tmp_path_factory.mktemp("outcome"), Outcome("val/f1", null_value=0.2))


@pytest.fixture(scope="module")
def plain_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training without an outcome."""
    return trained(tmp_path_factory.mktemp("plain"), None)


def phases(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Timeline:
    assert main(["phases", *map(str, arguments), "--json"]) == 0
    return Timeline.from_dict(json.loads(capsys.readouterr().out))


def test_the_outcome_decides_when_the_held_out_data_is_solved(run_dir: Path, plain_dir: Path) -> None:
    found, plain = (open_run(path).timeline.evidence["t_gen"] for path in (run_dir, plain_dir))
    assert found == EPOCH * 31
    assert plain is None or plain < found


def test_every_validation_counts_once_the_last_one_too(run_dir: Path) -> None:
    run = open_run(run_dir)
    told = [int(record.values["outcome_step"]) for record in run.all_records if "outcome" in record.values]
    assert sorted(set(told)) == [EPOCH * (epoch + 1) for epoch in range(EPOCHS)]
    assert run.all_records[-1].step == told[-1] == EPOCH * EPOCHS


def test_phases_reads_the_run_as_the_monitor_did(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored, found = open_run(run_dir).timeline, phases(capsys, run_dir)
    assert (found.verdict, found.phases, found.evidence) == (stored.verdict, stored.phases, stored.evidence)


def test_phases_takes_another_outcome_from_what_was_logged(run_dir: Path, plain_dir: Path, capsys: Any) -> None:
    assert phases(capsys, plain_dir, "--outcome", "val/f1").evidence["t_gen"] == EPOCH * 31
    wer = phases(capsys, run_dir, "--outcome", "val/wer", "--outcome-null", "0.8")
    assert "heldout_accuracy" in wer.evidence["series"]["absent"]


def test_phases_says_which_names_were_logged(plain_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phases", str(plain_dir), "--outcome", "val/F2:score", "--outcome-direction", "max"]) == 2
    assert "the training logged no 'val/F2:score'; logged are val/f1" in capsys.readouterr().err


def test_an_outcome_that_never_comes_is_a_notice_with_the_names(tmp_path: Path) -> None:
    run = open_run(trained(tmp_path, "val/F1_score"))
    notice = next(text for text in run.analysis["notices"] if text.startswith("outcome: "))
    assert "val/F1_score is not logged at this step; logged are val/f1, " in notice


def test_a_percentage_that_is_not_said_to_be_one_is_refused(tmp_path: Path) -> None:
    run = open_run(trained(tmp_path, "val/f1", score=lambda validation: 40.0 + validation))
    assert any("val/f1 is 79, over the 1 that counts as perfect" in text for text in run.analysis["notices"])
    assert not any("outcome" in record.values for record in run.all_records)


def test_a_run_that_is_analyzed_afterwards_has_the_outcome(tmp_path: Path, run_dir: Path) -> None:
    copied = trained(tmp_path, Outcome("val/f1", null_value=0.2))
    before = open_run(copied).timeline
    for name in ("records.jsonl", "phases.json", "analysis.json"):
        (copied / name).unlink()
    analyze_run(copied, module=Classifier)
    after = open_run(copied).timeline
    assert (after.verdict, after.phases) == (before.verdict, before.phases)


def test_a_loop_of_ones_own_gives_the_outcome_at_its_validations(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    batches = list(DataLoader(data(), batch_size=32))
    monitor = Monitor(tmp_path / "run", outcome="val/f1", every_n_steps=4, background="inline", report=False)
    with monitor.watch(module, train_data=DataLoader(data(), batch_size=32), max_steps=20):
        for step in range(1, 21):
            x, y = batches[step % len(batches)]
            optimizer.zero_grad()
            cross_entropy(module(x), y).backward()
            optimizer.step()
            monitor.step(**({"val/f1": torch.tensor(step / 20)} if step % 5 == 0 else {}))
    run = open_run(tmp_path / "run")
    told = {record.step: (record.values.get("outcome"), record.values.get("outcome_step")) for record in run.all_records}
    assert told == {
        0: (None, None),
        4: (None, None),
        8: (0.25, 5.0),
        12: (0.5, 10.0),
        16: (0.75, 15.0),
        20: (1.0, 20.0),
    }
