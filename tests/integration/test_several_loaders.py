# SPDX-License-Identifier: Apache-2.0
"""Several validation loaders: the first is judged as if it were alone, each of the others has a timeline of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Classifier, Stream, data, fit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor, Monitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.report import write_report

OPTIONS: dict[str, Any] = {"every_n_steps": 4, "background": "inline", "strict": True}
KNOWS_NOTHING = {"memorization_only", "overfitting", "partial_generalization"}


class Wide(Classifier):
    """Fits the small training set within a few hundred steps; validates on loaders by their place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 3))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)


class OpaqueLoss(Wide):
    """Its loss is known to its `validation_step` alone, and depends on the loader."""

    def forward(self, x: Tensor, scale: float) -> Tensor:  # type: ignore[override]
        return self.net(x) * scale

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0], 1.0), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", cross_entropy(self(batch[0], 1.0), batch[1]) + 100.0 * dataloader_idx)


def clear(examples: int, *, shuffled: bool = False) -> TensorDataset:
    """Three classes that a network learns at once; or the same with answers exchanged."""
    x = torch.randn(examples, 10, generator=torch.Generator().manual_seed(examples))
    answers = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    x = x + 6.0 * torch.nn.functional.one_hot(answers, 10)
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, answers[order] if shuffled else answers)


def loaders(**further: TensorDataset) -> dict[str, DataLoader[Any]]:
    return {name: DataLoader(each, batch_size=50) for name, each in further.items()}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    heldout = loaders(same=clear(300), exchanged=clear(299, shuffled=True))
    train = DataLoader(clear(96), batch_size=32)
    fit(root, InterpMonitor(root / "run", **OPTIONS), Wide(), train=train, heldout=heldout, max_steps=600)
    return root / "run"


def test_verdicts_differ_where_what_was_learned_does_not_hold(run_dir: Path) -> None:
    timeline = open_run(run_dir).timeline
    assert timeline.verdict == "early_generalization"
    assert list(timeline.loaders) == ["exchanged"]
    assert timeline.loaders["exchanged"].verdict in KNOWS_NOTHING


def test_the_first_loader_has_the_numbers_it_has_alone(run_dir: Path, tmp_path: Path) -> None:
    train = DataLoader(clear(96), batch_size=32)
    fit(
        tmp_path,
        InterpMonitor(tmp_path / "run", **OPTIONS),
        Wide(),
        train=train,
        heldout=loaders(same=clear(300)),
        max_steps=600,
    )
    alone, beside = open_run(tmp_path / "run"), open_run(run_dir)
    assert alone.series == {name: each for name, each in beside.series.items() if not name.endswith("/exchanged")}
    assert alone.timeline.to_dict() == {key: each for key, each in beside.timeline.to_dict().items() if key != "loaders"}


def test_the_probe_keeps_every_loader(run_dir: Path) -> None:
    run = open_run(run_dir)
    assert run.manifest.probe["examples"] == {"train": 96, "heldout": 300, "heldout/exchanged": 299}
    assert torch.equal(run.probe.loaders["exchanged"].batches[0][1], clear(299, shuffled=True).tensors[1][:50])


def test_phases_status_and_report_have_a_line_for_each(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = open_run(run_dir).timeline.loaders["exchanged"].verdict.replace("_", " ")
    for command in ("phases", "status"):
        assert main([command, str(run_dir)]) == 0
        assert f"exchanged: {said}" in " ".join(capsys.readouterr().out.split())
    assert f"<p>exchanged: {said}" in write_report([run_dir]).read_text(encoding="utf-8")


def test_phases_finds_the_timelines_that_the_monitor_wrote(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phases", str(run_dir), "--json"]) == 0
    found = Timeline.from_dict(json.loads(capsys.readouterr().out))
    stored = json.loads((run_dir / "phases.json").read_text(encoding="utf-8"))["loaders"]["exchanged"]
    assert found.to_dict()["loaders"]["exchanged"] == stored
    assert "intensities" not in stored


def test_a_loss_of_the_modules_own_is_asked_for_each_loader(tmp_path: Path) -> None:
    heldout = [DataLoader(data(40), batch_size=20), DataLoader(data(40), batch_size=20)]
    fit(tmp_path, InterpMonitor(tmp_path / "run", **OPTIONS), OpaqueLoss(), heldout=heldout, max_steps=8)
    series = open_run(tmp_path / "run").series
    (_, first), (_, second) = series["heldout_loss"], series["heldout_loss/dataloader_idx_1"]
    assert [b - a for a, b in zip(first, second, strict=True)] == pytest.approx([100.0] * 3)


def test_a_loader_that_cannot_be_followed_costs_itself_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Trusting(Wide):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            if dataloader_idx == 0:
                super().validation_step(batch, batch_idx)

    heldout = {"same": DataLoader(data(40), batch_size=20), "stream": DataLoader(Stream(40), batch_size=20)}
    heldout["narrow"] = DataLoader(TensorDataset(torch.zeros(8, 3), torch.zeros(8).long()), batch_size=4)
    fit(tmp_path, InterpMonitor(tmp_path / "run", **OPTIONS), Trusting(), heldout=heldout, max_steps=8)
    run = open_run(tmp_path / "run")
    assert "validation loader stream is not followed" in caplog.text
    assert any(text.startswith("no outputs on the heldout/narrow examples") for text in run.analysis["notices"])
    assert {name for name in run.series if "/" in name} == set() and run.timeline.loaders == {}
    assert len(run.records("heldout_loss")[0]) == 3


def test_a_loop_of_ones_own_may_give_several(tmp_path: Path) -> None:
    module, monitor = Wide(), Monitor(tmp_path / "run", **OPTIONS)
    heldout = loaders(same=data(40), other=data(30))
    with monitor.watch(module, train_data=DataLoader(data(), batch_size=32), heldout_data=heldout):
        monitor.step(1)
    assert set(open_run(tmp_path / "run").probe.loaders) == {"other"}
