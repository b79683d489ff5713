# SPDX-License-Identifier: Apache-2.0
"""The analysis on the GPU that trains: under its share of the memory, off it when it fills up, with the CPU's results."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from gpu_parts.rows import Row, gpu_only, verdict_of
from gpu_parts.setting import Part, Setting
from gpu_parts.trainings import DEPTH, WIDTH, Noisy, loader, trainer

from lightning_interp import InterpMonitor, Run, open_run
from lightning_interp.analysis.device import LEAVE_SHARE, MEMORY_FRACTION
from lightning_interp.posthoc.unfinished_run import analyze_run
from lightning_interp.store.layout import ANALYSIS, MANIFEST, PROBE, SNAPSHOTS

EVERY, STEPS_AFTER = 5, 30
"""Steps from one snapshot to the next, and of the training after the analyzer was seen at work."""
LOOK_S, WAIT_S = 0.05, 60.0
"""Seconds between two looks at the analyzer, and how long its first records may take."""
ROUNDING = 2 * DEPTH * WIDTH * 2.0**-24
"""Two orders of summing k products of float32 differ by up to 2 k u of the sum of their sizes, u = 2^-24; once for each of
the network's matrix products. What normalization and ReLU do between them does not widen that."""
OF_SIZE = 10.0
"""Largest logit or activation there is in this training, to which the bound above is relative."""
COUNTED = ("accuracy", "percentile", "near_zero")
"""Measures that count examples or entries on one side of a boundary."""
FULL, TIGHT = "is nearly full", "out of memory"
"""Words of the analyzer's notices."""
BELOW = 0.6
"""Part of the share at which a GPU is left that the ballast leaves free."""


class UntilAnalyzed(L.Callback):
    """Trains on, slowly, until the analyzer has committed something; then does something of its own, and soon ends.

    To hold the training still would not do: the monitor lets an analyzer that it has halted go on at steps.

    Args:
        run_dir: The run.
        then: Done on the training thread.
    """

    def __init__(self, run_dir: Path, then: Callable[[], None] = lambda: None) -> None:
        self._analysis, self._then = run_dir / ANALYSIS, then
        self._deadline, self._end = time.monotonic() + WAIT_S, 0
        self.seen = False

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look."""
        if not self.seen:
            time.sleep(LOOK_S)
            state = json.loads(self._analysis.read_text()) if self._analysis.exists() else {}
            self.seen = state.get("seconds_per_snapshot") is not None
            if self.seen:
                self._end = trainer.global_step + STEPS_AFTER
                self._then()
        late = time.monotonic() > self._deadline
        trainer.should_stop = trainer.should_stop or late or (self.seen and trainer.global_step >= self._end)


def beside_the_training(setting: Setting) -> Iterator[Row]:
    """A run whose analyzer shares the training's GPU; its records against the CPU's."""
    run = _trained(setting, "shared", Noisy())
    if setting.on_gpu:
        where = _state(run)["device"]
        yield Row("device of the analysis", where, aim=setting.device, verdict=verdict_of(where == setting.device))
    yield from _checked(setting, run, "shared GPU" if setting.on_gpu else "another process")


def memory_share(setting: Setting) -> Iterator[Row]:
    """A module that needs more than the analyzer's share of an otherwise free GPU."""
    name = f"moved to the CPU at {MEMORY_FRACTION:.0%} of the memory"
    if not setting.on_gpu:
        yield gpu_only(name)
        return
    run = _trained(setting, "share", Noisy(hog=MEMORY_FRACTION + 0.05))
    yield _moved(name, run, TIGHT)
    yield from _checked(setting, run, "over its share")


def full_gpu(setting: Setting) -> Iterator[Row]:
    """The training takes nearly all memory while the analyzer works: it has to go."""
    name = f"moved to the CPU under {LEAVE_SHARE:.0%} free"
    if not setting.on_gpu:
        yield gpu_only(name)
        return
    ballast: list[torch.Tensor] = []

    def fill() -> None:
        free, total = torch.cuda.mem_get_info(setting.device)
        size = int(free - BELOW * LEAVE_SHARE * total)
        ballast.append(torch.empty(max(0, size), dtype=torch.uint8, device=setting.device))

    try:
        run = _trained(setting, "full", Noisy(), then=fill)
    finally:
        ballast.clear()
        torch.cuda.empty_cache()
    yield _moved(name, run, FULL)
    yield from _checked(setting, run, "left GPU")


