# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of strangers: nothing in them is executed, and ordinary ones are read whatever their hyperparameters are."""

import functools
import json
import os
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

from lightning_interp import analyze_checkpoints
from lightning_interp.core.errors import CheckpointError


class Opens:
    """Would create a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self._marker}",)


def weights() -> dict[str, torch.Tensor]:
    return dict(nn.Linear(3, 2).state_dict())


def beside_weights(evil: Opens) -> dict:
    return {"state_dict": weights(), "global_step": 1, "hyper_parameters": {"evil": evil}, "callbacks": [evil, {"x": evil}]}


def among_weights(evil: Opens) -> dict:
    return {"state_dict": {**weights(), "evil": evil}, "global_step": 1}


def as_step(evil: Opens) -> dict:
    return {"state_dict": weights(), "global_step": evil, "epoch": evil}


def as_key(evil: Opens) -> dict:
    return {"state_dict": weights(), "global_step": 1, (evil, 1): 2}


def alone(evil: Opens) -> Opens:
    return evil


@pytest.mark.parametrize("container", ["step=1.ckpt", "step1.pt", "step1.pth", "step1.bin", "shards", "hugging face"])
@pytest.mark.parametrize("where", [beside_weights, among_weights, as_step, as_key, alone], ids=lambda where: where.__name__)
def test_nothing_in_a_checkpoint_is_executed(tmp_path, container, where):
    marker, source = tmp_path / "marker", tmp_path / "source"
    source.mkdir()
    content = where(Opens(marker))
    if container == "shards":
        torch.save(content, source / "part-1.bin")
        index = {"weight_map": {"weight": "part-1.bin", "bias": "part-1.bin"}}
        (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    elif container == "hugging face":
        (source / "checkpoint-1").mkdir()
        torch.save(content, source / "checkpoint-1" / "pytorch_model.bin")
    else:
        torch.save(content, source / container)
    try:
        found = analyze_checkpoints(source, out=tmp_path / "out", step_pattern=r"(\d)")
    except CheckpointError as err:
        assert where in (among_weights, alone, as_key) or container == "shards", err
    else:
        assert found.observed == (1,) and where is not among_weights
    assert not marker.exists()
    torch.load(
        next(source.rglob("*1*.*")) if container != "hugging face" else next(source.rglob("*.bin")), weights_only=False
    )
    assert marker.exists()  # the file was dangerous


class Recipe(L.LightningModule):
    """Hyperparameters of every kind people save."""

    def __init__(
        self, data: Path, activation: type, schedule: functools.partial, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2))

    def training_step(self, batch, index):
        return self.net(batch[0]).sum()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())


def test_an_ordinary_lightning_checkpoint_is_read(tmp_path):
    schedule = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3)
    module = Recipe(Path("/data"), nn.GELU, schedule, torch.device("cpu"), torch.bfloat16)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 3)), batch_size=2))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "last.ckpt", weights_only=True)
    found = analyze_checkpoints(tmp_path / "last.ckpt", out=tmp_path / "out")
    assert found.observed == (2,) and found.findings == ()
    norm = torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).double().norm().item()
    assert found.run.records("weight_norm")[1].tolist() == pytest.approx([norm], rel=1e-12)
