# SPDX-License-Identifier: Apache-2.0
"""A training of some steps that waits a few seconds for its analysis: ``python troubled_training.py RUN_DIR WAY``.

WAY is how it ends, and what comes of its analyzer:

- `ends`, `breaks`: of itself and by an error, once the analyzer is at work or in the queue.
- `dies`, `dies early`, `breaks and dies`: the analyzer dies of two snapshots: after the training, before its end, and
  beside one that broke off.
- `fills the disk`, `writes nothing more`: the disk of the run, and a stand-in for it, is full before the last steps.
- `leaves work`: the analyzer hangs at a snapshot for longer than the training waits for.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from deadly_measure import Deadly
from safetensors import SafetensorError
from three_classes import data
from torch.utils.data import DataLoader
from waiting import until_closed

from lightning_interp import Monitor, open_run
from lightning_interp.store import tensor_file
from lightning_interp.store.analysis_state import read_state

STEPS = 8
CLOSE_S = 5.0
START_S = 100.0


def analyzer_runs(run_dir: Path) -> None:
    """Wait until the analyzer is at work or in the queue."""
    deadline = time.monotonic() + START_S
    while not ((state := read_state(run_dir)).waiting_for_slot or state.last_step is not None):
        assert time.monotonic() < deadline, "the analyzer did not start"
        time.sleep(0.05)


def analyzer_failed(monitor: Monitor) -> None:
    """Go on with the training until the monitor has noted that its analyzer is dead."""
    deadline = time.monotonic() + START_S
    while not any(row["event"] == "analyzer_failed" for row in open_run(monitor.run_dir).health):
        assert time.monotonic() < deadline, "the analyzer did not die"
        monitor.step()
        time.sleep(0.05)


def fill(run_dir: Path) -> None:
    """Leave no byte of the disk of a run."""
    with suppress(OSError), (run_dir.parent / "filler").open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(4096))


def refuse(_: Path) -> None:
    """Have every snapshot fail as on a full disk."""

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    tensor_file.save_file = full


FULL = {"fills the disk": fill, "writes nothing more": refuse}


def main(run_dir: Path, way: str) -> None:
    """Train."""
    dying = way.endswith(("dies", "early"))
    does = {3: "dies", 6: "dies"} if dying else {4: "sleeps"} if way == "leaves work" else {}
    wait_s = CLOSE_S if way == "ends" else 1.0 if way == "leaves work" else None
    monitor = Monitor(
        run_dir, every_n_steps=1, max_overhead=1.0, close_timeout=wait_s, report=False, measures=[Deadly(does), "losses"]
    )
    with monitor.watch(torch.nn.Linear(10, 3), train_data=DataLoader(data(), batch_size=32)):
        for _ in range(STEPS):
            time.sleep(0.05)  # as long as it takes to write a snapshot
            monitor.step()
        if way in FULL:
            FULL[way](run_dir)
            for _ in range(STEPS):
                time.sleep(0.05)
                monitor.step()
            return
        if way == "dies early":
            analyzer_failed(monitor)
        elif not dying:
            analyzer_runs(run_dir)
        if way == "breaks":
            time.sleep(6.0)  # as long as a look at what the analyzer says may take
        if way.startswith("breaks"):
            raise RuntimeError("the user's own error")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except RuntimeError:
        if sys.argv[2] == "breaks and dies":  # as a notebook does, which lives on
            until_closed(Path(sys.argv[1]))
