# SPDX-License-Identifier: Apache-2.0
"""What capturing costs a training on the GPU: synchronizations (none), time in the hook, time of steps, device memory."""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_parts.profiled import PLANTED, RANGE, Planted, Profiled, Ranged
from gpu_parts.rows import Row, gpu_only, number, verdict_of
from gpu_parts.setting import Part, Setting
from gpu_parts.trace import (
    call_name,
    calls_inside,
    pageable_copies_inside,
    ranges,
    read_trace,
    waits_inside,
    waits_of_thread,
)
from gpu_parts.trainings import Noisy, loader, quiet, trainer
from lanes.networks import LARGE, MONITOR, Case, Classifier, cases
from lanes.networks import train as train_case
from overhead import quantile, timed, watched_in_turns

from lightning_interp import InterpMonitor, open_run
from lightning_interp.capture.recorder import QUEUE_DEPTH

WARM_UP, PROFILED = 10, 25
"""Steps before the profiler starts, in which buffers are made, and steps under it."""
LEAST_SNAPSHOTS = 10
"""Snapshots under the profiler without which it has seen nothing; a writer that is late drops some."""
PLANTED_WAITS = 2
LARGEST_TRACE = 15 * 2**20
"""Most bytes of a packed trace that is kept beside the table."""
MOST_SLOWER = 2.0
"""Percent that steps may take longer with the monitor, as on a CPU with a core free."""


def synchronizations(setting: Setting) -> Iterator[Row]:
    """Calls that wait for the device, under the profiler: in our hook, planted by us, and in all with and without it."""
    trace = setting.scratch / "trace.json.gz"
    watched = _profile(setting, trace, monitored=True)
    taken = sum(WARM_UP < step <= WARM_UP + PROFILED for step in open_run(setting.scratch / "profile-True" / "run").steps)
    whole = taken >= LEAST_SNAPSHOTS and len(ranges(watched, RANGE)) >= 2 * PROFILED - 1  # a hook before, one after a step
    told = f"of {PROFILED} steps under the profiler; {_calls(watched)}"
    yield Row(
        "snapshots under the profiler", taken, "snapshots", aim=f">= {LEAST_SNAPSHOTS}", verdict=verdict_of(whole), note=told
    )
    if not setting.on_gpu:
        yield gpu_only("synchronizations in the hook, and planted ones")
        return
    alone = _profile(setting, setting.scratch / "alone.json.gz", monitored=False)
    planted, inside = sum(waits_inside(watched, PLANTED).values()), waits_inside(watched, RANGE)
    sees = planted >= PLANTED_WAITS
    blind = "" if sees else "the trace does not even show the planted ones, so that it proves nothing"
    yield Row(
        "planted synchronizations in the trace", planted, aim=f">= {PLANTED_WAITS}", verdict=verdict_of(sees), note=blind
    )
    told = blind or ", ".join(f"{count} {name}" for name, count in inside.items())
    clean = verdict_of(not inside) if sees else "failed"
    yield Row("synchronizations in the hook", sum(inside.values()), "calls", aim="0", verdict=clean, note=told)
    copies = pageable_copies_inside(watched, RANGE)
    clean = verdict_of(not copies) if sees else "failed"
    yield Row(
        "copies in the hook from or to memory that is not pinned", copies, "copies", aim="0", verdict=clean, note=blind
    )
    more = waits_of_thread(watched, PLANTED) - waits_of_thread(alone, PLANTED)
    clean = verdict_of(more <= 0) if sees else "failed"
    yield Row(
        "synchronizations of the training thread beyond those without the monitor", more, "calls", "", "0", clean, blind
    )
    if trace.stat().st_size <= LARGEST_TRACE:
        kept = setting.kept("-trace.json.gz")
        shutil.copyfile(trace, kept)
        yield Row(
            "trace", kept.name, note=f"{trace.stat().st_size / 1e6:.1f} MB; open in ui.perfetto.dev, look for {RANGE!r}"
        )


