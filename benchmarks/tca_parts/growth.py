# SPDX-License-Identifier: Apache-2.0
"""Time and peak memory against each size, every cell in a process of its own; and the cost of following a run.

As a script: one cell, ``python growth.py SNAPSHOTS STIMULI UNITS RANK RESTARTS``, printing JSON.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BASE = {"snapshots": 100, "stimuli": 256, "units": 512, "rank": 8, "restarts": 10}
SWEPT = {"snapshots": (50, 100, 200, 400), "units": (128, 256, 512, 1024), "rank": (4, 8, 16, 32), "restarts": (1, 10, 50)}
PAST = (50, 200, 800, 3200)


def table(*, nonnegative: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per cell: what was varied, seconds (fastest of three), and memory beyond the tensor itself."""
    rows = []
    say(f"\ngrowth, {'non-negative CP' if nonnegative else 'CP'}, one rank, from {BASE}")
    for name, values in SWEPT.items():
        for value in values:
            sizes = {**BASE, name: value}
            command = [sys.executable, __file__, *(str(sizes[key]) for key in BASE), str(int(nonnegative))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = {"varied": name, "value": value, **json.loads(done.stdout)}
            rows.append(row)
            memory = f"data {row['data_mb']:.0f} MB, peak beyond it {row['peak_mb']:.0f} MB"
            say(f"  {name:>9} {value:>5}: {row['seconds']:.3f} s, {memory}")
    return rows


def online(*, say: Callable[[str], None]) -> list[dict[str, float]]:
    """Milliseconds to fold a snapshot in and to refit, against the snapshots before."""
    from tca_parts.tensors import training_like

    from lightning_interp.tca import OnlineTCA

    rows = []
    say("\nfollowing a run (256 stimuli x 512 units, ranks 1-8, 5 restarts, 64 snapshots kept)")
    for past in PAST:
        tensor = training_like((past + 5, 256, 512), 6, noise=0.08, seed=0, nonnegative=False).tensor
        tca, times = OnlineTCA(range(1, 9)), []
        for step, snapshot in enumerate(tensor):
            started = time.perf_counter()
            tca.add(step, snapshot)
            times.append(1e3 * (time.perf_counter() - started))
            if step == past // 2:
                tca.refit()
        refits = []
        for _ in range(3):
            started = time.perf_counter()
            tca.refit()
            refits.append(1e3 * (time.perf_counter() - started))
        row = {"past": past, "add_ms": statistics.median(times[-20:]), "refit_ms": statistics.median(refits)}
        rows.append(row)
        say(f"  after {past:>5} snapshots: add {row['add_ms']:.1f} ms, refit {row['refit_ms']:.0f} ms")
    return rows


def cell(snapshots: int, stimuli: int, units: int, rank: int, restarts: int, nonnegative: bool) -> dict[str, float]:
    """Time and memory of one fit."""
    from tca_parts.tensors import training_like

    from lightning_interp.tca import fit_cp

    torch.set_num_threads(2)
    tensor = training_like((snapshots, stimuli, units), 6, noise=0.08, seed=0, nonnegative=nonnegative).tensor
    fit_cp(tensor[:8, :16, :16].contiguous(), 2, nonnegative=nonnegative)
    before = _resident()
    _reset_peak()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        fit_cp(tensor, rank, restarts=restarts, nonnegative=nonnegative)
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds), "peak_mb": _peak() - before, "data_mb": tensor.numel() * 4 / 1e6}


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith(field))


def _resident() -> float:
    return _status("VmRSS")


def _reset_peak() -> None:
    """Let the kernel forget the peak so far, which making the tensor set."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _peak() -> float:
    return max(
        _status("VmHWM"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 if not Path("/proc").exists() else 0
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    *sizes, signs = (int(word) for word in sys.argv[1:])
    print(json.dumps(cell(*sizes, bool(signs))))
