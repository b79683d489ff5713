# SPDX-License-Identifier: Apache-2.0
"""What the monitor costs a training: whole steps with and without it, paired and alternating in one process tree.

Four networks, each trained in turn without a monitor, with `InterpMonitor` at its defaults, with `wandb.watch(log="all")`
(offline) and with a plain hook that measures on the training thread. Trainings are long enough for the analyzer to start and
work beside them. Two ways: the training on one thread, which leaves a core to the analyzer, and on all cores.

A second part times the hook itself, beside an empty callback's, and a third the memory of a long training.

Run as ``python benchmarks/overhead.py [--sections steps hook soak] [--seconds 15] [--rounds 3] [--json FILE]``.
"""

import argparse
import gc
import json
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import InterpMonitor, open_run

SECTIONS = ("steps", "hook", "soak")
WARM_UP = 20
"""Steps left out at the start of each training."""


@dataclass(frozen=True)
class Case:
    """A network and a batch for it.

    Attributes:
        name: For the table.
        build: Makes the network.
        inputs: Makes so many inputs.
        classes: Number of classes.
        batch: Examples in a batch.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    classes: int
    batch: int


class Transformer(nn.Module):
    """Embedding, encoder layers, readout of the last token."""

    def __init__(self, tokens: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.readout = nn.Linear(width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the last token's class."""
        out: Tensor = self.readout(self.encoder(self.embedding(tokens))[:, -1])
        return out


def cases() -> list[Case]:
    """From a step of about a millisecond to one of a second."""
    mlp = Case("MLP, 0.1 M", lambda: _mlp(100, 256, 10), lambda n: torch.randn(n, 100), 10, 64)
    addition = Case(
        "modular-addition transformer, 0.2 M",
        lambda: Transformer(114, 128, 1, 4),
        lambda n: torch.randint(114, (n, 3)),
        113,
        512,
    )
    cnn = Case("CNN, 0.1 M", _cnn, lambda n: torch.randn(n, 3, 32, 32), 10, 32)
    large = Case("transformer, 10 M", lambda: Transformer(1000, 384, 5, 6), lambda n: torch.randint(1000, (n, 32)), 1000, 8)
    return [mlp, addition, cnn, large]


def _mlp(inputs: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class Classifier(L.LightningModule):
    """Cross-entropy on a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean cross-entropy."""
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Held-out cross-entropy."""
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), 1e-3)


class Clock(L.Callback):
    """Time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


class WandbWatch(L.Callback):
    """`wandb.watch` on an offline run."""

    def __init__(self, root: Path) -> None:
        import wandb

        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        self.run = wandb.init(project="overhead", mode="offline", dir=str(root), settings=settings)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Watch."""
        self.run.watch(pl_module, log="all", log_freq=100)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Gradients' histograms are logged with the next row."""
        self.run.log({"step": trainer.global_step})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the run."""
        self.run.finish()


class SynchronousHook(L.Callback):
    """A monitor as people write it: spectra and norms of every matrix on the training thread, every 100 steps."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure."""
        if trainer.global_step % 100 == 0:
            for parameter in pl_module.parameters():
                matrix = parameter.detach().flatten(1) if parameter.ndim > 1 else parameter.detach()[None]
                torch.linalg.svdvals(matrix).square().sum().item()


def fit(case: Case, callbacks: list[L.Callback], root: Path, *, steps: int) -> list[float]:
    """Seconds of each step after the first few."""
    torch.manual_seed(0)
    inputs, targets = case.inputs(case.batch * 8), torch.randint(case.classes, (case.batch * 8,))
    dataset = TensorDataset(inputs, targets)
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        callbacks=[*callbacks, clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=root,
    )
    loader = DataLoader(dataset, batch_size=case.batch)
    trainer.fit(Classifier(case.build()), loader, DataLoader(dataset, batch_size=case.batch))
    return [b - a for a, b in zip(clock.ends[WARM_UP:], clock.ends[WARM_UP + 1 :], strict=False)]


def compare(case: Case, *, seconds: float, rounds: int, others: bool) -> dict[str, Any]:
    """Mean and median step of every kind of training, one value a round."""
    kinds: dict[str, Callable[[Path], list[L.Callback]]] = {
        "alone": lambda _: [],
        "InterpMonitor": lambda root: [InterpMonitor(root / "run", close_timeout=300)],
    }
    if others:
        kinds["wandb.watch"] = lambda root: [WandbWatch(root)]
        kinds["synchronous hook"] = lambda _: [SynchronousHook()]
    found: dict[str, Any] = {kind: {"mean": [], "median": []} for kind in kinds}
    found["costs"] = []
    with tempfile.TemporaryDirectory() as folder:
        trial = fit(case, [], Path(folder), steps=WARM_UP + 30)
        steps = WARM_UP + max(50, int(seconds / statistics.median(trial)))
        found["steps"] = steps
        for number in range(rounds):
            for kind in (*kinds,) if number % 2 == 0 else (*reversed(kinds),):
                root = Path(folder) / f"{kind}-{number}"
                gaps = fit(case, kinds[kind](root), root, steps=steps)
                found[kind]["mean"].append(statistics.fmean(gaps))
                found[kind]["median"].append(statistics.median(gaps))
                if kind == "InterpMonitor":
                    found["costs"].append(_told(root / "run"))
    return found


def _told(run_dir: Path) -> dict[str, Any]:
    """What the monitor itself says it cost."""
    run = open_run(run_dir)
    (closed,) = [row for row in run.health if row["event"] == "closed"]
    return {"snapshots": len(run.steps), "hook_share": closed["hook_share"], "contention": closed["contention"]}


def report_steps(options: argparse.Namespace) -> dict[str, Any]:
    """The first part, as a table."""
    results: dict[str, Any] = {}
    for threads in (1, os.cpu_count() or 1):
        torch.set_num_threads(threads)
        print(f"\ntraining on {threads} thread(s) of {os.cpu_count()} cores", flush=True)
        for number, case in enumerate(cases()):
            found = compare(case, seconds=options.seconds, rounds=options.rounds, others=number in (0, 3) and threads > 1)
            results[f"{case.name}, {threads} threads"] = found
            alone = found["alone"]
            print(f"  {case.name}: {1e3 * statistics.median(alone['median']):.2f} ms a step, {found['steps']} steps")
            for kind in (kind for kind in found if kind not in ("alone", "steps", "costs")):
                changes = {
                    which: sorted(100 * (a / b - 1) for a, b in zip(found[kind][which], alone[which], strict=True))
                    for which in ("mean", "median")
                }
                told = [
                    f"{which} {statistics.median(values):+.1f} % [{values[0]:+.1f} .. {values[-1]:+.1f}]"
                    for which, values in changes.items()
                ]
                print(f"    {kind:<18} {'   '.join(told)}", flush=True)
            for cost in found["costs"][-1:]:
                print(f"    told by the monitor: {cost}", flush=True)
    return results


class Empty(L.Callback):
    """The cost of being called at all."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do nothing."""


def timed(callback: L.Callback, times: list[float]) -> L.Callback:
    """The callback with every call of its hook timed, in microseconds."""
    hook: Callable[..., None] = callback.on_train_batch_end

    def on_train_batch_end(*args: Any) -> None:
        started = time.perf_counter()
        hook(*args)
        times.append(1e6 * (time.perf_counter() - started))

    callback.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    return callback


def report_hook(_: argparse.Namespace) -> dict[str, Any]:
    """Time inside the hook for steps without and with a snapshot."""
    torch.set_num_threads(1)
    ours: list[float] = []
    empty: list[float] = []
    every = 50
    with tempfile.TemporaryDirectory() as folder:
        monitor = InterpMonitor(Path(folder) / "run", every_n_steps=every, max_overhead=1.0, close_timeout=300)
        fit(cases()[0], [timed(monitor, ours), timed(Empty(), empty)], Path(folder), steps=20_000)
    without = [value for number, value in enumerate(ours, start=1) if number % every]
    snapshots = [value for number, value in enumerate(ours, start=1) if number % every == 0]
    print("\nthe hook, us: p50, p99")
    rows = {"without a snapshot": without, "empty callback": empty, "with a snapshot": snapshots}
    for name, values in rows.items():
        print(f"  {name:<20} {quantile(values, 0.5):8.2f} {quantile(values, 0.99):8.2f}   ({len(values)} calls)")
    return {name: {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99)} for name, values in rows.items()}


