# SPDX-License-Identifier: Apache-2.0
"""Trainings that something happens to: a measure that breaks, a logger that fails, a clock that jumps, a disk that fills.

Run as ``python faulty_training.py ROOT KIND[+KIND...]:SEED ...``: trains once without the monitor, then for each argument
with it and with its faults, each at a random time, in a folder named by the kinds. Prints one JSON line each: whether the
weights are those of the first training to the last bit, whether the run directory opens, and what it holds.
"""

import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import lightning as L
import torch
from patient_monitor import PATIENT
from small_training import Classifier, data
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_interp import InterpMonitor, Measure, Run, open_run
from lightning_interp.capture.recorder import BEHIND
from lightning_interp.core.errors import RunError

STEPS, EVERY = 240, 8
STEP_S = 0.01
"""Each step waits so long: the analyzer is to be at work while the training goes on."""


class Faulty(Measure):
    """Does what it likes with the snapshots from a step on."""

    name: ClassVar[str] = "faulty"
    needs: ClassVar[frozenset[Any]] = frozenset({"weights"})

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, observation: Any) -> Mapping[str, float]:
        return self.misbehave() if observation.snapshot.step >= self.first else {self.name: 1.0}

    def misbehave(self) -> Mapping[str, float]:
        raise NotImplementedError


class Raises(Faulty):
    name: ClassVar[str] = "raises"
    names: ClassVar[tuple[str, ...]] = ("raises",)

    def misbehave(self) -> Mapping[str, float]:
        raise ArithmeticError("as arranged")


class GivesNaN(Faulty):
    name: ClassVar[str] = "nan"
    names: ClassVar[tuple[str, ...]] = ("nan",)

    def misbehave(self) -> Mapping[str, float]:
        return {self.name: float("nan")}


class Hangs(Faulty):
    name: ClassVar[str] = "hangs"
    names: ClassVar[tuple[str, ...]] = ("hangs",)

    def misbehave(self) -> Mapping[str, float]:
        while True:
            time.sleep(1.0)


class TakesAllMemory(Faulty):
    """Asks for memory until there is no more for the process."""

    name: ClassVar[str] = "memory"
    names: ClassVar[tuple[str, ...]] = ("memory",)

    def misbehave(self) -> Mapping[str, float]:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
        held = []
        while True:
            held.append(torch.ones(2**20))


class IsKilledForMemory(Faulty):
    """What the kernel does to a process of which it wants the memory back."""

    name: ClassVar[str] = "oom-killed"
    names: ClassVar[tuple[str, ...]] = ("oom-killed",)

    def misbehave(self) -> Mapping[str, float]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


class At(L.Callback):
    """Does something once, at a step."""

    def __init__(self, step: int, what: Callable[[L.Trainer], None]) -> None:
        self.step, self.what = step, what

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            self.what(trainer)


class Slowly(L.Callback):
    """Lengthens every step."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        time.sleep(STEP_S)


def jump(seconds: float) -> Callable[[L.Trainer], None]:
    """Put the wall clock of this process forward or back."""
    real = time.time

    def apply(_: L.Trainer) -> None:
        time.time = lambda: real() + seconds

    return apply


def fill(disk: Path) -> Callable[[L.Trainer], None]:
    """Leave no byte on the disk the run is on."""

    def apply(_: L.Trainer) -> None:
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"x" * 4096):
                    pass
            except OSError:
                return

    return apply


def limit_files(trainer: L.Trainer) -> None:
    """As a quota that is reached: no file of this process may grow beyond a kilobyte until `lift_limit`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def lift_limit(trainer: L.Trainer) -> None:
    """There is room again."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def end_wandb(trainer: L.Trainer) -> None:
    """End the W&B run behind the logger's back: every later log raises."""
    trainer.loggers[0].experiment.finish()  # type: ignore[attr-defined]


MEASURES = {kind.name: kind for kind in (Raises, GivesNaN, Hangs, TakesAllMemory, IsKilledForMemory)}
KINDS = (*MEASURES, "wandb", "clock", "deleted", "disk", "quota")
QUOTA_STEPS = 40
"""Steps for which the quota is reached: five snapshots."""


