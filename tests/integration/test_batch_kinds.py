# SPDX-License-Identifier: Apache-2.0
"""Trainings whose batches are of classes of their own: the module reads them in the analyzer as it does in the training."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from batch_kinds import MAKES, collated
from small_training import Classifier, Stream, data, fit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor, open_run
from lightning_interp.core.batch_types import StandIn, StandInTuple
from lightning_interp.posthoc.unfinished_run import analyze_run

OPTIONS: dict[str, Any] = {"every_n_steps": 20, "strict": True, "measures": ["losses"]}


class ReadsAttributes(Classifier):
    """Asks the batch for its parts by name, and for its class."""

    kind = ""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if isinstance(batch, StandIn | StandInTuple):
            raise TypeError
        scores = self.net(batch.x)
        if hasattr(batch, "batch"):  # the mean over the nodes of each graph
            sums = scores.new_zeros(len(batch.y), 3).index_add_(0, batch.batch, scores)
            scores = sums / batch.batch.bincount()[:, None]
        return cross_entropy(scores, batch.y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx), batch_size=len(batch.y))


def loader(kind: str, examples: int, *, stream: bool = False) -> DataLoader[Any]:
    source: Any = Stream(examples) if stream else data(examples)
    return DataLoader(source, batch_size=32, collate_fn=collated(kind))


def expected_loss(kind: str, examples: int) -> float:
    """Loss of the untrained module on all examples at once."""
    torch.manual_seed(0)
    x, y = (torch.stack(part) for part in zip(*data(examples), strict=True))
    return ReadsAttributes().training_step(MAKES[kind](x, y), 0).item()


def trained(root: Path, kind: str, *, stream: bool = False, **options: Any) -> Path:
    torch.manual_seed(0)
    monitor = InterpMonitor(root / "run", **{**OPTIONS, **options})
    train, heldout = loader(kind, 96, stream=stream), loader(kind, 33)
    fit(root, monitor, ReadsAttributes(), train=train, heldout=heldout, max_steps=20)
    return root / "run"


@pytest.mark.parametrize("kind", [kind for kind in MAKES if kind != "frozen"])  # Lightning itself refuses that one
def test_the_loss_of_batches_of_every_kind_is_the_module_s_own(tmp_path: Path, kind: str) -> None:
    run = open_run(trained(tmp_path, kind, background="inline"))
    assert run.records("heldout_loss")[1][0] == pytest.approx(expected_loss(kind, 33), rel=1e-6)
    assert run.manifest.probe["examples"] == {"train": 96, "heldout": 33}
    assert run.manifest.probe["status"] == "ready"


@pytest.mark.parametrize(("kind", "stream"), [("encoding", False), ("graphs", True), ("named", True)])
def test_the_analyzer_process_has_the_batches_of_the_training(tmp_path: Path, kind: str, stream: bool) -> None:
    run = open_run(trained(tmp_path, kind, stream=stream, background="process"))
    assert run.records("train_loss")[1][0] == pytest.approx(expected_loss(kind, 96), rel=1e-6)


def test_an_analysis_afterwards_has_them_where_it_has_the_module(tmp_path: Path) -> None:
    path = trained(tmp_path, "encoding", background="inline")
    (path / "records.jsonl").unlink()
    finished = analyze_run(path, module=ReadsAttributes)
    assert not finished.pending
    assert open_run(path).records("heldout_loss")[1][0] == pytest.approx(expected_loss("encoding", 33), rel=1e-6)


class Reader(L.LightningModule):
    """A language model: its loss is the mean over the tokens that have a label."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 12))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        ids, mask, labels = batch
        return cross_entropy(self.net(ids * mask).transpose(1, 2), labels)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-2)


def texts(examples: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(examples)
    ids = torch.randint(1, 12, (examples, 9), generator=generator)
    mask = (torch.arange(9) < torch.randint(3, 10, (examples, 1), generator=generator)).long()
    asked = (mask == 1) & (torch.rand(ids.shape, generator=generator) < 0.7)
    return TensorDataset(ids, mask, torch.where(asked, ids, -100))


def test_the_loss_of_a_language_model_is_that_of_its_tokens_and_its_null_is_known(tmp_path: Path) -> None:
    heldout = texts(41)
    torch.manual_seed(0)
    expected = Reader().training_step(heldout.tensors, 0).item()
    torch.manual_seed(0)
    options = {**OPTIONS, "measures": "standard", "background": "inline"}
    loaders = [DataLoader(each, batch_size=16) for each in (texts(96), heldout)]
    fit(tmp_path, InterpMonitor(tmp_path / "run", **options), Reader(), train=loaders[0], heldout=loaders[1], max_steps=60)
    run = open_run(tmp_path / "run")
    assert run.records("heldout_loss")[1][0] == pytest.approx(expected, rel=1e-6)
    assert any("entries other than -100 of tensor 3" in notice for notice in run.analysis["notices"])
    assert run.records("shuffled_loss")[1][-1] > run.records("heldout_loss")[1][-1] + 0.3
