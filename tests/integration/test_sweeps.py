# SPDX-License-Identifier: Apache-2.0
"""Many fits in one process: sweeps, and Lightning's tuners, which train for a while and take it all back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner
from noisy_training import quiet_trainer
from small_training import Classifier, data
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_interp import InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.core.errors import ConfigError
from lightning_interp.dashboards.report import write_report
from lightning_interp.store import Provenance, holds_run, read_manifest, write_manifest

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:Trying to infer the `batch_size`"),
]
STEPS = [0, 3, 6]


class Tunable(Classifier):
    """Has what tuners set: a learning rate, and loaders of its own with a batch size."""

    def __init__(self, *, lr: float = 1e-2, batch_size: int = 32) -> None:
        super().__init__(lr=lr)
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        return DataLoader(data(), batch_size=self.batch_size)

    def val_dataloader(self) -> Any:
        return DataLoader(data(40), batch_size=20)


class Unvalidated(Classifier):
    """Trains only: a search within a training that validates does not end in Lightning 2.6, watched or not."""

    def train_dataloader(self) -> Any:
        return DataLoader(data(), batch_size=32)


class FindsAgain(LearningRateFinder):
    """Searches once more within the training."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.lr_find(trainer, pl_module)


def monitor(dirpath: Path | None = None) -> InterpMonitor:
    return InterpMonitor(dirpath, every_n_steps=3, background="inline", report=False)


def trainer_of(root: Path, *callbacks: L.Callback, max_steps: int = 6) -> L.Trainer:
    return quiet_trainer(root, [*callbacks], max_steps=max_steps)


def runs_in(root: Path) -> list[Path]:
    """Run directories, the oldest first."""
    return sorted(
        (path for path in (root / "interp_runs").glob("*") if holds_run(path)), key=lambda path: path.stat().st_ctime
    )


def assert_whole(*run_dirs: Path, loss: str = "heldout_loss") -> None:
    """Each holds one finished training from its first step, and nothing else."""
    for run_dir in run_dirs:
        run = open_run(run_dir)
        assert run.steps == run.records(loss)[0].tolist() == STEPS
        assert run.manifest.status == "finished" and len(run.manifest.attempts) == 1
        assert not (run_dir / "abandoned").exists()


def tune(method: str, trainer: L.Trainer, module: Tunable) -> None:
    """What a user calls before a training."""
    if method == "lr_find":
        Tuner(trainer).lr_find(module, num_training=8)
    else:
        Tuner(trainer).scale_batch_size(module, steps_per_trial=2, max_trials=2, init_val=8)


