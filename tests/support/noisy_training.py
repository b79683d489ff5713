# SPDX-License-Identifier: Apache-2.0
"""A training that would notice any disturbance: dropout, BatchNorm, and data that draws from every random stream.

Run as a script it is the training that tests kill and resume: ``python noisy_training.py RUN_ROOT [--resume]``. With
``--hold-at STEP`` it takes no step beyond that one, so that whoever is to kill it does not come too late.
"""

import argparse
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from patient_monitor import PATIENT, keep_every_snapshot
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_interp import TCA, CyclicGroupTask, InterpMonitor
from lightning_interp.demo.data import collate_pairs, modular_addition_table, unordered_split
from lightning_interp.demo.model import ModularAddition

P = 13
HELD = "held"
"""File in the training's folder from when it is held on."""


class NoisyAddition(ModularAddition):
    """The example's network with dropout and BatchNorm, so that a stray forward or draw would show."""

    def __init__(self) -> None:
        super().__init__(P, d_model=16, n_heads=2)
        self.dropout = nn.Dropout(0.2)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.dropout(self.embedding(tokens) + self.position)
        last = self.norm(stream[:, -1] + self.attention(stream))
        return self.unembedding(last + self.mlp_out(self.dropout(self.mlp_act(self.mlp_in(last)))))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return super().validation_step(batch, batch_idx)


class NoisyPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs whose reading draws from python's, NumPy's and torch's global streams and from one of its own."""

    def __init__(self, tokens: Tensor, answers: Tensor) -> None:
        self.tokens, self.answers = tokens, answers
        self.own = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        swap = (random.random() + np.random.rand() + torch.rand(()).item() + self.own.random()) > 2.0
        a, b, equals = self.tokens[index].tolist()
        return torch.tensor([b, a, equals] if swap else [a, b, equals]), self.answers[index]