def _trained(setting: Setting, name: str, module: Noisy, *, then: Callable[[], None] = lambda: None) -> Run:
    folder = setting.folder(name)
    torch.manual_seed(0)
    monitor = InterpMonitor(
        folder / "run",
        every_n_steps=EVERY,
        device=setting.device,
        max_overhead=1.0,
        close_timeout=WAIT_S,
        report=False,
    )
    until = UntilAnalyzed(folder / "run", then)
    trainer(setting.device, [monitor, until], folder, max_steps=-1, validates=True).fit(module, loader(), loader())
    if not until.seen:
        raise TimeoutError(f"the analyzer committed nothing within {WAIT_S:.0f} s: {_state(open_run(folder / 'run'))}")
    return open_run(folder / "run")


def _state(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / ANALYSIS).read_text())
    return found


def _moved(name: str, run: Run, word: str) -> Row:
    state = _state(run)
    told = [notice for notice in state["notices"] if "moved to the CPU" in notice]
    held = state["device"] == "cpu" and any(word in notice for notice in told)
    return Row(
        name, state["device"], aim="cpu, with a notice", verdict=verdict_of(held), note="; ".join(told) or "no notice"
    )


def _checked(setting: Setting, run: Run, kind: str) -> Iterator[Row]:
    """Whether every snapshot has a whole record, and how far its values are from the CPU's."""
    again = _on_the_cpu(run, setting.scratch / f"{run.path.parent.name}-again")
    steps, wanted = [record.step for record in run.all_records], list(run.steps)
    known = {record.step: record.values for record in again.all_records}
    lacking = sum(len(known.get(record.step, {}).keys() - record.values.keys()) for record in run.all_records)
    whole = steps == wanted and not lacking and len(wanted) > STEPS_AFTER // EVERY
    yield Row(
        f"records, {kind}",
        len(steps),
        f"of {len(wanted)}",
        aim="all, with every value",
        verdict=verdict_of(whole),
        note=f"{lacking} values missing",
    )
    worst, where, beyond = 0.0, "", 0
    examples = min(filter(None, run.manifest.probe["examples"].values()))
    for record in run.all_records:
        for name, value in record.values.items():
            apart = abs(value - known[record.step].get(name, float("nan")))
            if not apart <= worst:
                worst, where = apart, f"{name} at step {record.step}"
            beyond += not apart <= allowed(name, value, examples=examples)
    yield Row(
        f"values that differ from the CPU's, {kind}",
        beyond,
        "values",
        aim="0",
        verdict=verdict_of(not beyond),
        note=f"largest difference {worst:.2g} ({where or 'none'}), {len(run.all_records[-1].values)} values a record",
    )


def allowed(name: str, value: float, *, examples: int) -> float:
    """How far a value may be from the CPU's.

    Weights are measured in float64 on the CPU in either case, by sums whose order depends on the number of threads. What
    follows from outputs may differ by their rounding; the losses, spectra and sparsities here change by no more than a small
    multiple of the largest change of an output. Where examples are counted, one on the boundary may be told otherwise.

    Args:
        name: The value's name.
        value: Its size.
        examples: Examples of the smaller split.
    """
    if name.startswith("weight_"):
        return 1e-9 * max(1.0, abs(value))
    if name.endswith("percentile_z"):  # the percentile in deviations of 1 / sqrt(12 n), or a little more
        return math.sqrt(12 / examples)
    if any(word in name for word in COUNTED):
        return 1.0 / examples
    return 2 * ROUNDING * max(OF_SIZE, abs(value))


def _on_the_cpu(run: Run, folder: Path) -> Run:
    """The same snapshots analyzed on the CPU, in a copy of the run without records."""
    folder.mkdir()
    for name in (MANIFEST, PROBE):
        shutil.copyfile(run.path / name, folder / name)
    shutil.copytree(run.path / SNAPSHOTS, folder / SNAPSHOTS)
    return open_run(analyze_run(folder, module=Noisy, device="cpu").run.path)


PARTS: dict[str, Part] = {"beside the training": beside_the_training, "memory share": memory_share, "full GPU": full_gpu}