class Memory(L.Callback):
    """Resident memory of the process and the time of recent steps, every so many steps."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.rows: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look."""
        if trainer.global_step % self.every == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.rows.append((trainer.global_step, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))


def report_soak(options: argparse.Namespace) -> dict[str, Any]:
    """Memory and hook time of a long training with a snapshot every ten steps: slopes from the second quarter on."""
    torch.set_num_threads(1)
    tiny = Case("tiny", lambda: _mlp(10, 16, 3), lambda n: torch.randn(n, 10), 3, 8)
    memory, ours = Memory(1000), []
    # The analyzer has thousands of snapshots left at the end, and ends when their directory is gone.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        monitor = InterpMonitor(Path(folder) / "run", every_n_steps=10, max_overhead=1.0, close_timeout=10)
        fit(tiny, [timed(monitor, ours), memory], Path(folder), steps=options.soak_steps)
    late = memory.rows[len(memory.rows) // 4 :]
    slope = _slope([step for step, _ in late], [size for _, size in late]) * 1e5
    quarter = len(ours) // 4
    medians = [statistics.median(ours[start : start + quarter]) for start in range(0, 4 * quarter, quarter)]
    print(f"\n{options.soak_steps:,} steps, a snapshot every 10: memory {slope:+.1f} MB per 100,000 steps")
    print(f"  (from {late[0][1]:.0f} to {late[-1][1]:.0f} MB); median hook by quarter {[round(m, 2) for m in medians]} us")
    return {"slope_mb_per_100k": slope, "hook_us_by_quarter": medians, "memory": memory.rows}


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return statistics.linear_regression(x, y).slope


def quantile(values: list[float], share: float) -> float:
    """Linear between order statistics."""
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))


def main() -> None:
    """Measure, print tables, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help="what to measure")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each training")
    parser.add_argument("--rounds", type=int, default=3, help="alternating trainings of each kind")
    parser.add_argument("--soak-steps", type=int, default=100_000, help="length of the long training")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning_interp", "lightning", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, Lightning {L.__version__}")
    parts = {"steps": report_steps, "hook": report_hook, "soak": report_soak}
    results = {section: parts[section](options) for section in options.sections}
    if options.json:
        options.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
