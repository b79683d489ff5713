# SPDX-License-Identifier: Apache-2.0
"""What is looked at in networks built as public code builds them: copies stay out, tokens may come first."""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from noisy_training import quiet_trainer
from small_training import Classifier, data, fit
from structures import TokensFirst
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor, Run, analyze_checkpoints, open_run


class SlowTwin(Classifier):
    """Keeps a copy of its network that follows it slowly, as momentum encoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.net_momentum = copy.deepcopy(self.net).requires_grad_(False)

    def on_train_batch_end(self, *_: Any) -> None:
        for slow, fast in zip(self.net_momentum.parameters(), self.net.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.1)


class TokenClassifier(Classifier):
    """A decoder that works on [token, example, unit]; one nonlinearity is reused, one is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TokensFirst(1)
        self.act, self.unused = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.act(self.net(x)))


@pytest.fixture(scope="module")
def with_twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, str]:
    """Folder, run and console of a training with a momentum copy and checkpoints."""
    root, lines = tmp_path_factory.mktemp("twin"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("lightning_interp").addHandler(handler)
    keep = ModelCheckpoint(root / "checkpoints", every_n_train_steps=5, save_top_k=-1, filename="{step}")
    monitor = InterpMonitor(root / "run", every_n_steps=5, background="inline")
    trainer = quiet_trainer(root, [monitor, keep], max_steps=10, enable_checkpointing=True)
    trainer.fit(SlowTwin(), DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20))
    logging.getLogger("lightning_interp").removeHandler(handler)
    return root, open_run(root / "run"), "\n".join(lines)


def norm_of_net(run: Run, step: int) -> float:
    weights = run.snapshot(step).weights
    return (
        torch.cat([tensor.double().flatten() for name, tensor in weights.items() if name.startswith("net.")]).norm().item()
    )


def test_weight_norm_is_that_of_the_trained_network(with_twin: tuple[Path, Run, str]) -> None:
    _, run, _ = with_twin
    steps, norms = run.records("weight_norm")
    assert norms.tolist() == pytest.approx([norm_of_net(run, step) for step in steps.tolist()], rel=1e-12)


def test_copies_are_neither_layers_nor_parameters_but_in_snapshots(with_twin: tuple[Path, Run, str]) -> None:
    _, run, _ = with_twin
    assert not [name for name in (*run.manifest.layers, *run.manifest.parameters) if "momentum" in name]
    assert "net_momentum.0.weight" in run.snapshot(0).weights


def test_start_lines_tell_roles_and_what_is_left_out(with_twin: tuple[Path, Run, str]) -> None:
    console = with_twin[2]
    assert "layers: activation net.1" in console
    assert "left out as copies of other parts, which no optimizer trains: net_momentum;" in console


@pytest.mark.parametrize("module", [SlowTwin, None])
def test_checkpoints_are_measured_without_the_copy_too(
    with_twin: tuple[Path, Run, str], tmp_path: Path, module: type[SlowTwin] | None
) -> None:
    root, live, _ = with_twin
    after = analyze_checkpoints(root / "checkpoints", out=tmp_path / "out", module=module, device="cpu")
    assert after.run.manifest.parameters == live.manifest.parameters
    steps, norms = after.run.records("weight_norm")
    assert norms.tolist() == pytest.approx([norm_of_net(live, step) for step in steps.tolist()], rel=1e-12)
    assert any("left out as copies of other parts" in line for line in after.notices)


def test_parameters_the_user_names_take_copies_in(tmp_path: Path) -> None:
    fit(tmp_path, InterpMonitor(tmp_path / "run", parameters=["*"], background="inline"), SlowTwin(), max_steps=1)
    assert "net_momentum.0.weight" in open_run(tmp_path / "run").manifest.parameters


def test_layers_with_tokens_first_are_kept_and_notices_tell_why_others_are_not(tmp_path: Path) -> None:
    tokens = torch.randint(7, (96, 5), generator=torch.Generator().manual_seed(0))
    examples = TensorDataset(tokens, data().tensors[1])
    monitor = InterpMonitor(
        tmp_path / "run", layers=["net.transformer.h.0", "net.transformer.wpe", "act", "unused"], background="inline"
    )
    loader = DataLoader(examples, batch_size=32)
    fit(tmp_path, monitor, TokenClassifier(), train=loader, heldout=loader, max_steps=2)
    run = open_run(tmp_path / "run")
    assert run.activations("net.transformer.h.0").shape[1:] == (192, 4)
    (missing,) = [line for line in run.analysis["notices"] if "no output per example" in line]
    assert "from unused: it is not called in the forward" in missing
    assert "from net.transformer.wpe: it gives a tensor of shape (5, 4), in which no axis is that of the" in missing
    assert any("called more than once for a batch, the first call is kept: act;" in line for line in run.analysis["notices"])
