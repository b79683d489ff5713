# SPDX-License-Identifier: Apache-2.0
"""Continual learning, two digits at a time: which components of the hidden layer appear with which task.

A small network sees handwritten 0 and 1, then only 2 and 3, and so on, and forgets as it goes: the setting in which Aswani
et al. (https://arxiv.org/abs/2405.03244) decompose activations x inputs x training snapshots. The monitor follows a fixed
probe of all ten digits; afterwards the stored activations are decomposed and each component is described: in which task it
rises, which digits load on it, how few units carry it. Components describe what the layer does; they are no mechanism by
themselves.

Under a minute on a CPU. Needs scikit-learn for its copy of the data (in the `test` extra).
"""

import argparse
from pathlib import Path

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import EveryNSteps, InterpMonitor, Phase, Probe, ProbeSplit, open_run
from lightning_interp.tca import describe_components, preprocess, select_rank

TASKS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
LAYER = "hidden_act"


class DigitsMLP(L.LightningModule):
    """One hidden layer, plain SGD with momentum and nothing against forgetting."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, width)
        self.hidden_act = nn.ReLU()
        self.readout = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        return self.readout(self.hidden_act(self.hidden(images)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch of the current task."""
        images, digits = batch
        loss = cross_entropy(self(images), digits)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Cross-entropy and accuracy over all digits."""
        images, digits = batch
        scores = self(images)
        self.log("val_loss", cross_entropy(scores, digits))
        self.log("val_accuracy", (scores.argmax(dim=1) == digits).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD: adaptive methods forget even faster."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class DigitTasks(L.LightningDataModule):
    """The digits of one task at a time; validation on all of them."""

    def __init__(self, epochs_per_task: int) -> None:
        super().__init__()
        self.epochs_per_task = epochs_per_task
        digits = load_digits()
        self.images, self.labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
        shuffled = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(0))
        self.heldout, self.train = shuffled[:360], shuffled[360:]

    def train_dataloader(self) -> DataLoader:
        """The task that this epoch belongs to."""
        task = TASKS[min(self.trainer.current_epoch // self.epochs_per_task, len(TASKS) - 1)]
        rows = self.train[torch.isin(self.labels[self.train], torch.tensor(task))]
        return DataLoader(TensorDataset(self.images[rows], self.labels[rows]), batch_size=32, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """All digits."""
        return DataLoader(TensorDataset(self.images[self.heldout], self.labels[self.heldout]), batch_size=512)

    def probe(self) -> Probe:
        """Twelve training examples of every digit and as many held-out ones: the first task alone would show two digits."""
        splits = []
        for rows in (self.train, self.heldout):
            chosen = torch.cat([rows[self.labels[rows] == digit][:12] for digit in range(10)])
            splits.append(ProbeSplit(((self.images[chosen], self.labels[chosen]),), tuple(chosen.tolist())))
        return Probe(*splits)


def describe(run_dir: Path, *, steps_per_task: int, max_rank: int) -> None:
    """Decompose the hidden layer and print what each component is about."""
    run = open_run(run_dir)
    probe = run.probe
    assert probe is not None and probe.heldout is not None
    labels = torch.cat([batch[1] for split in (probe.train, probe.heldout) for batch in split.batches])
    heldout = torch.arange(len(labels)) >= len(labels) // 2
    prepared = preprocess(run.activations(LAYER), run.observed_steps, labels=labels, heldout=heldout)
    found = select_rank(prepared.tensor, range(1, max_rank + 1), nonnegative=True)
    print("rank  error  similarity  held-out error")
    for row in found.table:
        print("{rank:>4}  {relative_error:.3f}  {similarity:>10.2f}  {heldout_error:>14.3f}".format(**row))
    print(f"rank {found.recommended}: {'; '.join(found.reasons)}")
    ends = [steps_per_task * (number + 1) for number in range(len(TASKS))]
    tasks = [
        Phase(f"task {a} and {b}", end - steps_per_task, end, 1.0, (end, end))
        for (a, b), end in zip(TASKS, ends, strict=True)
    ]
    for component in describe_components(
        found.fits[found.recommended],
        prepared.steps,
        labels=labels[prepared.stimuli],
        heldout=heldout[prepared.stimuli],
        phases=tasks,
    ):
        print(component.sentence())


def main() -> None:
    """Train through the tasks, then decompose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dirpath", type=Path, help="run directory of the monitor")
    parser.add_argument("--epochs-per-task", type=int, default=20)
    parser.add_argument("--width", type=int, default=64, help="hidden units")
    parser.add_argument("--max-rank", type=int, default=12)
    options = parser.parse_args()
    L.seed_everything(0)
    data = DigitTasks(options.epochs_per_task)
    monitor = InterpMonitor(options.dirpath, schedule=EveryNSteps(15), layers=[LAYER], probe=data.probe())
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=options.epochs_per_task * len(TASKS),
        reload_dataloaders_every_n_epochs=options.epochs_per_task,
        callbacks=[monitor],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(DigitsMLP(options.width), data)
    assert monitor.run_dir is not None
    print(f"run directory: {monitor.run_dir}; val_accuracy over all digits {trainer.callback_metrics['val_accuracy']:.2f}")
    describe(Path(monitor.run_dir), steps_per_task=trainer.global_step // len(TASKS), max_rank=options.max_rank)


if __name__ == "__main__":
    main()