def weights(module: L.LightningModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("method", ["lr_find", "scale_batch_size"])
def test_a_tuner_leaves_no_run_and_the_training_after_it_is_whole(tmp_path: Path, method: str) -> None:
    watch = monitor()
    module, trainer = Tunable(), trainer_of(tmp_path, watch)
    before = weights(module)
    tune(method, trainer, module)
    assert runs_in(tmp_path) == [] and watch.run_dir is None
    assert same(weights(module), before)
    trainer.fit(module)
    (run_dir,) = runs_in(tmp_path)
    assert_whole(run_dir)


@pytest.mark.parametrize("method", ["lr_find", "scale_batch_size"])
def test_a_tuner_between_two_fits_of_one_callback_costs_neither(tmp_path: Path, method: str) -> None:
    watch = monitor()
    trainer_of(tmp_path, watch).fit(Tunable())
    module, trainer = Tunable(), trainer_of(tmp_path, watch)
    tune(method, trainer, module)
    trainer.fit(module)
    assert len(runs_in(tmp_path)) == 2
    assert_whole(*runs_in(tmp_path))


@pytest.mark.parametrize("kind", [LearningRateFinder, BatchSizeFinder])
@pytest.mark.parametrize("first", [True, False])
def test_a_finder_beside_the_monitor_is_not_watched(tmp_path: Path, kind: type[L.Callback], first: bool) -> None:
    watch = monitor()
    finder = LearningRateFinder(num_training_steps=8) if kind is LearningRateFinder else BatchSizeFinder(max_trials=2)
    for _ in range(2):
        trainer_of(tmp_path, *((finder, watch) if first else (watch, finder))).fit(Tunable())
    assert len(runs_in(tmp_path)) == 2
    assert_whole(*runs_in(tmp_path))


def test_a_search_within_the_training_is_not_watched_and_not_resumed_later(tmp_path: Path) -> None:
    watch = monitor()
    for _ in range(2):
        trainer_of(tmp_path, watch, FindsAgain(num_training_steps=8)).fit(Unvalidated())
    assert len(runs_in(tmp_path)) == 2
    assert_whole(*runs_in(tmp_path), loss="train_loss")


def test_training_with_a_search_is_bitwise_the_same(tmp_path: Path) -> None:
    found = []
    for callbacks in ([monitor()], []):
        torch.manual_seed(0)
        module = Tunable()
        trainer = trainer_of(tmp_path, LearningRateFinder(num_training_steps=8), *callbacks)
        trainer.fit(module)
        found.append((weights(module), torch.get_rng_state(), module.lr))
    (ours, state, lr), (plain, plain_state, plain_lr) = found
    assert same(ours, plain) and torch.equal(state, plain_state) and lr == plain_lr


@pytest.mark.parametrize("anew", [True, False])
def test_a_sweep_has_a_run_for_each_training(tmp_path: Path, anew: bool) -> None:
    kept, seen = monitor(), []
    for lr in (1e-3, 1e-2, 1e-1):
        watch = monitor() if anew else kept
        trainer_of(tmp_path, watch).fit(Tunable(lr=lr))
        assert watch.run_dir is not None
        seen.append(watch.run_dir)
    assert seen == runs_in(tmp_path)
    assert_whole(*seen)


def test_a_sweep_goes_on_after_a_training_that_failed(tmp_path: Path) -> None:
    class Fails(Tunable):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if self.global_step == 4:
                raise RuntimeError("as planned")
            return super().training_step(batch, batch_idx)

    watch = monitor()
    with pytest.raises(RuntimeError, match="as planned"):
        trainer_of(tmp_path, watch).fit(Fails())
    failed = watch.run_dir
    trainer_of(tmp_path, watch).fit(Tunable())
    assert watch.run_dir is not None and watch.run_dir != failed
    assert_whole(watch.run_dir)


def test_a_sweep_into_one_dirpath_is_stopped_before_it_mixes_runs(tmp_path: Path) -> None:
    trainer_of(tmp_path, monitor(tmp_path / "run")).fit(Tunable())
    for watch in (monitor(tmp_path / "run"), monitor(tmp_path / "run")):
        with pytest.raises(ConfigError, match="already holds the run"):
            trainer_of(tmp_path, watch).fit(Tunable())
    assert_whole(tmp_path / "run")


def test_three_monitors_of_one_trainer_have_a_whole_run_each(tmp_path: Path) -> None:
    trainer_of(tmp_path, *(monitor(tmp_path / name) for name in "ab"), monitor()).fit(Tunable())
    assert_whole(tmp_path / "a", tmp_path / "b", *runs_in(tmp_path))
    assert len({open_run(path).manifest.run_id for path in (tmp_path / "a", tmp_path / "b", *runs_in(tmp_path))}) == 3


def test_every_start_of_a_run_says_where_it_came_from(tmp_path: Path) -> None:
    watch = monitor()
    trainer_of(tmp_path, watch).fit(Tunable())
    trainer = trainer_of(tmp_path, watch, max_steps=6)
    trainer.fit(Tunable())
    trainer.fit_loop.epoch_loop.max_steps = 9
    trainer.fit(trainer.lightning_module)
    first, second = (open_run(path).manifest.provenance for path in runs_in(tmp_path))
    assert [origin.attempt for origin in first] == [0] and [origin.attempt for origin in second] == [0, 1]
    assert all(origin.seeds["torch"] == torch.initial_seed() for origin in (*first, *second))


def test_status_and_report_tell_where_a_run_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer_of(tmp_path, monitor(tmp_path / "run")).fit(Tunable())
    known = read_manifest(tmp_path / "run")
    words, seeds = ("train.py", "--key=***"), {"torch": 5}
    origin = Provenance(command=words, commit="a" * 40, branch="<b>\x1b[31m", changed=True, seeds=seeds)
    write_manifest(tmp_path / "run", replace(known, provenance=(origin,)))
    assert main(["status", str(tmp_path / "run")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "From commit aaaaaaaaaaaa" in shown and "and changes that are not in it." in shown and "\x1b[31m" not in shown
    page = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "train.py --key=***" in page and "torch 5" in page and "(<b>" not in page
