# SPDX-License-Identifier: Apache-2.0
"""The demo: a small network trains until it groks while `InterpMonitor` watches, with offline W&B and no account."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console

from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.figures import phase_timeline_figure, write_html
from lightning_interp.dashboards.report import REPORT
from lightning_interp.demo.data import ModularAdditionData
from lightning_interp.demo.model import ModularAddition
from lightning_interp.demo.progress import StepProgress
from lightning_interp.measures import CyclicGroupTask
from lightning_interp.monitor.callback import InterpMonitor
from lightning_interp.store.run import Run, open_run

P = 43
D_MODEL = 64
FRACTION = 0.6
LR = 1e-3
WEIGHT_DECAY = 3.0
MAX_STEPS = 7000
SEED = 1
"""The recipe; the network has cleaned up before the last step. The detector knows nothing of it."""

PICTURED = ("train_loss", "heldout_loss", "excluded_loss_max", "weight_norm", "gini_embedding")
"""Series drawn above the phases, where the run has them."""


@dataclass(frozen=True)
class DemoResult:
    """Where the demo left its results.

    Attributes:
        run_dir: Run directory, for `open_run`.
        timeline: Phases and verdict.
        picture: HTML file that needs no network.
        wandb_dir: Offline W&B run, for ``wandb sync``.
        report: The page the monitor wrote at the end, None where that is switched off.
    """

    run_dir: Path
    timeline: Timeline
    picture: Path
    wandb_dir: Path
    report: Path | None = None

    @property
    def grokked(self) -> bool:
        """Whether the detector's verdict is grokking."""
        return bool(self.timeline.verdict == "grokking")


def run_demo(out: Path, *, max_steps: int = MAX_STEPS, seed: int = SEED, console: Console | None = None) -> DemoResult:
    """Train the demo network and write run directory, offline W&B run and picture under one folder.

    Neither the random state of the process nor its environment is changed.

    Args:
        out: Folder for everything; new or empty.
        max_steps: Optimizer steps.
        seed: Seed of the split and of the initial weights.
        console: Where progress goes; the standard output by default.

    Returns:
        The timeline and where the files are.

    Raises:
        ConfigError: `out` holds files, or `max_steps` is not positive.
        RunError: The analysis left no timeline.
    """
    _check(out, max_steps)
    out.mkdir(parents=True, exist_ok=True)
    monitor = InterpMonitor(out / "run", task=CyclicGroupTask(P, "add"), tca=True, close_timeout=None)
    with _quiet_lightning(), _restored_environment(), _one_thread(), torch.random.fork_rng(devices=[]):
        wandb_dir = _train(monitor, out, max_steps=max_steps, seed=seed, console=console or Console())
    run = open_run(out / "run")
    if run.timeline is None:
        raise RunError(f"{run.path}: the analysis left no timeline; health.jsonl there says why.")
    report = run.path / REPORT
    picture = _draw(run, run.timeline, out / "phases.html")
    return DemoResult(run.path, run.timeline, picture, wandb_dir, report if report.exists() else None)


def _check(out: Path, max_steps: int) -> None:
    if max_steps < 1:
        raise ConfigError(f"demo: `max_steps` must be 1 or more, got {max_steps}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"demo: {out} exists and is not an empty folder. Name another one with --out.")


def _train(monitor: InterpMonitor, out: Path, *, max_steps: int, seed: int, console: Console) -> Path:
    """Train, and return the offline W&B run's folder."""
    torch.manual_seed(seed)
    model = ModularAddition(P, d_model=D_MODEL, lr=LR, weight_decay=WEIGHT_DECAY)
    data = ModularAdditionData(P, fraction=FRACTION, seed=seed)
    settings = {"console": "off", "silent": True, "x_disable_stats": True}
    logger = WandbLogger(project="lightning-interp-demo", save_dir=out, offline=True, settings=settings)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        logger=logger,
        callbacks=[monitor, StepProgress(console)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    folder = Path(logger.experiment.settings.sync_dir)
    logger.experiment.finish()
    return folder


def _draw(run: Run, timeline: Timeline, path: Path) -> Path:
    series = {name: run.series[name] for name in PICTURED if name in run.series}
    title = f"Addition modulo {P}"
    write_html(phase_timeline_figure(series, timeline, title=title), path)
    return path


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's hardware notes and tips say nothing about the demo."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 with torch 2.13
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The network is too small to gain from a second thread, and the analyzer wants the other core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _restored_environment() -> Iterator[None]:
    """`WandbLogger(offline=True)` sets WANDB_MODE for the whole process and leaves it set."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
