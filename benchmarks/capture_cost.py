# SPDX-License-Identifier: Apache-2.0
"""What the monitor costs the training thread: each snapshot, and each step without one.

Two measurements on the demo's network and on a wider one, with the analyzer process running beside the training:

* the hook: time inside `InterpMonitor.on_train_batch_end` for steps with and without a snapshot, beside the same hook of an
  empty callback in the same training;
* the step: whole optimizer steps with and without the monitor, in alternating trainings of one process.

Run as ``python benchmarks/capture_cost.py [--json FILE]``; about three minutes on two cores.
"""

import argparse
import json
import logging
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from lightning_interp import CyclicGroupTask, InterpMonitor
from lightning_interp.demo.data import ModularAdditionData
from lightning_interp.demo.model import ModularAddition

EVERY = 5
ROUNDS = 3
CASES = {"demo network (p 43, d 64)": (43, 64, 500), "paper's network (p 113, d 128)": (113, 128, 100)}
"""Modulus, width and optimizer steps of each training."""


class EmptyCallback(L.Callback):
    """The cost of being called at all."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do nothing."""


class Clock(L.Callback):
    """Time between the ends of consecutive steps."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def timed(callback: L.Callback, times: list[float]) -> L.Callback:
    """The callback with every call of its hook timed, in microseconds."""
    hook: Callable[..., None] = callback.on_train_batch_end

    def on_train_batch_end(*args: Any) -> None:
        started = time.perf_counter()
        hook(*args)
        times.append(1e6 * (time.perf_counter() - started))

    callback.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    return callback


def fit(callbacks: list[L.Callback], p: int, d_model: int, root: Path, *, steps: int) -> None:
    """One training."""
    torch.manual_seed(0)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.fit(ModularAddition(p, d_model=d_model), datamodule=ModularAdditionData(p, fraction=0.3, steps_per_epoch=200))


def hook_times(p: int, d_model: int, root: Path, *, steps: int) -> dict[str, list[float]]:
    """Microseconds in the hook, by kind of step."""
    ours: list[float] = []
    empty: list[float] = []
    monitor = InterpMonitor(root / "run", every_n_steps=EVERY, task=CyclicGroupTask(p, "add"), close_timeout=600)
    fit([timed(monitor, ours), timed(EmptyCallback(), empty)], p, d_model, root, steps=steps)
    return {
        "with a snapshot": ours[EVERY - 1 :: EVERY],
        "without": [value for number, value in enumerate(ours) if (number + 1) % EVERY],
        "empty callback": empty,
    }


def step_times(p: int, d_model: int, root: Path, *, steps: int) -> dict[str, list[float]]:
    """Median milliseconds of a step, one value for each of the alternating trainings."""
    found: dict[str, list[float]] = {"with the monitor": [], "without": []}
    for number in range(ROUNDS):
        for name, medians in found.items():
            clock = Clock()
            extra = [InterpMonitor(root / f"step{number}", close_timeout=600)] if name == "with the monitor" else []
            fit([*extra, clock], p, d_model, root, steps=steps)
            gaps = [1e3 * (b - a) for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
            medians.append(statistics.median(gaps))
    return found


def quantile(values: list[float], share: float) -> float:
    """Linear between order statistics."""
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))


def main() -> None:
    """Measure, print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning_interp"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {torch.get_num_threads()} torch thread, torch {torch.__version__}")
    results: dict[str, Any] = {}
    for name, (p, d_model, count) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            hooks = hook_times(p, d_model, Path(folder), steps=count)
            steps = step_times(p, d_model, Path(folder), steps=count)
        results[name] = {"hook_us": hooks, "step_ms": steps}
        print(f"\n{name}, {count} steps", flush=True)
        for kind, values in hooks.items():
            p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
            print(f"  hook, {kind:<16} p50 {p50:8.1f} us   p99 {p99:8.1f} us   ({len(values)} calls)")
        pairs = [100 * (a / b - 1) for a, b in zip(steps["with the monitor"], steps["without"], strict=True)]
        alone = statistics.median(steps["without"])
        print(f"  median step {alone:.2f} ms alone; with the monitor {min(pairs):+.1f} % to {max(pairs):+.1f} %")
    if options.json:
        options.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
