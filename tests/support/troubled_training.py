# SPDX-License-Identifier: Apache-2.0
"""A training of some steps that waits a few seconds for its analysis: ``python troubled_training.py RUN_DIR WAY``.

It waits until the analyzer has said what it does. WAY is how it ends: `ends` or `breaks`.
"""

import sys
import time
from pathlib import Path

import torch
from three_classes import data
from torch.utils.data import DataLoader

from lightning_interp import Monitor
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


def main(run_dir: Path, way: str) -> None:
    """Train."""
    monitor = Monitor(run_dir, every_n_steps=1, close_timeout=CLOSE_S, report=False)
    with monitor.watch(torch.nn.Linear(10, 3), train_data=DataLoader(data(), batch_size=32)):
        for _ in range(STEPS):
            monitor.step()
        analyzer_runs(run_dir)
        if way == "breaks":
            time.sleep(6.0)  # as long as a look at what the analyzer says may take
            raise RuntimeError("the user's own error")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
