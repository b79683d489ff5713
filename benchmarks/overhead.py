# SPDX-License-Identifier: Apache-2.0
"""What the monitor costs a training: whole steps with and without it, paired and alternating in one process tree.

Four networks, each watched by `InterpMonitor` at its defaults in every second of many short turns (`lanes`); one of them
also by a plain hook that measures on the training thread and, beside a second training of the same, by
`wandb.watch(log="all", log_freq=100)` (offline). The first quarter holds the analyzer's start and the dense first snapshots.
Two ways: the training on one thread, which leaves a core to the analyzer, and on all cores.

A second part times the hook itself, beside an empty callback's, a third the memory of a long training, and a fourth the
memory that snapshots take on the training process.

Run as ``python benchmarks/overhead.py [--sections steps hook soak memory] [--seconds 60]
[--networks 0 3] [--only-ours] [--json FILE]``.
"""

import argparse
import gc
import itertools
import json
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lanes.networks import ALONE, DENSE, LARGE, MONITOR, SYNCHRONOUS, WANDB, Case, cases, mlp, train
from lanes.turns import Lane, step_times
from rich.console import Console
from rich.progress import Progress

from lightning_interp import InterpMonitor, open_run
from lightning_interp.capture.recorder import QUEUE_DEPTH

SECTIONS = ("steps", "hook", "soak", "memory")


def watched_in_turns(case: Case, kind: str, options: argparse.Namespace, *, threads: int) -> dict[str, Any]:
    """One training, watched in every second turn: how much slower its steps are then."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with Lane(case.name, kind, Path(folder) / "lane", threads, device=getattr(options, "device", "cpu")) as lane:
            for number in track(case, kind, seconds=options.seconds):
                lane.take_turns(case.turn, watched_first=number % 2 == 0)
            ends = lane.end()
        told = _told(Path(folder) / "lane" / "run") if kind == MONITOR else {}
    return _compared(step_times(ends, lane.turns), step_times(ends, lane.turns_alone)) | {"told": told}


def side_by_side(case: Case, kind: str, options: argparse.Namespace, *, threads: int) -> dict[str, Any]:
    """Two trainings that take turns, one of them watched: for what cannot be switched off. Luck of a process shows, too."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as lanes:
        root = Path(folder)
        watched = lanes.enter_context(Lane(case.name, kind, root / "watched", threads))
        alone = lanes.enter_context(Lane(case.name, ALONE, root / "alone", threads))
        for number in track(case, kind, seconds=options.seconds):
            for lane in (watched, alone) if number % 2 else (alone, watched):
                lane.take_turn(case.turn)
        ends, ends_alone = watched.end(), alone.end()
    return _compared(step_times(ends, watched.turns), step_times(ends_alone, alone.turns))


def _compared(steps: list[list[float]], alone: list[list[float]]) -> dict[str, Any]:
    """For all turns, and without the first quarter: the analyzer's start and the dense first snapshots."""
    late = len(alone) // 4
    milliseconds = 1e3 * statistics.median(itertools.chain(*alone))
    return {"ms": milliseconds, "all": slower(steps, alone), "later": slower(steps[late:], alone[late:])}


def track(case: Case, kind: str, *, seconds: float) -> Iterable[int]:
    """Pairs of turns, with a progress bar."""
    pairs = max(4, round(seconds / case.turn / 2))
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(range(pairs), description=f"{case.name}, {kind}")


def _told(run_dir: Path) -> dict[str, Any]:
    """What the monitor itself says it cost."""
    run = open_run(run_dir)
    (closed,) = [row for row in run.health if row["event"] == "closed"]
    shares = {name: closed[name] for name in ("hook_share", "share", "contention")}
    return {"snapshots": len(run.steps), **shares}