def train(root: Path, callbacks: list[Any], *, wandb: bool) -> list[Tensor]:
    """One training from the same seed; returns its weights.

    With W&B it does not validate: what the module itself logs to a run that has ended is Lightning's error.
    """
    torch.manual_seed(0)
    module = Classifier()
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        logger=_wandb(root) if wandb and callbacks else False,
        limit_val_batches=0 if wandb else None,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        log_every_n_steps=1,
        callbacks=callbacks,
    )
    trainer.fit(module, DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20))
    return [tensor.clone() for tensor in module.state_dict().values()]


def one(kinds: Sequence[str], root: Path, seed: int) -> dict[str, Any]:
    """A training with each of these faults at a random time; `step` is when the first of them came."""
    draw, run_dir = random.Random(seed), root / f"run{seed}"
    steps = {kind: draw.randrange(1, STEPS) for kind in kinds}
    events: dict[str, Callable[[L.Trainer], None]] = {
        "wandb": end_wandb,
        "clock": jump(draw.choice((-1, 1)) * 10 ** draw.uniform(0, 7)),
        "deleted": lambda _: shutil.rmtree(run_dir, ignore_errors=True),  # the writer may add a file meanwhile
        "disk": fill(root),
        "quota": limit_files,
    }
    measures = ["standard", *(MEASURES[kind](step) for kind, step in steps.items() if kind in MEASURES)]
    # Every scheduled step is counted on, but for those that the writer, whose queue is a user's, has no room for.
    patience = PATIENT | ({"close_timeout": 3.0} if "hangs" in kinds else {})
    monitor = InterpMonitor(run_dir, every_n_steps=EVERY, measures=measures, **patience)
    happens = [*(At(step, events[kind]) for kind, step in steps.items() if kind in events), Slowly()]
    happens += [At(min(steps["quota"] + QUOTA_STEPS, STEPS), lift_limit)] if "quota" in kinds else []
    real_time = time.time
    try:
        weights = train(root, [monitor, *happens], wandb="wandb" in kinds)
    finally:
        time.time = real_time
        (root / "filler").unlink(missing_ok=True)
    same = all(map(torch.equal, weights, alone(wandb="wandb" in kinds)))
    return {"step": steps[kinds[0]], "steps": steps, "same": same, **contents(run_dir)}


@cache
def alone(*, wandb: bool) -> list[Tensor]:
    """Weights of the same training without the monitor."""
    with TemporaryDirectory() as folder:
        return train(Path(folder), [], wandb=wandb)


def contents(run_dir: Path) -> dict[str, Any]:
    """What a reader finds."""
    try:
        run = open_run(run_dir)
        steps = run.steps
        return {
            "opens": all(run.snapshot(step).step == step for step in steps),
            "snapshots": len(steps),
            "records": len(run.all_records),
            "dropped": sum(row["event"] == "dropped" for row in run.health),
            "behind": len(behind(run)),
            "missing": sorted(set(range(0, STEPS + 1, EVERY)) - {*steps, *behind(run)}),
            "notices": run.analysis.get("notices", []),
            "skipped": {record.step: dict(record.skipped) for record in run.all_records},
        }
    except RunError as err:
        return {"opens": False, "error": str(err)}


def behind(run: Run) -> set[int]:
    """Steps given up because the writer was slow, as a disk may be at any time."""
    return {row["step"] for row in run.health if row["event"] == "dropped" and row["reason"] == BEHIND}


def _wandb(root: Path) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    settings = {"console": "off", "silent": True, "x_disable_stats": True}
    return WandbLogger(project="faults", offline=True, save_dir=root, settings=settings)


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for play in arguments[1:]:
        kinds, _, seed = play.partition(":")
        root = Path(arguments[0]) / kinds
        root.mkdir(exist_ok=True)
        try:
            found = one(kinds.split("+"), root, int(seed))
        except Exception:  # what it costs is told of this one alone
            found = {"broke": traceback.format_exc()}
        print(json.dumps({"play": play, **found}), flush=True)


if __name__ == "__main__":
    # The measures must be importable by name, as a user's would be.
    import faulty_training

    faulty_training.main(sys.argv[1:])