@dataclass
class Outcome:
    """Everything that must not differ by a bit."""

    state: dict[str, Tensor]
    optimizer: list[Tensor]
    losses: list[float]
    randomness: list[Any]

    def differences(self, other: "Outcome") -> list[str]:
        """Names of what differs."""
        found = [name for name, value in self.state.items() if not torch.equal(value, other.state[name])]
        pairs = zip(self.optimizer, other.optimizer, strict=True)
        found += [f"optimizer tensor {i}" for i, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
        found += ["losses"] if self.losses != other.losses else []
        return found + ["random states"] * (repr(self.randomness) != repr(other.randomness))


class LossLog(L.Callback):
    """Keeps every training loss."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())


def loaders(batch_size: int = 32) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Shuffled training pairs and held-out pairs."""
    tokens, answers = modular_addition_table(P)
    train = unordered_split(P, fraction=0.6, seed=0)
    return (
        DataLoader(NoisyPairs(tokens[train], answers[train]), batch_size=batch_size, shuffle=True, collate_fn=collate_pairs),
        DataLoader(NoisyPairs(tokens[~train], answers[~train]), batch_size=64, collate_fn=collate_pairs),
    )


def train(
    root: Path,
    callbacks: list[Any],
    *,
    precision: Any = "32-true",
    compiled: str | None = None,
    max_steps: int = 300,
    accumulate: int = 1,
    devices: int = 1,
    validations: int = 1,
) -> Outcome:
    """One training from the same seed; on several devices each process trains its share, started as a script again.

    With several validations each loader is one of its own over the same kind of data.
    """
    torch._dynamo.reset()
    L.seed_everything(7, verbose=False)
    module = NoisyAddition()
    if compiled:  # both ways people compile: a submodule wrapped (its names change), and the module in place
        module.attention = torch.compile(module.attention, backend=compiled)  # type: ignore[assignment]
        module.compile(backend=compiled)
    log = LossLog()
    arguments = {"strategy": "ddp", "devices": devices} if devices > 1 else {}
    trainer = quiet_trainer(
        root, [*callbacks, log], max_steps=max_steps, precision=precision, accumulate_grad_batches=accumulate, **arguments
    )
    training, heldout = loaders(32 // devices)
    trainer.fit(module, training, [heldout, *(loaders()[1] for _ in range(validations - 1))])
    states = trainer.optimizers[0].state_dict()["state"]
    optimizer = [value for entry in states.values() for value in entry.values() if isinstance(value, Tensor)]
    randomness = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    return Outcome(
        {name: value.clone() for name, value in module.state_dict().items()},
        [value.clone() for value in optimizer],
        log.losses,
        randomness,
    )


def quiet_trainer(root: Path, callbacks: list[Any], **arguments: Any) -> L.Trainer:
    """A CPU trainer that prints nothing and logs nowhere unless told to."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": root,
        "log_every_n_steps": 1,
    }
    return L.Trainer(callbacks=callbacks, **defaults | arguments)


def build() -> NoisyAddition:
    """Factory for `lightning-interp analyze --module noisy_training:build`."""
    return NoisyAddition()


def compare(root: Path, *, stray: bool, components: bool, alone: dict[str, Outcome], **arguments: Any) -> list[str]:
    """What differs between the same training with the monitor and without it (or, for control, with one stray draw).

    Args:
        root: Folder of the training.
        stray: Draw once in place of a monitor.
        components: Follow tensor components, too.
        alone: Trainings without the monitor that others of this process were compared with; this one's is added.
        arguments: Of `train`.
    """
    tca = TCA(ranks="1:3", every=5, restarts=2) if components else None
    watching: dict[str, Any] = {"task": CyclicGroupTask(P, "add"), "every_n_steps": 20, "tca": tca, **PATIENT}
    if arguments.get("validations", 1) > 1:
        watching["outcome"] = "val_accuracy/dataloader_idx_1"
    extra = StrayDraw() if stray else InterpMonitor(root / "run", **watching)
    watched = train(root, [extra], **arguments)
    assert len(watched.losses) == arguments["max_steps"] * arguments["accumulate"]
    key = repr(sorted(arguments.items()))
    if key not in alone:
        alone[key] = train(root, [], **arguments)
    return watched.differences(alone[key])


def compare_all(root: Path, comparisons: Mapping[str, Mapping[str, Any]], *, max_steps: int) -> None:
    """Write what differs in each of them, with this process's rank, into a folder of its name."""
    keep_every_snapshot()  # each is counted on
    alone: dict[str, Outcome] = {}
    for name, options in comparisons.items():
        (root / name).mkdir(exist_ok=True)
        found = compare(root / name, alone=alone, max_steps=max_steps, **options)
        rank = os.environ.get("LOCAL_RANK", "0")
        (root / name / f"differences_{rank}.json").write_text(json.dumps(found))


class StrayDraw(L.Callback):
    """Draws one random number, once: the smallest disturbance there is."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        torch.rand(1)


class HoldsAt(L.Callback):
    """Takes no step beyond one, until the process is killed, or ends it where the one that started it is gone."""

    def __init__(self, step: int, mark: Path) -> None:
        self.step, self.mark, self.parent = step, mark, os.getppid()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step < self.step:
            return
        self.mark.touch()
        while os.getppid() == self.parent:
            time.sleep(0.2)
        os._exit(1)


class SlowAfter(L.Callback):
    """Takes its time from a step on, so that little is left for the analyzer when the training is told to end."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        time.sleep(0.2 if trainer.global_step >= self.step else 0.0)


def main(arguments: list[str]) -> None:
    """Train as the options say; see the module's docstring."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--max-steps", type=int, default=600)
    parser.add_argument("--hold-at", type=int, metavar="STEP", help="take no step beyond this one, until killed")
    parser.add_argument("--slow-after", type=int, metavar="STEP", help="wait .2 s a step from this one on")
    parser.add_argument(
        "--compare", metavar="JSON", help="write down what differs with and without the monitor: options by name"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.compare:
        compare_all(options.root, json.loads(options.compare), max_steps=options.max_steps)
        if torch.distributed.is_initialized():  # else its threads may still run when the process is torn down
            torch.distributed.destroy_process_group()
    else:
        callbacks = [] if options.hold_at is None else [HoldsAt(options.hold_at, options.root / HELD)]
        callbacks += [] if options.slow_after is None else [SlowAfter(options.slow_after)]
        resumable(options.root, callbacks, resume=options.resume, max_steps=options.max_steps)


def resumable(root: Path, callbacks: Sequence[L.Callback], *, resume: bool, max_steps: int) -> None:
    """Train with the monitor and a checkpoint every 50 steps, resuming from the last one where asked."""
    L.seed_everything(7, verbose=False)
    # Every scheduled step is counted on, but for those that the writer, whose queue is a user's, has no room for.
    monitor = InterpMonitor(root / "run", every_n_steps=7, task=CyclicGroupTask(P, "add"), **PATIENT)
    checkpoints = ModelCheckpoint(root / "checkpoints", every_n_train_steps=50, save_top_k=1, save_last=True)
    last = root / "checkpoints" / "last.ckpt"
    trainer = quiet_trainer(root, [monitor, *callbacks, checkpoints], max_steps=max_steps, enable_checkpointing=True)
    trainer.fit(NoisyAddition(), *loaders(), ckpt_path=last if resume and last.exists() else None)
    print("done", trainer.global_step, flush=True)


if __name__ == "__main__":
    # The classes must be importable by name, as a user's would be, for checkpoints and the analyzer alike.
    import noisy_training

    noisy_training.main(sys.argv[1:])