def slower(steps: list[list[float]], alone: list[list[float]]) -> dict[str, Any]:
    """How much longer steps take than without a monitor, in percent, from turns that follow one another.

    `mean` counts everything that happened within the turns. `middle` is the mean of the middle half of all steps, which the
    machine's own pauses do not move: what slows every step shows there, the few steps with a snapshot do not, and what those
    cost is counted in the hook. Intervals are those of pairs of turns drawn again (bootstrap, 95 %).
    """
    pairs = [pair for pair in zip(steps, alone, strict=True) if all(pair)]
    drawn = np.random.default_rng(0).integers(len(pairs), size=(400, len(pairs)))
    samples = [range(len(pairs)), *drawn]
    found: dict[str, Any] = {}
    for name, average in (("mean", np.mean), ("middle", _middle_mean)):
        with_it, without = ([_average(average, [pair[n] for pair in pairs], sample) for sample in samples] for n in (0, 1))
        changes = 100 * (np.array(with_it) / np.array(without) - 1)
        low, high = np.quantile(changes[1:], [0.025, 0.975])
        found |= {name: float(changes[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def _average(average: Callable[[Any], Any], turns: list[list[float]], sample: Iterable[int]) -> float:
    return float(average(np.concatenate([turns[number] for number in sample])))


def _middle_mean(values: Any) -> Any:
    quarter = len(values) // 4
    return np.sort(values)[quarter : len(values) - quarter].mean()


def report_steps(options: argparse.Namespace) -> dict[str, Any]:
    """The first part, as a table: a row for every network and kind of monitor."""
    results: dict[str, Any] = {}
    for threads in options.threads:
        print(
            f"\ntraining on {threads} thread(s) of {os.cpu_count()} cores, {options.seconds:.0f} s each, every second turn"
        )
        print("watched: how much slower steps are then, in percent, with 95 % intervals")
        for number, case in enumerate(cases()):
            if number not in options.networks:
                continue
            ways = {MONITOR: watched_in_turns}
            if number == 0 and not options.only_ours:
                ways |= {SYNCHRONOUS: watched_in_turns, ALONE: watched_in_turns, WANDB: side_by_side}
            for kind, way in ways.items():
                found = results[f"{case.name}, {kind}, {threads} threads"] = way(case, kind, options, threads=threads)
                print(f"  {case.name} ({found['ms']:.2f} ms a step), {kind if kind != ALONE else 'nothing (control)'}:")
                print(f"    {_words(found['all'])}")
                print(f"    without the first quarter: {_words(found['later'])}")
                if kind == MONITOR:
                    print(f"    told by the monitor: {found['told']}", flush=True)
    return results


def _words(change: dict[str, float]) -> str:
    ranges = [(change[name], change[f"{name}_low"], change[f"{name}_high"]) for name in ("mean", "middle")]
    told = (f"{value:+5.1f} [{low:+.1f} .. {high:+.1f}]" for value, low, high in ranges)
    return ", middle half of the steps ".join(told)


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
        train(cases()[0], [timed(monitor, ours), timed(Empty(), empty)], Path(folder), max_steps=20_000)
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
    tiny = Case("tiny", lambda: mlp(10, 16, 3), lambda n: torch.randn(n, 10), 3, 8)
    memory, ours = Memory(1000), []
    # The analyzer has thousands of snapshots left at the end, and ends when their directory is gone.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        monitor = InterpMonitor(Path(folder) / "run", every_n_steps=10, max_overhead=1.0, close_timeout=10)
        train(tiny, [timed(monitor, ours), memory], Path(folder), max_steps=options.soak_steps)
    late = memory.rows[len(memory.rows) // 4 :]
    slope = _slope([step for step, _ in late], [size for _, size in late]) * 1e5
    quarter = len(ours) // 4
    medians = [statistics.median(ours[start : start + quarter]) for start in range(0, 4 * quarter, quarter)]
    print(f"\n{options.soak_steps:,} steps, a snapshot every 10: memory {slope:+.1f} MB per 100,000 steps")
    print(f"  (from {late[0][1]:.0f} to {late[-1][1]:.0f} MB); median hook by quarter {[round(m, 2) for m in medians]} us")
    return {"slope_mb_per_100k": slope, "hook_us_by_quarter": medians, "memory": memory.rows}


def report_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of a training process with and without the monitor, for a large snapshot at every step."""
    sizes = {}
    for kind in (ALONE, DENSE):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            with Lane(LARGE, kind, Path(folder) / "lane", threads=1) as lane:
                lane.take_turn(options.seconds)
                lane.end()
            sizes[kind] = lane.peak_mb
    (case,) = [case for case in cases() if case.name == LARGE]
    snapshot = sum(parameter.nbytes for parameter in case.build().parameters()) / 1e6
    extra = sizes[DENSE] - sizes[ALONE]
    print(f"\npeak memory of the training process, {case.name}, a snapshot every step:")
    print(
        f"  {sizes[ALONE]:.0f} MB alone, {sizes[DENSE]:.0f} MB with "
        f"the monitor: {extra:+.0f} MB, {extra / snapshot:.1f} snapshots of {snapshot:.0f} MB (a queue holds {QUEUE_DEPTH})"
    )
    return {"alone_mb": sizes[ALONE], "monitor_mb": sizes[DENSE], "snapshot_mb": snapshot}


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return statistics.linear_regression(x, y).slope


def quantile(values: list[float], share: float) -> float:
    """Linear between order statistics."""
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))


def main() -> None:
    """Measure, print tables, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help="what to measure")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each training")
    named = ", ".join(f"{number}: {case.name}" for number, case in enumerate(cases()))
    parser.add_argument("--networks", type=int, nargs="+", default=range(len(cases())), help=f"which ({named})")
    parser.add_argument("--only-ours", action="store_true", help="leave other monitors and the control out")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1], help="threads of the trainings")
    parser.add_argument("--soak-steps", type=int, default=100_000, help="length of the long training")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, Lightning {L.__version__}")
    parts = {"steps": report_steps, "hook": report_hook, "soak": report_soak, "memory": report_memory}
    results = {section: parts[section](options) for section in options.sections}
    if options.json:
        options.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
