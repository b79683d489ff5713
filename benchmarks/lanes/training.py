# SPDX-License-Identifier: Apache-2.0
"""One training watched in turns: ``python -m lanes.training CASE KIND FOLDER THREADS DEVICE``, started by `Lane`.

It halts itself before it trains and is let go by its starter. While it is halted or not watched its clocks stand still, and
steps that are not watched are not counted, so that the monitor sees a training that consists of the watched turns only.
"""

import logging
import mmap
import os
import resource
import signal
import struct
import sys
import time
import warnings
from array import array
from pathlib import Path
from typing import Any

SHARED_BYTES = 24
"""Three doubles: seconds its clocks stood still so far, whether to end, since when it is not watched (0: it is)."""


def main(arguments: list[str]) -> None:
    """Train until told to end, and leave the time of every step's end in the folder."""
    name, kind, folder, threads, device = arguments[0], arguments[1], Path(arguments[2]), int(arguments[3]), arguments[4]
    with (folder / "shared").open("r+b") as file:
        shared = mmap.mmap(file.fileno(), SHARED_BYTES)

    def watched_seconds() -> float:
        still, _, unwatched_since = struct.unpack_from("3d", shared)
        return (unwatched_since or time.clock_gettime(time.CLOCK_MONOTONIC)) - still

    time.perf_counter = time.monotonic = watched_seconds
    # Only now: whoever takes a clock when it is imported is to take this one.
    import lightning as L
    import torch

    from lanes.networks import MONITORS, cases, train

    class Clock(L.Callback):
        """The time at the end of every step, and the end of the training."""

        def __init__(self) -> None:
            self.ends = array("d")

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.ends.append(time.clock_gettime(time.CLOCK_MONOTONIC))
            if struct.unpack_from("d", shared, 8)[0]:
                trainer.should_stop = True

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    (case,) = [case for case in cases() if case.name == name]
    clock = Clock()
    watching = MONITORS[kind](folder)
    for callback in watching:
        switch(callback, shared)
    callbacks = [clock, *watching]
    os.kill(os.getpid(), signal.SIGSTOP)
    train(case, callbacks, folder, device=device)
    (folder / "peak_kb").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    (folder / "ends").write_bytes(clock.ends.tobytes())


class Seen:
    """A trainer as the monitor sees it: only steps that were watched count.

    Args:
        trainer: The trainer.
        steps: Number of watched steps.
    """

    def __init__(self, trainer: Any, steps: int) -> None:
        self._trainer, self.global_step = trainer, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


def switch(callback: Any, shared: mmap.mmap) -> None:
    """Let the callback's hook be called only while the training is to be watched."""
    hook = callback.on_train_batch_end
    steps = 0

    def on_train_batch_end(trainer: Any, *arguments: Any) -> None:
        nonlocal steps
        if not struct.unpack_from("d", shared, 16)[0]:
            steps += 1
            hook(Seen(trainer, steps), *arguments)

    callback.on_train_batch_end = on_train_batch_end


if __name__ == "__main__":
    main(sys.argv[1:])
