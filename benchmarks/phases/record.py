# SPDX-License-Identifier: Apache-2.0
"""Train one run and keep what the monitor measured. ``python record.py --help`` trains one and prints its end."""

import csv
import gzip
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from networks import make_network
from precursors import DistanceRatio, HankelResidual, Series
from recorded_metrics import found_by_monitor, write_metrics
from spec import Spec
from specs import part_of
from tasks import Data, make_data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import Monitor, open_run
from lightning_interp.measures import CyclicGroupTask

PROBE_BATCH = 4096
"""Examples at a time when a snapshot is measured."""
WARMUP_STEPS = 10
GROUP_TASKS = ("add", "sub", "mul")


def record(spec: Spec, folder: Path) -> dict[str, Any]:
    """Train one run on one thread and write its metrics; nothing is written where it fails.

    Args:
        spec: The run.
        folder: Gets ``NAME.csv.gz``, a row for each snapshot.

    Returns:
        The run's line in the index: its part of the pool, its definition, facts about its data, and the processor seconds it
        took.
    """
    torch.set_num_threads(1)
    logging.getLogger("lightning_interp").setLevel(logging.ERROR)
    started = time.process_time()
    data = make_data(spec)
    network = make_network(spec, data)
    with tempfile.TemporaryDirectory() as scratch:
        precursors = train(spec, data, network, Path(scratch) / "run")
        run_dir = Path(scratch) / "run"
        rows = write_metrics(open_run(run_dir), precursors, folder / f"{spec.name}.csv.gz")
        found = found_by_monitor(run_dir)
    facts = {
        "classes": data.classes,
        "cross_entropy": spec.loss == "cross_entropy",
        "trained_on": int(data.trained.sum()),
        "held_out": int((~data.trained).sum()),
        "monitor": found,
        "answers_shuffled": round(data.shuffled, 3),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    return {
        "name": spec.name,
        "part": part_of(spec),
        "weight_decay": spec.weight_decay,
        "spec": spec.plain(),
        **facts,
        "rows": rows,
        "cpu_s": round(time.process_time() - started, 1),
    }


def train(spec: Spec, data: Data, network: nn.Module, run_dir: Path) -> dict[str, Series]:
    """The loop, watched by the monitor with its default schedule and measures, and the Fourier measures of group tasks.

    Returns:
        What the published precursors saw: values by step, by name.
    """
    optimizer = _optimizer(spec, network)
    task = CyclicGroupTask(spec.size, spec.task) if spec.task in GROUP_TASKS else None
    monitor = Monitor(run_dir, task=task, background="inline", retention="last:1", save_probe=False)
    train_data, heldout_data = _loader(data, data.trained), _loader(data, ~data.trained)
    batches = _batches(spec, data)
    ratio = DistanceRatio(network, data.inputs[~data.trained], data.answers[~data.trained], spec.steps)
    residual = HankelResidual(network, data.inputs[data.trained], data.answers[data.trained])
    with monitor.watch(network, train_data=train_data, heldout_data=heldout_data, max_steps=spec.steps):
        for step in range(1, spec.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = spec.lr * min(1.0, step / WARMUP_STEPS)
                if spec.late_decay is not None and step > 2 * spec.steps / 3:
                    group["weight_decay"] = spec.late_decay
            inputs, answers = next(batches)
            loss = LOSSES[spec.loss](network(inputs), answers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ratio.step(step)
            residual.step(step)
            monitor.step(step)
    return {"distance_ratio": ratio.values, "hankel_residual": residual.values}


def _loader(data: Data, mask: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    """One side of the data, for the monitor's probe."""
    return DataLoader(TensorDataset(data.inputs[mask], data.answers[mask]), batch_size=PROBE_BATCH)


def _batches(spec: Spec, data: Data) -> Iterator[tuple[Tensor, Tensor]]:
    inputs, answers = data.inputs[data.trained], data.answers[data.trained]
    draw = torch.Generator().manual_seed(2000 + spec.seed)
    while True:
        if spec.batch is None:
            yield inputs, answers
        else:
            chosen = torch.randint(len(inputs), (spec.batch,), generator=draw)
            yield inputs[chosen], answers[chosen]


def _optimizer(spec: Spec, network: nn.Module) -> torch.optim.Optimizer:
    if spec.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), spec.lr, momentum=0.9)
    return torch.optim.AdamW(network.parameters(), spec.lr, (0.9, 0.98), weight_decay=spec.weight_decay)


def _mse(logits: Tensor, answers: Tensor) -> Tensor:
    return mse_loss(logits, one_hot(answers, logits.shape[1]).to(logits.dtype))


def _cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    return cross_entropy(logits.double(), answers)  # float32 rounds a memorized loss to nothing


LOSSES = {"cross_entropy": _cross_entropy, "mse": _mse}


def main() -> None:
    """Train one run, given as JSON: fields of `Spec`."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("spec", help='for example \'{"task": "add", "size": 31, "steps": 3000}\'')
    parser.add_argument("--folder", type=Path, default=Path("pool_trial"), help="gets the metrics (default: %(default)s)")
    args = parser.parse_args()
    spec = Spec(**json.loads(args.spec))
    print(json.dumps(record(spec, args.folder)))
    with gzip.open(args.folder / f"{spec.name}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:: max(1, len(rows) // 12)] + rows[-1:]:
        names = ("step", "train_loss", "heldout_loss", "train_accuracy", "heldout_accuracy", "heldout_percentile_z")
        print("  ".join(f"{name} {row.get(name, ''):>9}" for name in names))


if __name__ == "__main__":
    main()
