# SPDX-License-Identifier: Apache-2.0
"""More ways people train: precisions, compiled modules, part of the data, validation between fits, notebooks."""

import copy
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from noisy_training import quiet_trainer
from small_training import Classifier, data, fit
from torch.utils.data import DataLoader

from lightning_interp import InterpMonitor, Run, open_run


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)


def inline(
    dirpath: Path | str | None = None, every_n_steps: int = 5, kind: type[InterpMonitor] = InterpMonitor
) -> InterpMonitor:
    """A monitor without an analyzer process: what is looked at here does not depend on where the analyzer runs."""
    return kind(dirpath, every_n_steps=every_n_steps, background="inline")


def losses_at(run: Run) -> list[int]:
    """Steps with a held-out loss."""
    return run.records("heldout_loss")[0].tolist()


def content_of(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


class Half(Classifier):
    """In a precision of 16 bits the user's own step moves its batch along."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.to(self.net[0].weight.dtype)).float()  # type: ignore[arg-type]


InPrecision = tuple[Run, dict[str, torch.Tensor]]
"""A run, and the weights that its training ended with."""


@pytest.fixture(scope="module", params=["bf16-mixed", "bf16-true", "16-true", "64-true"])
def in_precision(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> InPrecision:
    root = tmp_path_factory.mktemp("precision")
    trainer = fit(root, inline(root / "run", 4), Half(), max_steps=8, precision=request.param)
    return open_run(root / "run"), trainer.lightning_module.state_dict()


def test_precisions_keep_their_own_dtype_in_snapshots(in_precision: InPrecision) -> None:
    run, state = in_precision
    assert run.steps == [0, 4, 8]
    assert {name: tensor.dtype for name, tensor in run.snapshot(8).weights.items()} == {n: t.dtype for n, t in state.items()}
    assert all(tensor.isfinite().all() for tensor in run.snapshot(0).weights.values())
    for name, tensor in run.snapshot(8).weights.items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0, equal_nan=True)  # Adam overflows in float16


def test_precisions_are_analyzed(in_precision: InPrecision) -> None:
    run, state = in_precision
    overflowed = not all(tensor.isfinite().all() for tensor in state.values())
    assert losses_at(run) == ([0] if overflowed else [0, 4, 8])


def test_fp16_mixed_is_watched_as_the_trainer_runs_it(tmp_path: Path) -> None:
    """On a CPU Lightning itself takes bfloat16 instead, and warns."""
    with pytest.warns(UserWarning, match="16-mixed"):
        fit(tmp_path, inline(tmp_path / "run", 4), max_steps=8, precision="16-mixed")
    assert losses_at(open_run(tmp_path / "run")) == [0, 4, 8]


def test_module_compiled_as_a_whole_is_watched_under_its_own_names(tmp_path: Path) -> None:
    torch._dynamo.reset()
    module = torch.compile(Classifier(), backend="aot_eager")
    fit(tmp_path, inline(tmp_path / "run", 4), module, max_steps=8)  # type: ignore[arg-type]
    run = open_run(tmp_path / "run")
    assert losses_at(run) == [0, 4, 8]
    assert set(run.snapshot(8).weights) == set(Classifier().state_dict())


def test_overfitting_a_batch_takes_its_probe_from_it(tmp_path: Path) -> None:
    fit(tmp_path, inline(tmp_path / "run"), max_steps=5, overfit_batches=1)
    assert open_run(tmp_path / "run").manifest.probe["examples"]["train"] == 32


def test_validation_between_fits_adds_nothing(tmp_path: Path) -> None:
    trainer = fit(tmp_path, inline(tmp_path / "run"), max_steps=5)
    before = content_of(tmp_path / "run")
    trainer.validate(trainer.lightning_module, loaders()[1], verbose=False)
    assert content_of(tmp_path / "run") == before


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint")
def test_two_monitors_of_one_trainer_keep_to_their_own_runs(tmp_path: Path) -> None:
    names = ("weights", "activations")

    def monitors() -> list[InterpMonitor]:
        return [inline(tmp_path / name, every) for name, every in zip(names, (4, 6), strict=True)]

    torch.manual_seed(0)
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=10, save_last=True)
    trainer = quiet_trainer(tmp_path, [*monitors(), checkpoint], max_steps=10, enable_checkpointing=True)
    trainer.fit(Classifier(), *loaders())
    trainer = quiet_trainer(tmp_path, monitors(), max_steps=20)
    trainer.fit(Classifier(), *loaders(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    first, second = (open_run(tmp_path / name) for name in names)
    assert first.steps == [0, 4, 8, 10, 12, 16, 20] and second.steps == [0, 6, 10, 12, 18, 20]
    for run in (first, second):
        assert losses_at(run) == run.steps
        assert [attempt.resumed_at for attempt in run.manifest.attempts] == [None, 10]


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint")
def test_a_moved_run_directory_is_resumed_under_its_new_name(tmp_path: Path) -> None:
    first = inline()
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", save_last=True, every_n_train_steps=10)
    torch.manual_seed(0)
    trainer = quiet_trainer(tmp_path, [first, checkpoint], max_steps=10, enable_checkpointing=True)
    trainer.fit(Classifier(), *loaders())
    assert first.run_dir is not None
    moved = first.run_dir.rename(tmp_path / "moved")
    trainer = quiet_trainer(tmp_path, [inline(moved)], max_steps=20)
    trainer.fit(Classifier(), *loaders(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert open_run(moved).steps == losses_at(open_run(moved)) == [0, 5, 10, 15, 20]


class Subclass(InterpMonitor):
    pass


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint")
@pytest.mark.parametrize("kind", [InterpMonitor, Subclass])
@pytest.mark.parametrize("named", ["no longer", "from elsewhere"])
def test_a_run_is_resumed_though_its_directory_is_named_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[InterpMonitor], named: str
) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", save_last=True, every_n_train_steps=10)
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    trainer = quiet_trainer(tmp_path, [inline("run", kind=kind), checkpoint], max_steps=10, enable_checkpointing=True)
    trainer.fit(Classifier(), *loaders())
    again = inline(None if named == "no longer" else tmp_path / "run", kind=kind)
    trainer = quiet_trainer(tmp_path, [again], max_steps=20)
    trainer.fit(Classifier(), *loaders(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert open_run(tmp_path / "run").steps == [0, 5, 10, 15, 20]
    assert not (tmp_path / "interp_runs").exists()


def test_a_copy_of_the_callback_is_another_monitor(tmp_path: Path) -> None:
    """As sweeps and spawned processes copy trainers' callbacks."""
    monitor = inline()
    fit(tmp_path, copy.deepcopy(monitor), max_steps=5)
    assert monitor.run_dir is None
    fit(tmp_path, monitor, max_steps=5)
    assert len(list((tmp_path / "interp_runs").iterdir())) == 2


NOTEBOOK = """
import lightning as L, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from lightning_interp import InterpMonitor
x = torch.randn(96, 10); data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=32)
# ---
class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))
    def forward(self, x):
        return self.net(x)
    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])
    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)
# ---
monitor = InterpMonitor("run", every_n_steps=6, close_timeout=200, max_overhead=1e9)
trainer = L.Trainer(accelerator="cpu", max_steps=12, logger=False, enable_checkpointing=False, callbacks=[monitor])
trainer.fit(Net(), data, data)
# ---
monitor.timeline.verdict
"""


def test_notebook_defines_its_module_in_a_cell(tmp_path: Path) -> None:
    """In a real kernel: the module's class lives in no file, and the progress bar is the notebook's."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(textwrap.dedent(text).strip()) for text in NOTEBOOK.split("# ---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    patience = {"timeout": 200, "startup_timeout": 200}
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}, **patience).execute()
    run = open_run(tmp_path / "run")
    # Three snapshots: as many as the writer's queue holds, however slow the disk is.
    assert run.steps == losses_at(run) == [0, 6, 12]
    assert run.timeline is not None and repr(run.timeline.verdict) in notebook.cells[-1].outputs[0]["data"]["text/plain"]
