# SPDX-License-Identifier: Apache-2.0
"""Which weights of a checkpoint are read where there are averaged ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from noisy_training import quiet_trainer
from small_training import Classifier, data
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from lightning_interp import analyze_checkpoints
from lightning_interp.cli.main import main
from lightning_interp.core.errors import CheckpointError, ConfigError
from lightning_interp.posthoc.checkpoint_survey import Survey
from lightning_interp.sources.checkpoints.reading import read_checkpoint


def train(root: Path, callback: Any, module: Classifier | None = None) -> Path:
    """Folder of the checkpoints of a training, one for each epoch."""
    torch.manual_seed(0)
    folder = root / "checkpoints"
    saved = ModelCheckpoint(folder, save_top_k=-1, save_on_train_epoch_end=True)
    trainer = quiet_trainer(root, [callback, saved], max_epochs=3, enable_checkpointing=True)
    trainer.fit(module or Classifier(), *(DataLoader(data(), batch_size=32) for _ in range(2)))
    return folder


def read(source: Path, **options: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of the last checkpoint, and what is said of averages."""
    survey = Survey.of([str(source)], **options)
    texts = [finding.text for finding in survey.findings if finding.kind == "averages"]
    return read_checkpoint(survey.kept[-1].found), texts


def is_same(weights: dict[str, Tensor], state: Any) -> bool:
    return weights.keys() == state.keys() and all(torch.equal(weights[name], state[name]) for name in state)


def test_trained_weights_are_read_beside_lightnings_averages(tmp_path: Path) -> None:
    folder = train(tmp_path, EMAWeightAveraging(decay=0.9))
    saved = torch.load(folder / "epoch=2-step=9.ckpt", weights_only=True)
    weights, said = read(folder)
    assert is_same(weights, saved["current_model_state"])
    where = "trained weights under `current_model_state`, averages under `state_dict`"
    assert said == [f"{where}: the trained weights are read"]
    weights, said = read(folder, averaged=True)
    assert is_same(weights, saved["state_dict"])
    assert said == [f"{where}: the averages are read"]


@pytest.mark.parametrize(
    ("trained", "averages"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema")]
)
def test_averages_beside_the_trained_weights_are_told_and_can_be_had(tmp_path: Path, trained: str, averages: str) -> None:
    one, other = nn.Linear(3, 2).state_dict(), nn.Linear(3, 2).state_dict()
    wrapped = {f"module.{name}": value for name, value in one.items()}
    torch.save({trained: wrapped, averages: other, "epoch": 2}, tmp_path / "step=5.pth")
    weights, said = read(tmp_path)
    assert is_same(weights, one)
    assert said == [f"trained weights under `{trained}`, averages under `{averages}`: the trained weights are read"]
    assert is_same(read(tmp_path, averaged=True)[0], other)


def test_what_is_no_second_copy_of_the_network_is_no_average(tmp_path: Path) -> None:
    state = nn.Linear(3, 2).state_dict()
    torch.save({"model": state, "ema": {"decay": torch.ones(1)}}, tmp_path / "step=5.pth")
    weights, said = read(tmp_path)
    assert is_same(weights, state) and said == []
    survey = Survey.of([str(tmp_path)], averaged=True)
    assert [(finding.kind, finding.left_out) for finding in survey.findings] == [("not_read", True)]
    with pytest.raises(CheckpointError, match="averages are asked for, and none are known to be in it"):
        survey.require_some()


@pytest.mark.parametrize("key", [None, "state_dict"])
def test_a_wrapper_that_averages_is_told_and_fits_the_module(tmp_path: Path, key: str | None) -> None:
    averaged = AveragedModel(nn.Linear(3, 2))
    state = averaged.state_dict()
    torch.save(state if key is None else {key: state}, tmp_path / "step=5.pt")
    weights, said = read(tmp_path)
    assert is_same(weights, averaged.module.state_dict())
    assert said == ["averages (torch's AveragedModel), and nothing else, are in it"]


def test_what_may_be_averages_of_swa_is_told(tmp_path: Path) -> None:
    """The epoch that SWA adds for BatchNorm is of averages; those before it are of the training."""
    module = Classifier()
    module.net.insert(1, nn.BatchNorm1d(16))
    folder = train(tmp_path, StochasticWeightAveraging(1e-2, swa_epoch_start=2), module)
    survey = Survey.of([str(folder)])
    assert [bool(each.header.choice) for each in survey.kept] == [False, False, False, True]
    assert survey.kept[-1].header.choice.endswith("its one set of weights may be averages, nothing in it tells")


def test_the_command_says_which_weights_it_reads_and_keeps_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    folder = train(tmp_path, EMAWeightAveraging(decay=0.9))
    norms = []
    for flag in ([], ["--averaged"]):
        out = str(tmp_path / f"out{len(flag)}")
        assert main(["analyze", str(folder), *flag, "--device", "cpu", "--out", out, "--measures", "norms"]) == 0
        told = capsys.readouterr().err
        which = "averages" if flag else "trained weights"
        assert "epoch=0-step=3.ckpt and 2 more: trained weights under `current_model_state`, " in told
        assert f"averages under `state_dict`: the {which} are read" in told
        analysis = analyze_checkpoints(folder, out=out, averaged=bool(flag), measures="norms")
        assert analysis.observed == ()  # of the same weights: gone on with
        norms.append(analysis.run.records("weight_norm")[1][-1])
    saved = torch.load(folder / "epoch=2-step=9.ckpt", weights_only=True)
    for norm, key in zip(norms, ("current_model_state", "state_dict"), strict=True):
        assert norm == pytest.approx(sum(value.double().square().sum() for value in saved[key].values()).sqrt().item())
    with pytest.raises(ConfigError, match="was begun with averaged weights"):
        analyze_checkpoints(folder, out=out, measures="norms")