def _profile(setting: Setting, trace: Path, *, monitored: bool) -> Sequence[Any]:
    """Train under the profiler; the same training with the monitor or without."""
    folder = setting.folder(f"profile-{monitored}")
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "every_n_steps": 1,
        "max_overhead": 1.0,
        "close_timeout": 1.0,
        "report": False,
        "device": "cpu",
    }
    monitors = [Ranged(folder / "run", **options)] if monitored else []
    profiled = Profiled(trace, first=WARM_UP, steps=PROFILED, on_gpu=setting.on_gpu)
    callbacks = [profiled, Planted(WARM_UP + PROFILED // 2, on_gpu=setting.on_gpu), *monitors]
    trainer(setting.device, callbacks, folder, max_steps=WARM_UP + PROFILED + 5).fit(Noisy(), loader())
    return read_trace(trace)


def _calls(events: Sequence[Any]) -> str:
    """What the hook asks of the CUDA runtime, for a look at the table."""
    names = [call_name(event) for event in calls_inside(events, RANGE)]
    counted = sorted(((names.count(name), name) for name in set(names)), reverse=True)
    return "calls in the hook: " + (", ".join(f"{count} {name}" for count, name in counted[:8]) or "none")


class SynchronizingIsAnError(Ranged):
    """Its hook runs while torch refuses every operation that waits for the device."""

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Guarded."""
        torch.cuda.set_sync_debug_mode("error")
        try:
            super().on_train_batch_end(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def refused(setting: Setting) -> Iterator[Row]:
    """The same claim by other means: torch itself raises where a hook would wait."""
    name = "snapshots taken while torch refuses to synchronize"
    if not setting.on_gpu:
        yield gpu_only(name)
        return
    folder, steps = setting.folder("refused"), 30
    options: dict[str, Any] = {
        "every_n_steps": 1,
        "max_overhead": 1.0,
        "close_timeout": 1.0,
        "report": False,
        "strict": True,
    }
    monitor = SynchronizingIsAnError(folder / "run", device="cpu", **options)
    trainer(setting.device, [monitor], folder, max_steps=steps).fit(Noisy(), loader())
    taken = len(open_run(folder / "run").steps)
    held = verdict_of(taken >= LEAST_SNAPSHOTS)
    aim = f">= {LEAST_SNAPSHOTS}, no error"
    yield Row(name, taken, "snapshots", aim=aim, verdict=held, note="torch.cuda.set_sync_debug_mode('error')")


def hook_time(setting: Setting) -> Iterator[Row]:
    """Time on the training thread in the hook, which only queues what the device does."""
    quiet()
    steps, every = (40, 4) if setting.quick else (4000, 20)
    for case in _networks(setting):
        times: list[float] = []
        folder = setting.folder(f"hook-{case.name}")
        monitor = InterpMonitor(
            folder / "run", every_n_steps=every, max_overhead=1.0, close_timeout=1.0, device="cpu", report=False
        )
        count = steps if case.name != LARGE else steps // 4
        train_case(case, [timed(monitor, times)], folder, max_steps=count, device=setting.device)
        kinds = {
            "with a snapshot": [value for step, value in enumerate(times, start=1) if step % every == 0],
            "without": [value for step, value in enumerate(times, start=1) if step % every],
        }
        for kind, values in kinds.items():
            spread = f"p99 {number(quantile(values, 0.99))}, largest {number(max(values))}"
            yield Row(f"hook {kind}, {case.name}, p50", quantile(values, 0.5), "us", spread, note=f"{len(values)} calls")


def step_time(setting: Setting) -> Iterator[Row]:
    """Steps in alternating turns, watched and not: see benchmarks/overhead.py, whose training this is."""
    for number_, case in enumerate(networks := _networks(setting)):
        share = setting.budget.left / (len(networks) - number_)
        seconds = 1.0 if setting.quick else max(10.0, min(40.0, share - 15.0))
        options = argparse.Namespace(seconds=seconds, device="cpu" if setting.device == "cpu" else "cuda")
        found = watched_in_turns(case, MONITOR, options, threads=1)
        slower = found["all"]
        spread = f"[{slower['mean_low']:+.1f} .. {slower['mean_high']:+.1f}]"
        held = None if setting.quick else slower["mean_low"] <= MOST_SLOWER
        told = f"a step takes {found['ms']:.2f} ms; 95 % interval; middle half of the steps {slower['middle']:+.1f} %"
        yield Row(
            f"steps with the monitor take longer, {case.name}",
            slower["mean"],
            "%",
            spread,
            f"<= {MOST_SLOWER:.0f}",
            verdict_of(held),
            told,
        )


def device_memory(setting: Setting) -> Iterator[Row]:
    """Peak memory on the device with a snapshot every step, beyond that without, in snapshots."""
    name = "device memory for snapshots, one every step, 10 M transformer"
    if not setting.on_gpu:
        yield gpu_only(name)
        return
    quiet()
    (case,) = [case for case in cases() if case.name == LARGE]
    snapshot = sum(value.nbytes for value in Classifier(case.build()).state_dict().values())
    peaks = []
    for monitored in (False, True):
        folder = setting.folder(f"memory-{monitored}")
        monitor = InterpMonitor(
            folder / "run", every_n_steps=1, max_overhead=1.0, close_timeout=1.0, device="cpu", report=False
        )
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        train_case(case, [monitor] if monitored else [], folder, max_steps=60, device="cuda")
        peaks.append(torch.cuda.max_memory_allocated())
    extra, taken = (peaks[1] - peaks[0]) / snapshot, len(open_run(folder / "run").steps)
    told = f"{peaks[0] / 1e6:.0f} MB alone, {peaks[1] / 1e6:.0f} MB with {taken} snapshots of {snapshot / 1e6:.0f} MB"
    # within a twentieth: the allocator rounds up, and logged numbers are copied, too
    held = taken >= LEAST_SNAPSHOTS and extra <= QUEUE_DEPTH - 1 + 0.05
    yield Row(name, extra, "snapshots", aim=f"<= {QUEUE_DEPTH - 1}", verdict=verdict_of(held), note=told)


def _networks(setting: Setting) -> list[Case]:
    """The smallest step there is, and 10 M parameters."""
    return [case for number_, case in enumerate(cases()) if number_ == 0 or (case.name == LARGE and not setting.quick)]


PARTS: dict[str, Part] = {
    "synchronizations": synchronizations,
    "synchronizing refused": refused,
    "hook": hook_time,
    "device memory": device_memory,
    "steps": step_time,
}
